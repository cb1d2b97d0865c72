"""The command `forerun`: `sample` draws digits in order and ahead, `info` says what this machine can do."""

from forerun.cli.app import main

__all__ = ["main"]
