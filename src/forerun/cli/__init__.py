"""The command `forerun`: `sample` turns text into images, `digits` draws digits, `info` tells about this machine."""

from forerun.cli.app import main

__all__ = ["main"]
