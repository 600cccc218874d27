"""The command line of wsshm. Nothing heavy is imported before a command runs."""

__version__ = "0.1.0"
