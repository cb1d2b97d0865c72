"""The facts beside the shipped weights: their commands are lines that run today, and all weights have such facts."""

import importlib
import json
import shlex
from importlib import resources
from pathlib import Path

import pytest

WORLDS = Path(str(resources.files("forerun.worlds")))


def commands(node):
    """Yield every command in a file of facts."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "command":
                yield value
            else:
                yield from commands(value)


def training_commands():
    lines = []
    for file in sorted(WORLDS.rglob("weights/**/*.json")):
        lines.extend(commands(json.loads(file.read_text())))
    return lines


@pytest.mark.parametrize("line", [line for line in training_commands() if line.startswith("python -m")])
def test_a_command_of_a_module_is_understood(line):
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    _, _, name, *words = shlex.split(line)
    module = importlib.import_module(name)
    options = module._parse_options(words)
    assert options.out is not None
    assert callable(module.main)


@pytest.mark.parametrize("line", [line for line in training_commands() if line.startswith("forerun")])
def test_a_command_of_forerun_is_understood(line):
    import typer

    from forerun.cli.app import app

    program = typer.main.get_command(app)
    _, name, *words = shlex.split(line)
    command = program.commands[name]
    context = command.make_context(name, list(words))
    assert context.params["task"] == words[0]


def test_every_world_says_how_its_weights_were_made():
    assert len(training_commands()) == 11
    folders = {file.parent for file in WORLDS.rglob("*.safetensors")}
    for folder in folders:
        around = [*folder.glob("*.json"), *folder.parent.glob("training.json")]
        assert any(list(commands(json.loads(file.read_text()))) for file in around), folder
