"""`python -m forerun.cli`, where the command is not installed."""

from forerun.cli.app import main

main()
