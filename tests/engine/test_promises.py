"""What the engine promises: nothing lost, nothing wrong accepted, errors that say the line to type."""

import pytest
import torch
from engine.problems import PROBLEMS, TIGHT, lorenz, same

from forerun import (
    Absolute,
    Auto,
    Full,
    Known,
    Moving,
    NotConverged,
    Picard,
    Process,
    Relative,
    Secant,
    Sequential,
    Sliding,
    Status,
    solve,
)
from forerun.engine.backends import Local
from forerun.engine.check import Check
from forerun.engine.rounds import RoundTiming
from forerun.engine.tolerance import PerStep, rms


class Breaks(Process):
    """A contraction that does something unfitting at some call of evaluate."""

    length = 30

    def __init__(self, call, act):
        self.calls, self.call, self.act = 0, call, act

    def evaluate(self, steps, inputs):
        self.calls += 1
        outputs = torch.sin(inputs) + 0.1 * steps.to(inputs).unsqueeze(-1)
        return self.act(outputs) if self.calls == self.call else outputs

    def advance(self, step, state, output):
        return 0.9 * state + 0.1 * output


START = torch.linspace(-1, 1, 4, dtype=torch.float64)


def interrupt(outputs):
    raise KeyboardInterrupt


@pytest.mark.parametrize("call", [1, 2, 4])
def test_an_interrupted_run_goes_on_to_the_same_answer(call, tmp_path):
    whole = solve(Breaks(0, None), START, **TIGHT)
    part = solve(Breaks(call, interrupt), START, **TIGHT)
    assert part.status is Status.INTERRUPTED
    assert part.step < 30
    part.checkpoint.save(tmp_path / "run.safetensors")
    for resume in (part.checkpoint, tmp_path / "run.safetensors", str(tmp_path / "run.safetensors")):
        rest = solve(Breaks(0, None), START, resume=resume, **TIGHT)
        assert rest.status.done
        same(rest.state, whole.state)
        assert rest.rounds > part.rounds


def test_an_error_carries_what_was_accepted():
    def fail(outputs):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory") as caught:
        solve(Breaks(4, fail), START, **TIGHT)
    checkpoint = caught.value.checkpoint
    assert 0 < checkpoint.step < 30
    rest = solve(Breaks(0, None), START, resume=checkpoint, **TIGHT)
    same(rest.state, solve(Breaks(0, None), START, **TIGHT).state)


def test_a_callback_stops_and_a_tree_with_plain_values_resumes(tmp_path):
    process, state = PROBLEMS["momentum"]()
    part = solve(process, state, callback=lambda event: event.step >= 7, **TIGHT)
    assert part.status is Status.STOPPED
    part.checkpoint.save(tmp_path / "run.safetensors")
    rest = solve(process, state, resume=tmp_path / "run.safetensors", **TIGHT)
    assert rest.state["name"] == "ball"
    assert rest.state["count"] == 18
    same(rest.state, solve(process, state, method=Sequential()).state)


def test_wild_guesses_that_blow_up_do_no_harm():
    process = Process.from_step(lambda i, x: torch.exp(-x * x) * x - 0.3 / (x - 0.05), 25)
    state = torch.tensor([1.5, -2.0], dtype=torch.float64)
    truth = solve(process, state, method=Sequential(), throw=False)
    found = solve(process, state, window=Full(), tolerance=Absolute(1e-12), check=False, throw=False)
    assert found.status.done
    same(found.state, truth.state, atol=1e-6)


@pytest.mark.parametrize("method", [Sequential(), Picard(), Secant()], ids=lambda method: type(method).__name__)
def test_a_step_that_is_not_finite_ends_the_run_before_it(method):
    process = Process.from_step(lambda i, x: torch.where(i == 12, torch.nan, 0.9 * x), 20)
    with pytest.raises(NotConverged, match="step 12 of 20") as caught:
        solve(process, START, method=method, window=Sliding(5))
    assert caught.value.solution.status is Status.NONFINITE
    found = solve(process, START, method=method, window=Sliding(5), throw=False)
    assert found.step == 12
    same(found.state, 0.9**12 * START, atol=1e-3)


@pytest.mark.parametrize("call", [1, 3])
@pytest.mark.parametrize(
    "act, says",
    [
        (lambda o: o[0], "leading axis|begin with that axis"),
        (lambda o: (o, o), "structure"),
        (lambda o: o[:, :-1], "shape"),
        (lambda o: o.float(), "dtype"),
        (lambda o: o.to("meta"), "device"),
    ],
)
def test_outputs_that_do_not_fit_are_refused(act, says, call):
    if call == 1 and says != "leading axis|begin with that axis":
        pytest.skip("the first call decides what the outputs are")
    with pytest.raises(ValueError, match=says):
        solve(Breaks(call, act), START, **TIGHT)


@pytest.mark.parametrize("length", [0, 1, 2])
@pytest.mark.parametrize("window", [Full(), Sliding(7), Auto()], ids=str)
def test_short_paths(length, window):
    process = Process.from_step(lambda i, x: x + 1, length)
    found = solve(process, START, window=window)
    same(found.state, START + length)
    assert found.rounds <= length
    assert found.status is Status.SEQUENTIAL or length == 2


def test_empty_batches():
    process = Process.from_step(lambda i, x: 0.5 * x, 12, batched=True, batch_dims=1)
    found = solve(process, torch.zeros(0, 3), window=Full())
    assert found.state.shape == (0, 3)
    assert found.deviation_estimate == 0.0


@pytest.mark.parametrize(
    "options, says",
    [
        ({"window": "5"}, r"window=forerun.Auto\(\)"),
        ({"method": "secant"}, r"method=forerun.Secant\(\)"),
        ({"tolerance": True}, r"tolerance=forerun.Absolute\(1e-3\)"),
    ],
)
def test_arguments_of_another_kind_are_refused(options, says):
    process, state = PROBLEMS["increments"]()
    with pytest.raises(TypeError, match=says):
        solve(process, state, **options)


def test_what_cannot_work_is_refused_at_the_door():
    process, state = PROBLEMS["increments"]()
    with pytest.raises(TypeError, match=r"Process\.from_step"):
        solve(lambda i, x: x, state)
    with pytest.raises(ValueError, match="3 levels for 20 steps"):
        solve(process, state, tolerance=PerStep(0.1, torch.ones(3)))
    other = solve(*PROBLEMS["contractive"](), **TIGHT).checkpoint
    with pytest.raises(ValueError, match="24 steps, this one has 20"):
        solve(process, state, resume=other)
    for make in (lambda: Absolute(-1), lambda: Relative(float("nan")), lambda: Sliding(0), lambda: Local(max_batch=0)):
        with pytest.raises(ValueError, match="pass"):
            make()


def test_runs_that_residuals_call_converged_are_caught():
    process, state = lorenz(300)
    truth = solve(process, state, method=Sequential()).state
    options = {"window": Sliding(16), "tolerance": Absolute(1e-4)}
    unchecked = solve(process, state, check=False, **options)
    told = solve(process, state, check=Check(share=1.0, retries=0), **options)
    checked = solve(process, state, **options)
    assert rms(unchecked.state - truth).max() > 1e-3  # ten times what was asked for
    assert told.status is Status.UNCERTAIN
    assert checked.status.done
    assert checked.notes
    assert rms(checked.state - truth).max() < 3e-4


def test_chaos_beyond_rounding_ends_in_the_sequential_run():
    process, state = lorenz(2500, torch.float32)
    truth = solve(process, state, method=Sequential())
    found = solve(process, state, window=Sliding(16), tolerance=Absolute(1e-3))
    assert found.status is Status.SEQUENTIAL
    assert torch.equal(found.state, truth.state)
    assert "step by step" in found.notes[-1]


def test_the_estimate_follows_the_truth():
    process, state = PROBLEMS["contractive"]()
    truth = solve(process, state, method=Sequential()).state
    for size in (1e-3, 1e-5):
        options = {"window": Sliding(8), "tolerance": Absolute(size), "check": Check(share=1.0, retries=0)}
        found = solve(process, state, method=Picard(), **options)
        true = rms(found.state - truth).max()
        assert true / 8 < found.deviation_estimate < 8 * true


def test_a_warm_start_takes_one_round_and_a_wrong_one_costs_only_rounds():
    process, state = PROBLEMS["contractive"]()
    truth = solve(process, state, method=Sequential(), path=True)
    inputs = torch.stack(truth.path[:-1])
    warm = solve(process, state, guess=Known(inputs), window=Full(), tolerance=Absolute(1e-6))
    assert warm.rounds == 1
    wrong = solve(process, state, guess=Known(inputs + 1), window=Full(), tolerance=Absolute(1e-10))
    same(wrong.state, truth.state)


def test_the_path_is_the_sequential_path():
    process, state = PROBLEMS["increments"]()
    truth = solve(process, state, method=Sequential(), path=True)
    found = solve(process, state, path=True, **TIGHT)
    assert len(found.path) == len(truth.path) == 21
    same(list(found.path), list(truth.path))


def test_the_figures_add_up():
    process, state = PROBLEMS["sampler"]()
    found = solve(process, state, window=Full())
    assert found.rounds == sum(entry.rounds for entry in found.log)
    assert found.evaluations == sum(entry.evaluations for entry in found.log)
    assert found.inflation == found.evaluations / 20
    assert found.seconds.total == pytest.approx(sum(vars(found.seconds).values()))
    assert found.log[-1].start + found.log[-1].accepted == 20
    assert found.status.value in str(found)


def test_slices_and_padding_change_nothing():
    process, state = PROBLEMS["contractive"]()
    whole = solve(process, state, **TIGHT)
    for backend in (Local(max_batch=2), Local(pad=(8, 4))):
        same(solve(process, state, backend=backend, **TIGHT).state, whole.state)


def test_the_moving_threshold_follows_the_official_rule():
    rule = Moving(5.0)
    assert rule.norm(torch.arange(1), torch.full((1, 4), 2e-3), torch.zeros(1, 4)) == pytest.approx(4.0)
    assert rule.follow(5.0, [0.0, 1.0, 2.0, 3.0, 4.0]) == pytest.approx(0.9 * 5 + 0.1 * 3)
    assert Moving(5.0, mean=True).follow(5.0, [0.0, 1.0, 2.0, 3.0]) == pytest.approx(0.9 * 5 + 0.1 * 2)
    assert rule.follow(5.0, [0.0, float("nan"), float("nan")]) == 5.0


class Priced(Local):
    """A backend that tells the price of a round instead of its time."""

    def __init__(self, price):
        super().__init__()
        object.__setattr__(self, "price", price)

    def evaluate(self, call, steps, inputs, rest):
        return call(steps, inputs), lambda: RoundTiming(evaluate=self.price(len(steps)))


def test_auto_declines_where_a_batch_costs_all_its_steps():
    process = Process.from_step(lambda i, x: torch.sin(1.2 * x + 0.1), 200)
    found = solve(process, START, window=Auto(), check=False, backend=Priced(lambda width: float(width)))
    assert found.evaluations < 1.15 * 200
    assert found.notes[0].startswith("Sequential from step")
    same(found.state, solve(process, START, method=Sequential()).state, atol=1e-2)


def test_auto_opens_the_window_where_a_batch_is_free():
    process = Process.from_step(lambda i, x: x + 0.01 * torch.sin(x), 400, increment=True)
    found = solve(process, START, window=Auto(), backend=Priced(lambda width: 1.0))
    assert found.rounds < 40
    assert not found.notes


def test_an_uncertain_run_says_why_and_what_to_do():
    """The last note has the reason: a chaotic path whose rounding grows as large as the path."""
    process = Process.from_step(lambda i, x: 4 * x * (1 - x), 200)
    solution = solve(process, torch.full((3,), 0.3), window=8, tolerance=1e-3)
    assert solution.status is Status.UNCERTAIN
    assert "asked for" in solution.notes[-1]
    assert "pass " in solution.notes[-1]
