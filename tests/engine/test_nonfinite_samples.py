"""One sample of many that is not finite: the others go on, and the answer names it."""

from dataclasses import replace

import pytest
import torch

from forerun import Full, NotConverged, Process, Sequential, Sliding, Status, solve
from forerun.engine.baseline import run_plain_loop
from forerun.engine.methods import Anderson, GaussSeidel, Jacobi, Newton, Picard, QuasiNewton, Secant

START = torch.linspace(0, 1, 64 * 3, dtype=torch.float64).reshape(64, 3)
OTHERS = torch.arange(64) != 17


class Fails(Process):
    """A contraction, some of whose samples give something that is not finite at a step; the state keeps a mean."""

    length, batch_dims = 40, 1

    def __init__(self, failures, value=torch.nan):
        self.failures, self.value = failures, value

    def observe(self, state):
        return state["x"]

    def evaluate(self, steps, inputs):
        outputs = torch.cos(inputs + 0.1 * steps.to(inputs)[:, None, None])
        for sample, step in self.failures.items():
            failed = (steps == step)[:, None].expand(-1, 3)
            outputs[:, sample] = outputs[:, sample].masked_fill(failed, self.value)
        return outputs

    def advance(self, step, state, output):
        x = 0.8 * state["x"] + 0.2 * output
        return {"x": x, "mean": 0.5 * state["mean"] + x, "count": state["count"] + 1}


def begin(x=START):
    return {"x": x, "mean": torch.zeros_like(x), "count": 0}


METHODS = [Secant(), Picard(), Jacobi(), QuasiNewton(), Newton(), Anderson(Picard(), 2), GaussSeidel(4), Sequential()]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_the_others_go_on_and_the_answer_names_the_sample(method, value):
    process = Fails({17: 9}, value)
    answer = solve(process, begin(), method=method, window=Sliding(8), tolerance=1e-8)
    truth = run_plain_loop(process, begin())
    assert answer.status.done
    assert answer.nonfinite_samples.tolist() == (~OTHERS).tolist()
    assert answer.notes[0].startswith("Sample(s) 17 gave values that are not finite at step 9")
    for name in ("x", "mean"):
        torch.testing.assert_close(answer.state[name][OTHERS], truth[name][OTHERS], rtol=0, atol=1e-7)
        assert not answer.state[name][17].isfinite().any()
    assert answer.state["count"] == 40
    assert answer.deviation.isfinite().all()


def test_several_samples_are_left_out_where_they_fail():
    process = Fails({3: 0, 17: 9, 40: 9, 63: 39})
    answer = solve(process, begin(), window=Full(), tolerance=1e-8, path=True)
    assert answer.nonfinite_samples.nonzero().flatten().tolist() == [3, 17, 40, 63]
    state = begin()
    for step in range(41):
        mine = answer.path[step]["x"]
        torch.testing.assert_close(mine, state["x"], rtol=0, atol=1e-7, equal_nan=True)
        assert mine.isfinite().all(1).sum() == 64 - (step > 0) - 2 * (step > 9) - (step > 39)
        output = process.evaluate(torch.tensor([step]), state["x"][None])[0]
        state = process.advance(step, state, output)


def test_a_resumed_run_goes_on_without_the_sample(tmp_path):
    process = Fails({17: 9})
    options = {"window": Sliding(6), "tolerance": 1e-8}
    part = solve(process, begin(), callback=lambda event: event.step > 15, **options)
    assert part.status is Status.STOPPED
    assert not part.state["x"][17].isfinite().any()
    part.checkpoint.save(tmp_path / "run")
    answer = solve(process, begin(), resume=tmp_path / "run", **options)
    torch.testing.assert_close(
        answer.state["x"], run_plain_loop(process, begin())["x"], rtol=0, atol=1e-7, equal_nan=True
    )
    assert answer.nonfinite_samples[17]


def test_a_run_ends_where_no_sample_is_left_or_none_is_to_blame():
    with pytest.raises(NotConverged, match="step 5 of 40"):
        solve(Fails(dict.fromkeys(range(64), 5)), begin())
    with pytest.raises(NotConverged, match="step 0 of 40"):
        solve(Fails({}), begin(START.masked_fill(~OTHERS[:, None], torch.nan)))
    alone = Process.from_step(lambda i, x: torch.where(i == 12, torch.nan, 0.9 * x), 20)
    with pytest.raises(NotConverged, match="step 12 of 20"):
        solve(alone, START)


def test_two_batch_axes_are_named_by_both_numbers():
    def step(i, x):
        bad = torch.zeros_like(x)
        bad[1, 2] = torch.where(i == 4, torch.nan, 0.0)
        return 0.9 * x + bad

    answer = solve(Process.from_step(step, 20, batch_dims=2), torch.ones(2, 3, 4), window=4)
    assert "Sample(s) (1, 2) gave" in answer.notes[0]
    assert answer.state.isfinite().all(-1).tolist() == [[True] * 3, [True, True, False]]
    assert replace(answer, notes=()).nonfinite_samples.sum() == 1
