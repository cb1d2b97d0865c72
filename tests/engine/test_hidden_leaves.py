"""Leaves that `observe` leaves out are part of the answer: the check holds them against the tolerance too."""

import pytest
import torch

from forerun import Absolute, Picard, Process, Secant, Sequential, Sliding, Status, solve


class Accounting(Process):
    """A contraction whose bill is a thousand times as sensitive as what is observed, with a counter."""

    length = 120

    def __init__(self, counts_whole_state=True):
        self.counts_whole_state = counts_whole_state

    def observe(self, state):
        return state["x"]

    def evaluate(self, steps, x):
        return torch.sin(3 * x)

    def advance(self, step, state, output):
        return {
            "x": 0.9 * state["x"] + 0.1 * output,
            "bill": state["bill"] + 1000 * state["x"] ** 2,
            "count": state["count"] + 1,
        }


def first_state():
    x = torch.full((4,), 0.8, dtype=torch.float64)
    return {"x": x, "bill": torch.zeros(4, dtype=torch.float64), "count": torch.tensor(0)}


def largest_gap(state, truth):
    return max(float((state[name] - truth[name]).abs().max()) for name in truth)


@pytest.mark.parametrize("method", [Picard(), Secant()])
def test_the_whole_state_is_as_near_as_was_asked(method):
    truth = solve(Accounting(), first_state(), method=Sequential()).state
    solution = solve(Accounting(), first_state(), method=method, window=Sliding(16), tolerance=Absolute(1e-3))
    assert largest_gap(solution.state, truth) <= 1e-3
    assert solution.state["count"].item() == 120
    assert solution.status in {Status.CHECKED, Status.SEQUENTIAL}


def test_without_them_only_what_is_observed_is_held_against_the_tolerance():
    truth = solve(Accounting(), first_state(), method=Sequential()).state
    process = Accounting(counts_whole_state=False)
    solution = solve(process, first_state(), method=Picard(), window=Sliding(16), tolerance=Absolute(1e-3))
    assert float((solution.state["x"] - truth["x"]).abs().max()) <= 1e-3 < largest_gap(solution.state, truth)


def test_leaves_that_are_shown_as_views_are_not_counted_twice():
    class Viewed(Accounting):
        def observe(self, state):
            return state["x"].unsqueeze(0)

        def advance(self, step, state, output):
            return super().advance(step, state, output[0])

    seen = solve(Viewed(), first_state(), window=Sliding(16), tolerance=Absolute(1e-3))
    truth = solve(Accounting(), first_state(), method=Sequential()).state
    assert largest_gap(seen.state, truth) <= 1e-3
