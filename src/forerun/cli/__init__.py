"""The command `forerun`: `sample` turns text into images, `text3d` into a mesh; `digits` and `info` beside them."""

from forerun.cli.app import main

__all__ = ["main"]
