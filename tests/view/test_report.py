from dataclasses import replace

import pytest
import torch

import forerun
from forerun.engine.solution import RunTiming
from forerun.view import Deviation, format_report
from forerun.view.formatting import format_duration, format_gain, format_ratio


@pytest.fixture(scope="module")
def runs():
    weight = torch.randn(6, 6, generator=torch.Generator().manual_seed(0)) / 6
    process = forerun.Process.from_step(lambda i, x: x + 0.05 * torch.tanh(x @ weight), 40)
    state = torch.randn(6, generator=torch.Generator().manual_seed(1))
    ahead = forerun.solve(process, state, window=forerun.Full(), tolerance=forerun.Absolute(1e-5))
    sequential = forerun.solve(process, state, method=forerun.Sequential(), check=False)
    return replace(ahead, seconds=RunTiming(0.02, 0.01, 0.0, 0.01)), replace(sequential, seconds=RunTiming(0.1))


def cells(page):
    """The tables of a page: first cell of a row to the others."""
    rows = [line[1:-1].split("|") for line in page.splitlines() if line.startswith("|")]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}


def test_a_run_alone(runs):
    ahead, _ = runs
    page = format_report(ahead)
    rows = cells(page)
    assert page.startswith(f"# 40 steps in {ahead.rounds} rounds\n")
    assert rows["rounds"] == [str(ahead.rounds)]
    assert rows["evaluations"] == [str(ahead.evaluations)]
    assert rows["inflation"] == [f"{ahead.inflation:.2f}"]
    assert rows["deviation, estimated"] == [f"{ahead.deviation_estimate:.1e}"]
    assert rows["time"] == ["40 ms"]
    assert rows["evaluate"] == ["20 ms", "50%"]
    assert ahead.status.value in page


def test_beside_the_sequential_run(runs):
    ahead, sequential = runs
    rows = cells(format_report(ahead, sequential))
    true = (ahead.state - sequential.state).abs().max().item()
    assert rows["rounds"] == [str(ahead.rounds), "40", f"{format_ratio(40 / ahead.rounds)} fewer"]
    assert rows["time"] == ["40 ms", "100 ms", "2.5x faster"]
    assert rows["deviation, largest number"][0] == f"{true:.1e}"


def test_a_slower_run_is_told_as_it_is(runs):
    ahead, sequential = runs
    page = format_report(replace(ahead, seconds=RunTiming(0.4)), sequential)
    assert cells(page)["time"][-1] == "4x slower"


def test_a_resumed_run_claims_no_speed_up(runs):
    ahead, sequential = runs
    assert cells(format_report(replace(ahead, log=ahead.log[1:]), sequential))["time"][-1] == ""


def test_notes_and_a_missing_estimate(runs):
    ahead, _ = runs
    page = format_report(replace(ahead, notes=("It declined.",), deviation=None))
    assert "- It declined." in page
    assert cells(page)["deviation, estimated"] == ["not estimated"]


def test_all_lines_of_a_table_are_as_long(runs):
    tables = [block for block in format_report(*runs).split("\n\n") if block.startswith("|")]
    assert len(tables) == 2
    for table in tables:
        assert len({len(line) for line in table.splitlines()}) == 1


@pytest.mark.parametrize(
    "seconds, words", [(0.0, "0 s"), (2e-8, "20 ns"), (3.3e-5, "33 µs"), (0.0123, "12.3 ms"), (75.0, "75 s")]
)
def test_durations(seconds, words):
    assert format_duration(seconds) == words


@pytest.mark.parametrize(
    "ratio, words", [(0.25, "4x worse"), (1, "1x better"), (34.48, "34.5x better"), (250, "250x better")]
)
def test_gains(ratio, words):
    assert format_gain(ratio, "better", "worse") == words


def test_deviation_is_of_the_worst_sample():
    state = {"x": torch.zeros(2, 4), "count": torch.tensor([3, 3])}
    other = {"x": torch.tensor([[0.0, 0, 0, 0], [0, 0, 0, 2]]), "count": torch.tensor([3, 3])}
    assert Deviation.between(state, other, 1) == Deviation(largest=2.0, rms=1.0)
    assert Deviation.between(state, other).rms == pytest.approx(0.5**0.5)


def test_what_is_not_a_number_is_infinitely_far():
    assert Deviation.between(torch.tensor([float("nan")]), torch.zeros(1)).largest == float("inf")


def test_states_of_two_processes_are_refused():
    with pytest.raises(ValueError, match=r"\[2\] and \[3\]"):
        Deviation.between(torch.zeros(2), torch.zeros(3))
