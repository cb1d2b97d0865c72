"""The thorough check: every accepted step evaluated again, where it was accepted and where the shadow is."""

import pytest
import torch
from engine.problems import lorenz

from forerun import Absolute, Full, Picard, Process, Secant, Sequential, Sliding, Status, solve
from forerun.engine.check import Check, accepted_path
from forerun.engine.tolerance import rms
from forerun.engine.windows import EVERY_STEP

DOUBLE = torch.float64
REPORT_ONLY = Check(share=1.0, retries=0, thorough=True)


def turning(width=16, length=60):
    """Steps that turn the state by a rotation of their own, and amplify it a little."""
    generator = torch.Generator().manual_seed(1)
    turns = 1.05 * torch.linalg.qr(torch.randn(length, width, width, generator=generator, dtype=DOUBLE))[0]
    turns[: length // 2] = torch.eye(width, dtype=DOUBLE)
    state = torch.randn(width, generator=generator, dtype=DOUBLE)

    def turn(steps, x):
        return (turns[steps] @ (x + 0.02 * torch.tanh(x)).unsqueeze(-1)).squeeze(-1)

    return Process.from_step(turn, length, batched=True), state


@pytest.mark.parametrize("method", [Secant(), Picard()], ids=lambda method: type(method).__name__)
def test_the_estimate_of_lorenz_is_right_to_a_factor_of_four(method):
    process, state = lorenz(100)
    truth = solve(process, state, method=Sequential()).state
    found = solve(process, state, method=method, window=Full(EVERY_STEP), tolerance=Absolute(1e-4), check=REPORT_ONLY)
    true = float(rms(found.state - truth).max())
    assert true > 0
    assert true / 4 <= found.deviation_estimate <= 4 * true


def test_growth_in_directions_that_no_move_showed_is_not_lost():
    process, state = turning()
    truth = solve(process, state, method=Sequential()).state
    options = {"window": Sliding(16), "tolerance": Absolute(1e-3)}
    found = solve(process, state, check=REPORT_ONLY, **options)
    true = float(rms(found.state - truth))
    assert found.deviation_estimate > true / 2
    kept = solve(process, state, check=Check(thorough=True), **options)
    assert kept.status in {Status.CHECKED, Status.SEQUENTIAL}
    assert float(rms(kept.state - truth)) <= 1e-3


def test_no_more_than_two_evaluations_a_step_are_added():
    process, state = lorenz(100)
    found = solve(process, state, window=Full(), tolerance=Absolute(1e-4), check=REPORT_ONLY)
    assert 0 < found.check_evaluations <= 2.2 * found.length  # and a few single ones


def test_a_path_too_large_to_be_kept_is_sampled(monkeypatch):
    monkeypatch.setattr(accepted_path, "ACCEPTED_PATH_ELEMENTS", 100)
    process, state = lorenz(100)
    found = solve(process, state, window=Full(), tolerance=Absolute(1e-4), check=REPORT_ONLY)
    assert 0 < found.check_evaluations <= found.length / 2
    assert found.deviation_estimate > 0
