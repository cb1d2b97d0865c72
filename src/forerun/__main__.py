"""`python -m forerun`, where the command is not installed; and under torchrun, `torchrun ... -m forerun sample`."""

from forerun.cli import main

main()
