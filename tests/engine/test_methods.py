"""Every method equals Sequential, on every problem and window."""

import pytest
import torch
from engine.problems import PROBLEMS

from forerun import Absolute, Full, Process, Sliding, solve
from forerun.diffusion import Denoising, Schedule
from forerun.engine.guesses import Copy, Extrapolate, Hold, Known, Probe
from forerun.engine.methods import (
    Anderson,
    Damped,
    Elk,
    GaussSeidel,
    Jacobi,
    JacobiGaussSeidel,
    Newton,
    Parareal,
    Picard,
    PicardGaussSeidel,
    QuasiNewton,
    Secant,
    Sequential,
)
from forerun.engine.numerics.tree import tree_tensors
from forerun.worlds.digits import load_digits_denoiser

METHODS = {
    "Jacobi": Jacobi(),
    "Picard": Picard(),
    "Secant": Secant(),
    "QuasiNewton": QuasiNewton(),
    "QuasiNewton, differences": QuasiNewton(difference=1e-6),
    "Newton": Newton(),
    "Damped": Damped(Newton(), factor=0.7, bound=1.0),
    "Anderson": Anderson(Picard(), memory=3),
    "Anderson on Secant": Anderson(Secant(), memory=2),
    "Parareal": Parareal(4),
    "GaussSeidel": GaussSeidel(5),
    "GaussSeidel, Secant": GaussSeidel(5, Secant()),
    "JacobiGaussSeidel": JacobiGaussSeidel(4),
    "PicardGaussSeidel": PicardGaussSeidel(4),
}
WINDOWS = {"1": Sliding(1), "3": Sliding(3), "8": Sliding(8), "full": Full(), "wider": Sliding(1000)}
SMOOTH = set(PROBLEMS) - {"whole numbers"}


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_equals_sequential(problem, name, window):
    if problem == "whole numbers" and any(word in name for word in ("Newton", "Damped")):
        pytest.skip("whole numbers have no derivative")
    process, state = PROBLEMS[problem]()
    truth = solve(process, state, method=Sequential(), check=False)
    found = solve(process, state, method=METHODS[name], window=WINDOWS[window], tolerance=Absolute(1e-11), check=False)
    for one, other in zip(tree_tensors(found.state), tree_tensors(truth.state), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-8)
    worst = 2 * process.length if name == "Parareal" else process.length
    assert found.rounds <= worst


@pytest.mark.parametrize("guess", [Hold(), Copy(), Extrapolate(), Probe(4)], ids=lambda guess: type(guess).__name__)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_any_guess_gives_the_same_answer(problem, guess):
    process, state = PROBLEMS[problem]()
    truth = solve(process, state, method=Sequential(), check=False)
    found = solve(process, state, guess=guess, window=Sliding(6), tolerance=Absolute(1e-11), check=False)
    for one, other in zip(tree_tensors(found.state), tree_tensors(truth.state), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-8)


@pytest.mark.parametrize("problem", ["contractive", "increments", "sampler"])
@pytest.mark.parametrize("damping", [1e-3, 1.0])
def test_elk_equals_sequential(problem, damping):
    process, state = PROBLEMS[problem]()
    truth = solve(process, state, method=Sequential(), check=False)
    found = solve(process, state, method=Elk(damping=damping), window=Full(), tolerance=Absolute(1e-11), check=False)
    torch.testing.assert_close(found.state, truth.state, rtol=0, atol=1e-8)
    assert found.rounds <= process.length


def test_elk_needs_a_closed_form():
    process, state = PROBLEMS["momentum"]()
    with pytest.raises(ValueError, match="method=Damped"):
        solve(process, state, method=Elk(), window=Full())


def test_newton_solves_affine_processes_at_once():
    matrix = 0.5 * torch.eye(3, dtype=torch.float64) + 0.1
    process = Process.from_step(lambda i, x: matrix @ x + i, 30)
    found = solve(process, torch.ones(3, dtype=torch.float64), method=Newton(), window=Full(), tolerance=Absolute(1e-9))
    assert found.rounds <= 3  # the probe of step 0, the rest, and one to see that nothing moves


def test_newton_says_what_it_would_need():
    process, state = PROBLEMS["contractive"]()
    with pytest.raises(ValueError, match="QuasiNewton"):
        solve(process, state, method=Newton(max_bytes=100), window=Full())


@pytest.mark.parametrize("method", [Secant(), Anderson(Picard(), memory=3)], ids=lambda method: type(method).__name__)
def test_slopes_and_mixing_spare_rounds_on_a_real_denoiser(method):
    process = Denoising(load_digits_denoiser().double(), Schedule.linear().spaced(50))
    state = torch.randn(2, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    options = {"window": Full(), "tolerance": Absolute(1e-6), "check": False}
    rounds = {
        name: solve(process, state, method=one, **options).rounds for name, one in (("", Picard()), ("m", method))
    }
    assert rounds["m"] < rounds[""] < 25


def test_anderson_forgets_slots_that_were_filled_anew():
    from forerun.engine.methods.anderson import RoundDifferences, RoundRecord
    from forerun.engine.methods.base import WindowState
    from forerun.engine.rows import Problem

    process, state = PROBLEMS["increments"]()
    problem = Problem(process, state)
    rows = torch.randn(4, 7, dtype=torch.float64)
    record = RoundRecord(0, rows + 1, torch.randn_like(rows), guesses=torch.cat([rows, rows[:1]]))
    changed = rows.clone()
    changed[2] += 1  # not what was handed out for it
    window_state = WindowState(problem, 0, [state] * 4, changed)
    du = RoundDifferences.from_records(window_state, torch.zeros_like(rows), (record,)).inputs
    assert (du[2] == 0).all()
    assert (du[[0, 1, 3]] != 0).any(-1).all()


@pytest.mark.parametrize(
    "make, line",
    [
        (lambda: Parareal(0), "1 or more"),
        (lambda: GaussSeidel(0), "1 or more"),
        (lambda: JacobiGaussSeidel(-1), "1 or more"),
        (lambda: PicardGaussSeidel(0), "1 or more"),
        (lambda: Anderson(memory=0), "1 or more"),
        (lambda: QuasiNewton(probes=0), "Picard"),
        (lambda: Elk(damping=0.0), "positive"),
    ],
)
def test_settings_that_cannot_work_are_refused(make, line):
    with pytest.raises(ValueError, match=line):
        make()


class Coast(Process):
    """Rests at first while speed builds up, so that inputs agree where states do not."""

    length = 20

    def observe(self, state):
        return state["x"]

    def evaluate(self, steps, inputs):
        return torch.cos(inputs) + 0.01 * steps.unsqueeze(-1)

    def advance(self, step, state, output):
        v = 0.9 * state["v"] + output
        return {"x": state["x"] + (0.05 * v if step >= 6 else 0.0), "v": v, "count": state["count"] + 1}


@pytest.mark.parametrize("guess", [Hold(), Copy()], ids=["Hold", "Copy"])
@pytest.mark.parametrize(
    "method", [Jacobi(), JacobiGaussSeidel(3), PicardGaussSeidel(3), Parareal(3), GaussSeidel(5)], ids=repr
)
def test_what_the_input_does_not_show_must_settle_too(method, guess):
    state = {"x": torch.ones(2, dtype=torch.float64), "v": torch.zeros(2, dtype=torch.float64), "count": 0}
    truth = solve(Coast(), state, method=Sequential(), check=False).state
    found = solve(Coast(), state, method=method, window=Full(), tolerance=Absolute(1e-10), guess=guess, check=False)
    assert found.state["count"] == truth["count"] == 20
    torch.testing.assert_close(found.state, truth, rtol=0, atol=1e-8)


@pytest.mark.parametrize("method", [Jacobi(), JacobiGaussSeidel(3), Parareal(3), Anderson(Jacobi())], ids=repr)
def test_known_inputs_are_walked_from(method):
    process = Process.from_step(lambda i, x: x + 0.1 * torch.tanh(2 * x + 0.1 * i), 20, increment=True)
    state = torch.ones(4, dtype=torch.float64)
    truth = solve(process, state, method=Sequential(), check=False, path=True)
    known = Known(torch.stack(list(truth.path)[:-1]))
    found = solve(process, state, method=method, window=Full(), tolerance=Absolute(1e-10), guess=known, check=False)
    torch.testing.assert_close(found.state, truth.state, rtol=0, atol=1e-8)
