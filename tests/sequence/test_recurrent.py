"""Recurrent cells, all steps at once: the states and gradients of the plain loop."""

import pytest
import torch
from torch import nn

from forerun import Absolute, Full, Newton, Picard, Process, QuasiNewton, Secant, Sequential, Status, solve
from forerun.engine.guesses import Copy
from forerun.engine.methods import Boxed, Damped, Jacobi
from forerun.engine.numerics.layout import RowLayout
from forerun.engine.numerics.native.loader import NATIVE_KERNELS
from forerun.engine.testing import check_process
from forerun.sequence import RNN, scan
from forerun.sequence.recurrent.cells import FunctionCell, jacobian_by_columns
from forerun.sequence.recurrent.loop_choice import LoopChoice
from forerun.sequence.recurrent.recurrence import AdjointRecurrence, Recurrence
from forerun.sequence.recurrent.torch_cells import GatedRecurrentCell, adapt_cell

DOUBLE = torch.float64
CELLS = {"gru": nn.GRUCell, "lstm": nn.LSTMCell, "rnn": nn.RNNCell}
METHODS = [Newton(), QuasiNewton(), Picard(), Secant(), Damped(Newton()), Sequential()]
in_python = pytest.mark.usefixtures("without_kernels")
every_cell = pytest.mark.parametrize("kind", CELLS)


def problem(kind, length=90, batch=2, size=5, seed=0):
    torch.manual_seed(seed)
    cell = CELLS[kind](3, size, dtype=DOUBLE)
    xs = torch.randn(length, batch, 3, dtype=DOUBLE)
    h = torch.randn(batch, size, dtype=DOUBLE)
    return cell, (h, torch.randn_like(h)) if kind == "lstm" else h, xs


def loop(cell, h, xs):
    found = []
    for x in xs:
        h = cell(x, h)
        found.append(h)
    return (
        tuple(map(torch.stack, zip(*found, strict=True))) if isinstance(found[0], tuple) else torch.stack(found)
    )  # fmt: skip


def flat(tree):
    return torch.cat(tree, -1) if isinstance(tree, tuple) else tree


@pytest.fixture
def without_kernels(monkeypatch):
    """As without numba."""
    monkeypatch.setattr(NATIVE_KERNELS, "setting", "0")


def tanh_cell(h, x):
    """A function of its user's, on a tree."""
    moved = torch.tanh(0.9 * h["a"].roll(1, -1) + x)
    return {"a": moved, "b": 0.5 * h["b"] + moved.sum(-1, keepdim=True)}


def test_moves_of_the_size_of_rounding_do_not_hold_the_check_up():
    torch.manual_seed(0)
    cell = nn.GRUCell(4, 4)
    with torch.no_grad():
        found = scan(cell, torch.zeros(1, 4), torch.randn(1000, 1, 4), method=Newton())
    assert found.status is Status.CHECKED
    assert found.rounds <= 8


def test_bounds_of_the_states_spare_newton_rounds(monkeypatch):
    torch.manual_seed(1)
    cell, h, xs = nn.GRUCell(2, 8), torch.zeros(2, 8), torch.randn(500, 2, 2)
    with torch.no_grad():
        cell.weight_hh.mul_(4)
        cell.bias_hh[8:16] += 2  # it remembers
        bounded = scan(cell, h, xs, method=Newton())
        monkeypatch.setattr(GatedRecurrentCell, "bound_states", lambda *_: None)
        plain = scan(cell, h, xs, method=Newton())
    assert bounded.rounds <= 0.8 * plain.rounds
    torch.testing.assert_close(bounded.hidden, plain.hidden, rtol=0, atol=1e-4)


def test_a_bounded_method_evaluates_inside_its_box():
    guesses = []
    process = Process.from_step(lambda i, x: torch.tanh(3 * x.roll(1, -1)) + 0.05, 40)
    state = torch.tensor([0.5, -0.2, 0.1], dtype=DOUBLE)
    method = Boxed(Newton(), (-1.05, -1.05, -1.05), 1.05)
    found = solve(
        process,
        state,
        method=method,
        window=Full(),
        tolerance=Absolute(1e-10),
        guess=Copy(),
        check=False,
        callback=lambda event: guesses.append(event.update.guesses),
    )
    torch.testing.assert_close(found.state, solve(process, state, method=Sequential()).state, rtol=0, atol=1e-9)
    assert max(float(rows.abs().max()) for rows in guesses) <= 1.05


@every_cell
@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_states_are_those_of_the_loop(kind, method):
    cell, h, xs = problem(kind)
    found = scan(cell, h, xs, method=method)
    torch.testing.assert_close(flat(found.hidden), flat(loop(cell, h, xs)), rtol=0, atol=1e-11)
    assert found.status.done


@every_cell
def test_newton_takes_a_few_rounds_and_the_check_holds(kind):
    cell, h, xs = problem(kind, length=600)
    found = scan(cell, h, xs, method=Newton())
    assert found.rounds <= 10
    assert found.status is Status.CHECKED


@every_cell
def test_jacobians_in_closed_form_are_those_of_forward_mode(kind):
    cell, h, xs = problem(kind, length=4)
    layout = RowLayout.from_tree(h, batch_dims=1, name="state")
    rows = adapt_cell(cell, layout)
    hidden = torch.randn(4, *layout.pack(h).shape, dtype=DOUBLE)
    prepared = rows.prepare_inputs(xs)
    torch.testing.assert_close(
        rows.step_with_jacobian(hidden, prepared)[1], jacobian_by_columns(rows, hidden, prepared)
    )


@every_cell
@pytest.mark.parametrize("method", [Newton(), QuasiNewton(), None], ids=["Newton", "QuasiNewton", "chosen"])
def test_gradients_are_those_of_the_loop(kind, method):
    cell, h, xs = problem(kind)
    leaves = [*cell.parameters(), xs.requires_grad_(), *(h if isinstance(h, tuple) else (h,))]
    for leaf in leaves[len(list(cell.parameters())) :]:
        leaf.requires_grad_()
    weight = torch.randn_like(flat(loop(cell, h, xs)))
    own = torch.autograd.grad((flat(loop(cell, h, xs)) * weight).sum(), leaves)
    ours = torch.autograd.grad((flat(scan(cell, h, xs, method=method).hidden) * weight).sum(), leaves)
    for one, other in zip(ours, own, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@every_cell
def test_many_samples_of_a_small_state_are_laid_another_way(kind, monkeypatch):
    monkeypatch.setattr("forerun.engine.numerics.small_matrices.MANY_SLOPES", 1)
    cell, h, xs = problem(kind, size=3)
    leaves = [*cell.parameters(), xs.requires_grad_()]
    weight = torch.randn_like(flat(loop(cell, h, xs)))
    states, found = loop(cell, h, xs), scan(cell, h, xs, method=Newton())
    torch.testing.assert_close(flat(found.hidden), flat(states), rtol=0, atol=1e-11)
    own, ours = (torch.autograd.grad((flat(each) * weight).sum(), leaves) for each in (states, found.hidden))
    torch.testing.assert_close(ours, own, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("max_bytes", [2**30, 1200], ids=["whole", "in chunks"])
def test_gradcheck(max_bytes):
    cell, h, xs = problem("gru", length=11, batch=2, size=2)
    xs.requires_grad_()
    h.requires_grad_()

    def call(h, xs):
        return scan(cell, h, xs, method=Newton(), max_bytes=max_bytes).hidden[-3:]

    assert torch.autograd.gradcheck(call, (h, xs))


def test_a_function_on_a_tree_and_its_gradient():
    torch.manual_seed(1)
    xs = torch.randn(80, 2, 4, dtype=DOUBLE, requires_grad=True)
    start = {"a": torch.zeros(2, 4, dtype=DOUBLE), "b": torch.ones(2, 1, dtype=DOUBLE)}

    def own():
        h, found = start, []
        for x in xs:
            h = tanh_cell(h, x)
            found.append(h["b"])
        return torch.stack(found)

    found = scan(tanh_cell, start, xs, method=Newton())
    torch.testing.assert_close(found.hidden["b"], own(), rtol=0, atol=1e-10)
    (ours,) = torch.autograd.grad(found.hidden["b"].sin().sum(), xs)
    torch.testing.assert_close(ours, torch.autograd.grad(own().sin().sum(), xs)[0], rtol=1e-9, atol=1e-9)


def test_chunks_bound_what_jacobians_take():
    cell, h, xs = problem("gru", length=200)
    found = scan(cell, h, xs, method=Newton(), max_bytes=6 * 20 * 2 * 25 * 8)
    assert max(entry.width for entry in found.log) == 20
    torch.testing.assert_close(found.hidden, loop(cell, h, xs), rtol=0, atol=1e-11)


@in_python
def test_short_sequences_and_wide_states_take_the_loop_and_say_so():
    for length, size in ((20, 5), (80, 65)):
        cell, h, xs = problem("gru", length=length, size=size)
        found = scan(cell, h, xs)
        assert found.status is Status.SEQUENTIAL
        assert not found.log
        assert f"{length} steps of {size} elements" in found.notes[0]
        torch.testing.assert_close(found.hidden, loop(cell, h, xs), rtol=0, atol=1e-12)


@in_python
def test_where_newton_takes_as_long_as_the_loop_the_loop_takes_over(monkeypatch):
    monkeypatch.setattr(LoopChoice, "declines", lambda self, length: None)
    monkeypatch.setattr(LoopChoice, "budget", 1e-9)
    cell, h, xs = problem("gru", length=300)
    found = scan(cell, h, xs)
    assert "Newton had taken as long" in found.notes[0]
    torch.testing.assert_close(found.hidden, loop(cell, h, xs), rtol=0, atol=1e-11)


@in_python
def test_a_trial_is_remembered_for_the_same_kind_and_size(monkeypatch):
    asked = []
    measure = "forerun.sequence.recurrent.loop_choice.measure_newton_round"
    monkeypatch.setattr(measure, lambda job: asked.append(1) or 0.0)
    for seed in (0, 1):
        cell, h, xs = problem("gru", length=277, batch=3, size=4, seed=seed)
        scan(cell, h, xs)
    assert len(asked) == 1


@in_python
def test_what_a_run_took_decides_the_next_one(monkeypatch):
    monkeypatch.setattr("forerun.sequence.recurrent.loop_choice.measure_newton_round", lambda job: 0.0)
    monkeypatch.setattr("forerun.sequence.recurrent.loop_choice.measure_quickest", lambda step: 1e-9)
    cell, h, xs = problem("gru", length=278, batch=2, size=4)
    assert scan(cell, h, xs).log  # the trial promised that it takes no time
    found = scan(cell, h, xs)
    assert not found.log
    assert "Newton would take" in found.notes[0]


@every_cell
def test_the_process_keeps_the_contract(kind):
    cell, h, xs = problem(kind, length=12)
    layout = RowLayout.from_tree(h, batch_dims=1, name="state")
    rows = adapt_cell(cell, layout)
    check_process(Recurrence(rows, rows.prepare_inputs(xs).detach(), 12), layout.pack(h))


@pytest.mark.parametrize("method", [Newton(), Jacobi(), Sequential()], ids=lambda method: type(method).__name__)
def test_backpropagation_as_a_path(method):
    cell, h, xs = problem("rnn", length=40)
    hidden = loop(cell, h, xs).detach()
    rows, gradients = adapt_cell(cell, None), torch.randn_like(hidden)
    adjoint = AdjointRecurrence(rows, hidden[:-1], rows.prepare_inputs(xs[1:]).detach(), gradients[:-1])
    method = Newton(adjoint.evaluate_with_jacobian) if method == Newton() else method
    found = solve(adjoint, gradients[-1], method=method, tolerance=Absolute(1e-12))
    h1 = hidden[:1].requires_grad_()
    rest = loop(cell, h1[0], xs[1:])
    total = (h1[0] * gradients[0]).sum() + (rest * gradients[1:]).sum()
    torch.testing.assert_close(found.state, torch.autograd.grad(total, h1)[0][0], rtol=0, atol=1e-9)


def test_a_chaotic_cell_is_caught_by_the_check_or_ends_in_the_loop():
    def logistic(h, x):
        return 3.99 * h * (1 - h) + 0 * x

    h, xs = torch.full((1, 1), 0.3, dtype=torch.float32), torch.zeros(400, 1, 1)
    found = scan(logistic, h, xs, method=Newton())
    own = torch.stack([h := logistic(h, x) for x in xs])
    assert found.status in {Status.SEQUENTIAL, Status.UNCERTAIN} or torch.allclose(found.hidden, own, atol=1e-3)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
def test_modules_are_drop_ins(kind, bidirectional, batch_first):
    torch.manual_seed(0)
    own = kind(3, 4, num_layers=2, bidirectional=bidirectional, batch_first=batch_first, dtype=DOUBLE)
    ours = RNN(own, method=Newton())
    assert list(ours.state_dict()) == list(own.state_dict())
    xs = torch.randn(70, 70, 3, dtype=DOUBLE)
    for one, other in zip(_leaves(ours(xs)), _leaves(own(xs)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    alone = torch.randn(70, 3, dtype=DOUBLE)
    for one, other in zip(_leaves(ours(alone)), _leaves(own(alone)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    assert len(ours.runs) == 2 * (1 + bidirectional)


def test_a_module_takes_its_own_kernel_where_that_is_quicker(monkeypatch):
    own = nn.GRU(3, 4, num_layers=2, dropout=0.5)
    ours, xs = RNN(own), torch.randn(300, 2, 3)
    results = []
    for seconds in (0.0, float("inf")):
        monkeypatch.setattr(
            "forerun.sequence.recurrent.kernel_choice.measure_kernel", lambda *_, seconds=seconds: seconds
        )
        ours._kernel_choice.forget_runs()
        torch.manual_seed(0)
        results.append(ours(xs)[0])
        assert bool(ours.runs) == bool(seconds)
    torch.manual_seed(0)
    torch.testing.assert_close(results[0], own(xs)[0])
    assert results[1].shape == results[0].shape
    assert RNN(own)(torch.randn(10, 2, 3))[0].shape == (10, 2, 4)  # too short for a trial


def test_a_module_trains_as_its_own_does():
    torch.manual_seed(0)
    xs, target = torch.randn(100, 4, 3), torch.randn(4, 6)
    own = nn.GRU(3, 6)
    other = nn.GRU(3, 6)
    other.load_state_dict(own.state_dict())
    losses = []
    for module in (own, RNN(other, method=Newton())):
        optimiser = torch.optim.Adam(module.parameters(), 1e-2)
        curve = []
        for _ in range(10):
            optimiser.zero_grad()
            loss = (module(xs)[0].mean(0) - target).square().mean()
            loss.backward()
            optimiser.step()
            curve.append(float(loss.detach()))
        losses.append(curve)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0][-1] < losses[0][0]


class Forgetful(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, h, x):
        return self.drop(h + x)


class Keeping(nn.Module):
    calls = 0

    def forward(self, h, x):
        self.calls += 1
        return h * 0.5 + x + self.calls


@pytest.mark.parametrize(
    "cell, h, xs, error, words",
    [
        (nn.GRUCell(2, 3), torch.zeros(1, 3), torch.zeros(0, 1, 2), ValueError, "no steps"),
        (nn.GRUCell(2, 3), torch.zeros(3), torch.zeros(5, 2), ValueError, "unsqueeze"),
        (nn.GRUCell(2, 3), torch.zeros(2, 3), torch.zeros(5, 1, 2), ValueError, "samples differ"),
        (nn.GRUCell(2, 3), torch.zeros(1, 3).double(), torch.zeros(5, 1, 2), TypeError, "one dtype"),
        (Forgetful(), torch.zeros(1, 2), torch.zeros(5, 1, 2), ValueError, "cell.eval()"),
        (Keeping(), torch.zeros(1, 2), torch.zeros(5, 1, 2), ValueError, "answers twice differently"),
        (lambda h, x: h[:, :1], torch.zeros(1, 2), torch.zeros(5, 1, 2), ValueError, "shape"),
        (
            nn.GRUCell(2, 3),
            torch.zeros(2, 3),
            nn.utils.rnn.pack_padded_sequence(torch.zeros(5, 2, 2), [5, 3]),
            TypeError,
            "pad_packed_sequence",
        ),
    ],
)
def test_bad_input_is_refused_with_the_line_to_type(cell, h, xs, error, words):
    with pytest.raises(error) as caught:
        scan(cell, h, xs)
    assert words in str(caught.value)


def test_a_jacobian_beyond_memory_names_its_size_and_the_diagonal():
    cell, h, xs = problem("gru", size=40)
    with pytest.raises(ValueError, match=r"40 x 40 numbers for 2 samples.*QuasiNewton"):
        scan(cell, h, xs, method=Newton(), max_bytes=1000)
    found = scan(cell, h, xs, method=QuasiNewton(), max_bytes=1000)
    torch.testing.assert_close(found.hidden, loop(cell, h, xs), rtol=0, atol=1e-11)
    (ours,) = torch.autograd.grad(found.hidden.square().sum(), cell.bias_hh)
    torch.testing.assert_close(ours, torch.autograd.grad(loop(cell, h, xs).square().sum(), cell.bias_hh)[0])


def test_modules_that_are_no_drop_ins_are_refused():
    with pytest.raises(TypeError, match="scan"):
        RNN(nn.GRUCell(2, 3))
    with pytest.raises(ValueError, match="proj_size=2"):
        RNN(nn.LSTM(3, 4, proj_size=2))
    with pytest.raises(ValueError, match=r"\[1, 2, 4\]"):
        RNN(nn.GRU(3, 4), method=Newton())(torch.zeros(5, 2, 3), torch.zeros(1, 1, 4))


def _leaves(result):
    outputs, last = result
    return [outputs, *(last if isinstance(last, tuple) else (last,))]


def test_other_cells_are_given():
    assert isinstance(adapt_cell(tanh_cell, None), FunctionCell)
