"""The moving threshold, against the loop that it was written for; and what tolerances do to a loop."""

import pytest
import torch
from torch import nn, optim

from forerun import Absolute, Moving, Picard, Process, Sequential, Sliding, solve
from forerun.engine.guesses import Copy
from forerun.optim import Loop, OneByOne, StepLength

STEPS, LOOPED = 400, 80
torch.manual_seed(0)
CURVE = torch.linspace(0.1, 1.5, 5)
TARGETS = torch.randn(STEPS, 5)


def loss(params, step):
    return 0.5 * (CURVE * (params["x"] - TARGETS[step]) ** 2).sum()


def gradient(x, step):
    return CURVE * (x - TARGETS[step])


def official(threshold, width, rate):
    """DreamPropeller's rollout on plain gradient steps: accepted steps and thresholds, round by round.

    Slots before the accepted one keep their value, those from it on get the rollout, new ones copies of its end.
    """
    x = {step: torch.zeros(5) for step in range(width + 1)}
    begin, end, rounds = 0, width, []
    while begin < STEPS:
        length = end - begin
        found = [gradient(x[begin + i], begin + i) for i in range(length)]
        roll, reached, seen = x[begin], None, 0.0
        for i in range(length):
            step = begin + i
            roll = roll - rate * found[i]
            error = 1e6 * float((roll - x[step + 1]).square().mean())
            if i == length // 2:
                seen = error
            if reached is None and (error > threshold or i == length - 1):
                reached = step + 1
            if reached is not None:
                x[step + 1] = roll
        rounds.append((begin, reached - begin, threshold))
        threshold = 0.9 * threshold + 0.1 * seen
        new_end = min(reached + length, STEPS)
        for step in range(end + 1, new_end + 1):
            x[step] = roll
        begin, end = reached, new_end
    return rounds, x[STEPS]


class Descent(Process):
    """The same without anything beside the parameters."""

    length = STEPS

    def __init__(self, rate):
        self.rate = rate

    def evaluate(self, steps, inputs):
        return CURVE * (inputs - TARGETS[steps])

    def advance(self, step, state, output):
        return state - self.rate * output


def ahead(tolerance, width, rate, **options):
    params = {"x": nn.Parameter(torch.zeros(5))}
    options = {"method": Picard(), "guess": Copy(), "gradients": OneByOne()} | options
    loop = Loop(params, optim.SGD([params["x"]], rate), loss, window=Sliding(width), tolerance=tolerance, **options)
    return loop.run(LOOPED).solution(), params["x"].detach()


@pytest.mark.parametrize("width", [4, 7, 8])
@pytest.mark.parametrize("rate", [0.05, 0.1])
@pytest.mark.parametrize("start", [1e2, 1e5])
def test_the_moving_threshold_is_the_official_loop_round_by_round(width, rate, start):
    rounds, truth = official(start, width, rate)
    options = {"method": Picard(), "guess": Copy(), "window": Sliding(width), "check": False}
    solution = solve(Descent(rate), torch.zeros(5), tolerance=Moving(start), **options)
    whole = [entry for entry in solution.log if entry.stop < STEPS]
    assert len(whole) > 5
    for entry, (begin, accepted, threshold) in zip(whole, rounds, strict=False):
        assert (entry.start, entry.accepted) == (begin, accepted)
        assert entry.threshold == pytest.approx(threshold, rel=1e-3)
    torch.testing.assert_close(solution.state, truth)


def test_the_moving_threshold_forgets_where_it_began():
    """It accepts about half a window, from a thousandth of the residuals on or from a thousand times them."""
    options = {"method": Picard(), "guess": Copy(), "window": Sliding(8), "check": False}
    runs = [solve(Descent(0.1), torch.zeros(5), tolerance=Moving(start), **options) for start in (1.0, 1e5)]
    late = [[entry.accepted for entry in run.log if 200 < entry.start < STEPS - 8] for run in runs]
    means = [sum(each) / len(each) for each in late]
    assert all(2.5 < mean < 6.5 for mean in means), means
    assert abs(means[0] - means[1]) < 1


def test_it_does_not_hold_what_a_fixed_tolerance_holds():
    """At a rate at which the loop itself is stable, the moving threshold lets it run away."""
    options = {"method": Picard(), "guess": Copy(), "window": Sliding(8), "check": False}
    truth = solve(Descent(0.3), torch.zeros(5), method=Sequential()).state
    moving = solve(Descent(0.3), torch.zeros(5), tolerance=Moving(1e2), **options)
    fixed = solve(Descent(0.3), torch.zeros(5), tolerance=Absolute(1e-2), **options)
    assert not float((moving.state - truth).norm()) < 1e6
    assert float((fixed.state - truth).norm()) < 0.1
    assert fixed.rounds < STEPS


def test_a_tighter_step_length_comes_closer():
    _, truth = ahead(StepLength(0.03), 1, 0.1, method=Sequential())
    distances, rounds = [], []
    for value in (1.0, 0.1, 1e-3):
        solution, x = ahead(StepLength(value), 8, 0.1)
        distances.append(float((x - truth).norm()))
        rounds.append(solution.rounds)
    assert distances == sorted(distances, reverse=True)
    assert rounds == sorted(rounds)
    assert distances[-1] < 1e-2 * distances[0]


def test_a_residual_is_in_units_of_the_mean_step():
    params = {"x": nn.Parameter(torch.zeros(5)), "y": nn.Parameter(torch.zeros(2, 2))}
    optimizer = optim.SGD(params.values(), 0.1)

    def both(params, step):
        return loss(params, step) + (params["y"] - step).square().sum()

    loop = Loop(params, optimizer, both, gradients=OneByOne())
    process, before, lengths = None, None, []
    for event in loop.run(7):
        now = torch.cat([tensor.flatten() for tensor in event.params.values()])
        lengths.append(float((now - (0 if before is None else before)).norm()))
        before, process = now, loop.build_process(7)
        seen = process.observe(event.state)
    row = torch.cat([tensor.flatten() for tensor in [*seen["params"], seen["scalars"]]])
    move = torch.zeros_like(row)
    move[:9] = torch.randn(9)
    found = StepLength(0.03).norm(torch.tensor([3]), move.unsqueeze(0), row.unsqueeze(0))
    assert float(found) == pytest.approx(float(move.norm()) / (sum(lengths) / len(lengths)), rel=1e-5)


def test_tolerances_that_nothing_can_keep_are_refused():
    with pytest.raises(ValueError, match=r"pass a number >= 0, such as 0\.03"):
        StepLength(-1.0)


def test_no_control_takes_whole_windows():
    solution, _ = ahead(Absolute(float("inf")), 8, 0.1)
    assert solution.evaluations == LOOPED
    assert solution.rounds == LOOPED // 8
