"""The kit of the commands: options of one name, the line that repeats a run, and what a resumed run refuses."""

from collections import defaultdict

import pytest
import typer
from typer.testing import CliRunner

from forerun.cli.app import app
from forerun.cli.kit.command_line import refuse_beside_resume, repeat_line
from forerun.cli.kit.options import CompareOption, OutOption, SeedOption
from forerun.cli.kit.solve_options import read_solve_options
from forerun.engine.methods import Picard
from forerun.engine.windows import Sliding

SHARED = ("--seed", "--method", "--window", "--device", "--threads", "--out", "--report", "--compare", "--resume")
# where a command departs from the shared default, and why
OWN_DEFAULTS = {
    ("digits", "--window"): "as wide as the whole path of DDIM",
    ("policy", "--window"): "a chunk is sampled in few steps, all in flight",
    ("sample", "--window"): "it depends on --pipeline",
    ("sample", "--threads"): "a round is shared out among all cores",
    ("text3d", "--window"): "the path of an optimiser is foreseen for a few steps",
    ("text3d", "--method"): "as of every optimiser loop",
    ("text3d", "--compare"): "it takes as long again, and more",
    ("train-policy", "--out"): "a policy, which another command reads",
    ("study", "--out"): "a study is looked at first",
}


def shared_options():
    """The options of all commands that share a name: `{name: {command: option}}`."""
    options = defaultdict(dict)
    for command_name, command in typer.main.get_command(app).commands.items():
        for parameter in command.params:
            if parameter.opts[0] in SHARED:
                options[parameter.opts[0]][command_name] = parameter
    return options


@pytest.mark.parametrize("name", SHARED)
def test_options_of_one_name_have_one_default(name):
    commands = shared_options()[name]
    assert commands
    defaults = {command: option.default for command, option in commands.items() if (command, name) not in OWN_DEFAULTS}
    assert len(set(defaults.values())) <= 1, defaults


@pytest.mark.parametrize("name", SHARED)
def test_options_of_one_name_have_one_help(name):
    commands = shared_options()[name]
    helps = {option.help for command, option in commands.items() if command != "study"}
    assert len(helps) == 1


def test_every_departure_is_of_an_option_that_exists():
    options = shared_options()
    assert all(command in options[name] for command, name in OWN_DEFAULTS)


@pytest.fixture
def draw():
    """Runs a command of two options and a switch, and hands its context to a function."""

    def run(use, *arguments):
        command = typer.Typer()

        @command.command("draw")
        def draw(
            context: typer.Context,
            what: str = typer.Argument("a cone"),
            seed: SeedOption = 0,
            max_batch: int = 8,
            compare: CompareOption = True,
            out: OutOption = "here",
        ) -> None:
            typer.echo(use(context))

        @command.command("other")
        def other() -> None:
            pass

        result = CliRunner().invoke(command, ["draw", *arguments])
        return result.output.strip() if result.exception is None else result.exception

    return run


@pytest.mark.parametrize(
    "arguments, line",
    [
        ([], "forerun draw"),
        (["a red ball", "--seed", "3"], "forerun draw 'a red ball' --seed 3"),
        (["--no-compare", "--max-batch", "4"], "forerun draw --no-compare --max-batch 4"),
        (["--compare", "--seed", "0"], "forerun draw --compare --seed 0"),
    ],
)
def test_the_line_repeats_what_was_typed(draw, arguments, line):
    assert sorted(draw(repeat_line, *arguments).split()) == sorted(line.split())


def test_the_line_leaves_out_what_does_not_matter(draw):
    def line(context):
        return repeat_line(context, launcher=("python", "-m", "forerun"), without=("out",))

    assert draw(line, "--out", "there", "--seed", "1") == "python -m forerun draw --seed 1"


@pytest.mark.parametrize("arguments, word", [(["a ball"], "the what"), (["--seed", "2"], "--seed")])
def test_a_resumed_run_refuses_what_its_checkpoint_decides(draw, arguments, word):
    def refuse(context):
        return refuse_beside_resume(context, allowed={"out"})

    error = draw(refuse, *arguments, "--out", "there")
    assert isinstance(error, ValueError)
    assert str(error) == f"{word} is decided by the checkpoint that --resume names; leave it out"


def test_words_become_options():
    options = read_solve_options(method="picard", window="8", tolerance=1e-2)
    assert (options.method, options.window, options.tolerance) == (Picard(), Sliding(8), 1e-2)
    assert read_solve_options(window="8", tolerance=None).method is None


@pytest.mark.parametrize("tolerance", [-1.0, float("nan"), float("inf")])
def test_a_tolerance_that_is_no_distance_is_refused(tolerance):
    with pytest.raises(ValueError, match=r"--tolerance .+ is not a distance; type --tolerance 0\.3, or leave"):
        read_solve_options(window="8", tolerance=tolerance, advice="0.3")
