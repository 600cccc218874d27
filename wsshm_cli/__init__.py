"""The command line of wsshm. Nothing heavy is imported before a command runs."""

from wsshm import __version__ as __version__
