"""The words of `forerun text3d`, and what is wrong with them before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from forerun.cli import words
from forerun.engine.methods import Method
from forerun.engine.windows import Window

PROMPT = "a yellow cone"


@dataclass(frozen=True)
class Options:
    """What decides the thing and the way to it, in the words of the command line."""

    prompt: str
    steps: int
    views: int
    size: int
    guidance: float
    rate: float
    seed: int
    method: str
    window: str
    tolerance: float

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """From all that the command was given, of which the rest is about its files."""
        return cls(**{each.name: given[each.name] for each in fields(cls)})

    @classmethod
    def load(cls, checkpoint: Path) -> Options:
        """Those of an interrupted run, from the file beside its checkpoint.

        Raises:
            OSError: there is no such file.
            ValueError: it has no options.
        """
        for path in (checkpoint, beside(checkpoint)):
            if not path.is_file():
                raise FileNotFoundError(f"--resume {checkpoint} needs the file {path}, and it is not there")
        try:
            return cls(**json.loads(beside(checkpoint).read_text()))
        except (TypeError, json.JSONDecodeError) as error:
            raise ValueError(
                f"{beside(checkpoint)} does not say what to go on with; pass a file that an interrupted run wrote"
            ) from error

    def save(self, checkpoint: Path) -> None:
        """Write them beside a checkpoint."""
        beside(checkpoint).write_text(json.dumps(asdict(self), indent=2) + "\n")


@dataclass(frozen=True)
class Settings:
    """The objects behind the words."""

    method: Method
    window: Window

    @classmethod
    def of(cls, options: Options) -> Settings:
        """Everything that can be known without diffusers and without weights.

        Raises:
            ImportError: a package is missing.
            ValueError: a word stands for nothing, or a number makes no sense.
        """
        from forerun.worlds.solids.prompts import parse_prompt

        parse_prompt(options.prompt)
        if not 0 <= options.tolerance <= float("inf"):
            raise ValueError(f"--tolerance {options.tolerance:g} is no distance; type --tolerance 0.3, or leave it out")
        found = cls(words.choose(options.method, words.METHODS, "--method"), words.window(options.window))
        for module, extra in (("diffusers", "diffusers"), ("transformers", "diffusers"), ("PIL", "plot")):
            if find_spec(module) is None:
                raise ImportError(f"{module} is not installed: pip install 'forerun[{extra}]'")
        return found


def beside(checkpoint: Path) -> Path:
    """The file with the options of a checkpoint's run."""
    return checkpoint.with_suffix(".json")
