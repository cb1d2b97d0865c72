"""What the check distrusts: rows of separate elements, states in half precision, and paths that were resumed."""

import torch

from forerun import Absolute, Full, Process, Sliding, Status, solve
from forerun.engine.baseline import run_plain_loop
from forerun.engine.check.element_test import slopes_agree
from forerun.engine.guesses import Known
from forerun.engine.tolerance import rms

DOUBLE = torch.float64


def test_a_warm_start_on_the_other_side_of_a_bifurcation_is_not_called_checked():
    generator = torch.Generator().manual_seed(3)
    process = Process.from_step(lambda i, x: x + 0.3 * x * (1 - x * x), 80, increment=True)
    state = 1e-6 * torch.randn(8, generator=generator, dtype=DOUBLE)
    other, path = -state, []
    for step in range(80):
        path.append(other)
        other = other + 0.3 * other * (1 - other * other)
    answer = solve(process, state, guess=Known(torch.stack(path)), window=Full(), tolerance=Absolute(1e-3))
    truth = run_plain_loop(process, state)
    assert answer.status is Status.UNCERTAIN or float(rms(answer.state - truth)) <= 1e-3


def test_states_in_half_precision_end_as_the_loop_does():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(32, 32, generator=generator) / 6
    step = lambda i, x: x + (0.05 * torch.tanh(weight @ x.float())).to(x.dtype)  # noqa: E731
    process = Process.from_step(step, 200, increment=True)
    state = torch.randn(32, generator=generator).bfloat16()
    answer = solve(process, state, window=Full(), tolerance=Absolute(1e-2))
    assert float(rms(answer.state.double() - run_plain_loop(process, state).double())) <= 1e-2


def test_coupled_elements_are_told_from_separate_ones():
    slopes = torch.tensor([[1.0, 2.0, 3.0]])
    assert slopes_agree(slopes, slopes.clone())
    assert not slopes_agree(slopes, torch.tensor([[1.0, 2.0, 2.0]]))


def test_a_resumed_run_is_checked_from_its_beginning(tmp_path):
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(16, 16, generator=generator, dtype=DOUBLE) / 4
    process = Process.from_step(lambda i, x: x + 0.1 * torch.tanh(x @ weight.T), 120, batched=True, increment=True)
    state = torch.randn(16, generator=generator, dtype=DOUBLE)
    options = {"window": Sliding(16), "tolerance": Absolute(1e-4)}
    part = solve(process, state, callback=lambda event: event.step >= 60, **options)
    part.checkpoint.save(tmp_path / "run")
    answer = solve(process, state, resume=tmp_path / "run", **options)
    true = float(rms(answer.state - run_plain_loop(process, state)))
    assert answer.status is Status.CHECKED
    assert true <= 1e-4
    assert true / 5 <= answer.deviation_estimate
