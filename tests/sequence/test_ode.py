"""Differential equations on a fixed grid: the solution of torchdiffeq, and its gradient."""

import pytest
import torch

from forerun import Newton
from forerun.engine.witness import WitnessWarning
from forerun.sequence import DOPRI5, EULER, RK4, odeint

torchdiffeq = pytest.importorskip("torchdiffeq")
DOUBLE = torch.float64


def oscillator(t, y):
    """Van der Pol's, driven."""
    return torch.stack([y[..., 1], (1 - y[..., 0] ** 2) * y[..., 1] - y[..., 0] + torch.sin(t).squeeze(-1)], -1)


def start(batch=3):
    return torch.linspace(0.5, 1.5, 2 * batch, dtype=DOUBLE).reshape(batch, 2)


def own_steps(scheme, y, grid):
    found = []
    for t, dt in zip(grid[:-1], grid.diff(), strict=True):
        y = scheme.step(oscillator, t.reshape(1, 1), dt, y)
        found.append(y)
    return torch.stack(found)


@pytest.mark.parametrize("scheme, accuracy", [(RK4, 1e-6), (DOPRI5, 1e-8)], ids=["rk4", "dopri5"])
@pytest.mark.parametrize("end", [6.0, -2.0])
def test_the_solution_is_that_of_torchdiffeq(scheme, accuracy, end):
    grid = torch.linspace(0, end, 301, dtype=DOUBLE)
    fine = {"method": "rk4", "options": {"step_size": abs(end) / 6000}}  # its dense output is less accurate
    truth = torchdiffeq.odeint(lambda t, y: oscillator(t.reshape(1, 1), y), start(), grid, **fine)
    found = odeint(oscillator, start(), grid, scheme=scheme, method=Newton())
    torch.testing.assert_close(found.hidden, truth[1:], rtol=0, atol=accuracy)
    assert found.rounds < 15


@pytest.mark.parametrize("scheme", [EULER, RK4, DOPRI5], ids=["euler", "rk4", "dopri5"])
def test_the_steps_are_those_of_the_scheme(scheme):
    grid = torch.linspace(0, 3, 81, dtype=DOUBLE)
    found = odeint(oscillator, start(), grid, scheme=scheme, method=Newton())
    torch.testing.assert_close(found.hidden, own_steps(scheme, start(), grid), rtol=0, atol=1e-11)


@pytest.mark.parametrize("scheme, order", [(EULER, 1), (RK4, 4), (DOPRI5, 5)], ids=["euler", "rk4", "dopri5"])
def test_the_order_of_a_scheme(scheme, order):
    errors = []
    for steps in (40, 80):
        grid = torch.linspace(0, 1, steps + 1, dtype=DOUBLE)
        found = odeint(lambda t, y: -y * torch.cos(t), torch.ones(1, 1, dtype=DOUBLE), grid, scheme=scheme)
        errors.append(abs(float(found.hidden[-1]) - float(torch.exp(-torch.sin(torch.tensor(1.0, dtype=DOUBLE))))))
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.25)


def test_gradients_in_weights_start_and_times():
    weight = torch.tensor([[0.2, -1.0], [1.0, -0.3]], dtype=DOUBLE, requires_grad=True)
    y0, grid = start().requires_grad_(), torch.linspace(0, 2, 11, dtype=DOUBLE).requires_grad_()

    def call(weight, y0, grid):
        return odeint(lambda t, y: torch.tanh(y @ weight.T) + t, y0, grid, method=Newton()).hidden[-2:]

    assert torch.autograd.gradcheck(call, (weight, y0, grid))


@pytest.mark.parametrize("grid", [torch.zeros(1), torch.tensor([0.0, 1.0, 0.5]), torch.zeros(2, 2)])
def test_a_grid_that_is_none_is_refused(grid):
    with pytest.raises(ValueError, match="linspace"):
        odeint(oscillator, start().float(), grid)


def loop_grid(f, y, grid, scheme=RK4):
    states = []
    for t, dt in zip(grid[:-1], grid.diff(), strict=True):
        y = scheme.step(f, t, dt, y)
        states.append(y)
    return states


@pytest.mark.parametrize("method", [None, Newton()], ids=["chosen", "Newton"])
@pytest.mark.parametrize("scheme", [EULER, DOPRI5], ids=["euler", "dopri5"])
def test_states_of_any_size_are_right_to_their_own_size(scheme, method):
    sizes = torch.tensor([[1e-8], [1.0], [1e-4]])

    def react(t, y):
        return -y * (1 + 5 * y / sizes)

    grid = torch.linspace(0, 1, 501)
    expected = torch.stack(loop_grid(react, sizes, grid, scheme))
    found = odeint(react, sizes, grid, scheme=scheme, method=method)
    torch.testing.assert_close(found.hidden / expected, torch.ones_like(expected), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", [tuple, list])
def test_a_tuple_of_states(kind):
    grid = torch.linspace(0, 1, 301, dtype=DOUBLE)
    y0 = (torch.ones(2, 1, dtype=DOUBLE), torch.zeros(2, 3, 1, dtype=DOUBLE))
    found = odeint(lambda t, y: kind((y[1][:, 0], -y[0].unsqueeze(1).expand(-1, 3, -1))), y0, grid, method=Newton())
    torch.testing.assert_close(found.hidden[0][-1], torch.cos(y0[0]), rtol=0, atol=1e-9)
    torch.testing.assert_close(found.hidden[1][-1, :, 2], -torch.sin(y0[0]), rtol=0, atol=1e-9)
    assert found.log


def branch_on_time(t, y):
    if t < 0.5:
        return -y
    return y


def convert_time(t, y):
    return -y * float(t)


@pytest.mark.parametrize("f", [branch_on_time, convert_time])
def test_a_time_that_is_one_number_is_the_loop_with_a_word(f):
    grid, y0 = torch.linspace(0, 1, 301, dtype=DOUBLE), start()
    with pytest.warns(WitnessWarning, match="plain loop"):
        found = odeint(f, y0, grid, method=Newton())
    torch.testing.assert_close(found.hidden[-1], loop_grid(f, y0, grid)[-1], rtol=0, atol=0)


def test_a_rate_for_every_sample():
    rates, grid = torch.rand(3, 1, dtype=DOUBLE), torch.linspace(0, 1, 301, dtype=DOUBLE)
    found = odeint(lambda t, y: -rates * y, torch.ones(3, 1, dtype=DOUBLE), grid, method=Newton())
    torch.testing.assert_close(found.hidden[-1], torch.exp(-rates), rtol=0, atol=1e-9)
    assert found.log


def test_starts_without_samples_and_slopes_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"y0.unsqueeze\(-1\)"):
        odeint(lambda t, y: -y, torch.tensor(2.0), torch.linspace(0, 1, 300))
    with pytest.raises(ValueError, match="of the same shape"):
        odeint(lambda t, y: y.sum(-1), torch.ones(3, 2), torch.linspace(0, 1, 300))
