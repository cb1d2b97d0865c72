import json
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
from typer.testing import CliRunner

import forerun
from forerun.cli import words
from forerun.cli.app import app
from forerun.cli.digits.job import DigitsOptions, prepare_digits, run_digits, run_in_order
from forerun.cli.kit.stopping import RunInterrupted
from forerun.engine.progress import Progress, Silent

pytest.importorskip("matplotlib")

COMMAND = [sys.executable, "-m", "forerun"]
SMALL = ("--sampler", "ddim", "--steps", "20", "--samples", "3")


def forerun_(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module", autouse=True)
def once():
    """One timed run of each rival is enough here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("forerun.cli.digits.job.TIMED_RUNS", 1)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The command without arguments, but for its folder."""
    out = tmp_path_factory.mktemp("whole")
    result = forerun_("digits", "--out", out)
    assert result.exit_code == 0, result.output
    return out, result.output


def test_both_jobs_take_a_quarter_of_the_rounds_or_fewer(whole):
    jobs = json.loads((whole[0] / "summary.json").read_text())["jobs"]
    assert [job["job"] for job in jobs] == ["DDIM, 100 steps", "DDPM, 1000 steps"]
    for job in jobs:
        assert job["ahead"]["rounds"] <= job["in_order"]["rounds"] / 4
        assert 0 < job["deviation"]["rms"] <= 1e-3
        assert job["deviation"]["rms"] <= job["deviation"]["largest"]
        assert job["deviation"]["estimate"] <= 1e-3


def test_the_table_has_the_figures_of_the_summary(whole):
    out, printed = whole
    jobs = json.loads((out / "summary.json").read_text())["jobs"]
    rows = [line.split() for line in printed.splitlines() if re.match(r" +ahead ", line)]
    for job, row in zip(jobs, rows, strict=True):
        ahead, deviation = job["ahead"], job["deviation"]
        assert row[1:3] == [str(ahead["rounds"]), str(ahead["evaluations"])]
        assert row[3:6] == [f"{deviation[name]:.1e}" for name in ("largest", "rms", "estimate")]
        ratio = job["in_order"]["seconds"] / ahead["seconds"]
        assert job["speed_up"]["time"] == pytest.approx(ratio)
        assert float(row[-1].rstrip("x")) == pytest.approx(ratio, rel=0.06)


def test_lines_fit_a_terminal_of_80_columns(whole):
    assert max(map(len, whole[1].splitlines())) <= 80


def test_pictures_are_of_a_good_size_and_not_blank(whole):
    from matplotlib import image

    for path in ("ddim-100-digits", "ddim-100-wavefront", "ddpm-1000-digits", "ddpm-1000-wavefront"):
        picture = torch.from_numpy(image.imread(whole[0] / f"{path}.png"))[..., :3]
        assert picture.shape[0] > 400
        assert picture.shape[1] > 800
        assert 0.02 < float((picture.mean(-1) < 0.9).float().mean()) < 0.9
        assert len((255 * picture).round().reshape(-1, 3)[::7].unique(dim=0)) > 30


def test_the_report_shows_the_pictures_and_the_machine(whole):
    page = (whole[0] / "report.md").read_text()
    for link in re.findall(r"\]\((.+?)\)", page):
        assert (whole[0] / link).is_file()
    assert page.count("](") == 4
    assert torch.__version__ in page


def test_the_digits_are_those_of_the_seed_in_any_run():
    options = DigitsOptions(2, 0, 1e-3, "secant", "100", "cpu")
    first, again = (prepare_digits(words.DIGITS_SAMPLERS["ddpm"], 30, options) for _ in range(2))
    outcome = run_digits(first, progress=Silent())
    assert torch.equal(outcome.sequential.state, run_in_order(again).state)
    other = prepare_digits(words.DIGITS_SAMPLERS["ddpm"], 30, DigitsOptions(2, 1, 1e-3, "secant", "100", "cpu"))
    assert not torch.equal(other.state, first.state)


@pytest.mark.parametrize("method", words.METHODS)
def test_every_word_for_a_method_runs(method):
    options = DigitsOptions(1, 0, 1e-3, method, "10", "cpu")
    outcome = run_digits(prepare_digits(words.DIGITS_SAMPLERS["ddim"], 12, options), progress=Silent())
    assert outcome.ahead.status.done


@pytest.mark.parametrize("window", ["auto", "full", "1"])
def test_every_word_for_a_window_runs(window, tmp_path):
    assert forerun_("digits", *SMALL, "--window", window, "--out", tmp_path).exit_code == 0


@pytest.mark.parametrize(
    "arguments, words_",
    [
        (("--method", "magic"), ["--method magic", "secant", "picard"]),
        (("--window", "0"), ["--window 0", "auto", "full"]),
        (("--sampler", "euler"), ["--sampler euler", "ddim", "ddpm"]),
        (("--device", "tpu"), ["--device tpu", "cpu"]),
        (("--tolerance", "-1"), ["-1", "1e-3"]),
        (("--steps", "20"), ["--sampler ddim"]),
        (("--sampler", "ddpm", "--steps", "2000"), ["2000", "1 .. 1000"]),
        (("--resume", "nowhere.safetensors"), ["nowhere.safetensors"]),
        (("--resume", "nowhere.safetensors", "--seed", "3"), ["--seed", "leave it out"]),
    ],
)
def test_an_error_is_one_line_and_says_what_exists(arguments, words_, tmp_path):
    result = forerun_("digits", *arguments, "--out", tmp_path)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert all(word in result.stderr for word in words_)


def test_a_missing_extra_is_named_before_the_work(monkeypatch, tmp_path):
    monkeypatch.setattr("forerun.cli.digits.command.find_spec", lambda name: None)
    result = forerun_("digits", "--out", tmp_path)
    assert result.exit_code == 2
    assert "pip install 'forerun[plot]'" in result.stderr


def test_info_says_what_there_is():
    result = forerun_("info")
    assert result.exit_code == 0
    for word in (torch.__version__, "matplotlib", "cores", "memory", "torch.distributed", "batch efficiency", "512"):
        assert word in result.stdout


def test_version_and_no_arguments():
    assert forerun_("--version").stdout.startswith("forerun ")
    assert "digits" in forerun_().output


class Impatient(Progress):
    """Presses Ctrl-C after some rounds."""

    def __init__(self, rounds):
        self.rounds = rounds

    def track(self, start, length):
        from contextlib import nullcontext

        def report(entry):
            self.rounds -= 1
            if not self.rounds:
                raise KeyboardInterrupt

        return nullcontext(report)


def test_an_interrupted_job_goes_on_to_the_same_digits(monkeypatch, tmp_path):
    monkeypatch.setattr("forerun.cli.kit.terminal.Silent", lambda: Impatient(3 + 11))
    stopped = forerun_("digits", "--samples", "2", "--out", tmp_path)
    assert stopped.exit_code == 130
    told = " ".join(stopped.stdout.split())
    arguments = re.search(r"forerun digits --resume (\S+) --out (\S+)", told)
    assert arguments, told
    monkeypatch.undo()
    resumed = forerun_("digits", "--resume", arguments[1], "--out", arguments[2])
    assert resumed.exit_code == 0, resumed.output
    jobs = json.loads((tmp_path / "summary.json").read_text())["jobs"]
    assert [job["job"] for job in jobs] == ["DDIM, 100 steps", "DDPM, 1000 steps"]
    assert all(job["deviation"]["rms"] <= 1e-3 for job in jobs)


def test_an_interrupt_keeps_what_is_accepted():
    options = DigitsOptions(2, 0, 1e-3, "secant", "10", "cpu")
    job = prepare_digits(words.DIGITS_SAMPLERS["ddpm"], 100, options)
    with pytest.raises(RunInterrupted) as stopped:
        run_digits(job, progress=Impatient(4))
    solution = stopped.value.solution
    assert 0 < solution.step < 100
    end = forerun.solve(job.process, job.state, resume=solution.checkpoint)
    assert (end.state - run_in_order(job).state).abs().max() < 1e-2


def listening():
    """To Ctrl-C, which a shell has its background jobs ignore."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_control_c_in_a_terminal(tmp_path):
    """The real thing: a process, a signal, a checkpoint."""
    arguments = ["digits", "--sampler", "ddpm", "--samples", "256", "--out", str(tmp_path)]
    options = {"stdout": subprocess.PIPE, "text": True, "preexec_fn": listening}
    with subprocess.Popen([*COMMAND, *arguments], **options) as process:
        for line in process.stdout:
            if line.startswith("DDPM"):
                break
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        told = process.stdout.read()
        assert process.wait(timeout=20) == 130, told
    assert "Interrupted in DDPM, 1000 steps" in told
    (checkpoint,) = tmp_path.glob("*.safetensors")
    assert forerun.Checkpoint.load(checkpoint).step > 0
