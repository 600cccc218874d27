"""Programs for those who repeat the recipes of shipped models, run by ``python -m``.

They are no commands of wsshm, since few users need them. Each ``main`` is a command line of its own
and therefore prints, as `wsshm_cli.report` does for the commands; the other functions do not.
"""
