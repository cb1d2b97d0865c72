"""Native kernels: the numbers of torch's own calls, for whatever lies in memory, and none where torch must see them."""

import time

import pytest
import torch
from torch.autograd import gradcheck

from forerun import Full, Local, Newton, Process, QuasiNewton, Secant, solve
from forerun.engine.backends.counted_evaluate import CountedEvaluate
from forerun.engine.check.distance_growth import grow_distances
from forerun.engine.check.evaluation_changes import EvaluationChanges
from forerun.engine.check.jacobian import Jacobian
from forerun.engine.check.jacobian_estimate import estimate_jacobian
from forerun.engine.check.joined_rounds import _subtract_older
from forerun.engine.check.output_defects import measure_row_norms
from forerun.engine.methods import StepEvaluations
from forerun.engine.numerics.native import loader
from forerun.engine.numerics.native.loader import CALLS_WORTH_LOADING, NATIVE_KERNELS, KernelLoader
from forerun.engine.numerics.scan import affine_scan
from forerun.engine.numerics.small_matrices import put_elements_first
from forerun.engine.process import Affine
from forerun.engine.rows import Problem, advance_outputs, sweep_window

KINDS = ["one", "scalar", "diagonal", "dense"]
BATCHES = [(), (1,), (3,), (2, 3), (0,)]
WIDTHS = [1, 3, 9]

kinds = pytest.mark.parametrize("kind", KINDS)
reverses = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


@pytest.fixture
def native(monkeypatch):
    """The kernels, loaded at once."""
    pytest.importorskip("numba")
    monkeypatch.setattr(NATIVE_KERNELS, "setting", "1")


def draw_slopes(kind, length, batch, width, dtype=torch.float64):
    shapes = {
        "one": (length, *[1] * len(batch), 1),
        "scalar": (length, *batch, 1),
        "diagonal": (length, *batch, width),
        "dense": (length, *batch, width, width),
    }
    slopes = 2 * torch.rand(shapes[kind], dtype=dtype) - 1
    return slopes / (width if kind == "dense" else 1)


def problem(kind, length, batch=(), width=3, dtype=torch.float64):
    torch.manual_seed(length)
    slopes = draw_slopes(kind, length, batch, width, dtype)
    return slopes, torch.randn(length, *batch, width, dtype=dtype), torch.randn(*batch, width, dtype=dtype)


def by_torch(function, *arguments, **keywords):
    """What torch's own calls give."""
    setting, NATIVE_KERNELS.setting = NATIVE_KERNELS.setting, "0"
    try:
        return function(*arguments, **keywords)
    finally:
        NATIVE_KERNELS.setting = setting


def call(function, *arguments, **keywords):
    return function(*arguments, **keywords)


def compare_scans(maps, reverse, dtype):
    tolerance = 64 * torch.finfo(dtype).eps
    ours = affine_scan(*maps, reverse=reverse)
    theirs = by_torch(affine_scan, *maps, reverse=reverse)
    assert ours.dtype == dtype
    assert ours.is_contiguous()
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@kinds
@reverses
@dtypes
@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("batch", BATCHES, ids=str)
@pytest.mark.parametrize("width", WIDTHS)
def test_scans_are_those_of_torch(kind, reverse, dtype, batch, width):
    for length in (0, 1, 2, 40, 300):
        compare_scans(problem(kind, length, batch, width, dtype), reverse, dtype)


@reverses
@dtypes
@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("width", [2, 4])
def test_scans_of_any_strides_are_those_of_torch(reverse, dtype, width):
    slopes, shifts, start = problem("dense", 60, (3,), width, dtype)
    strided_rows = [rows.transpose(-1, -2).contiguous().transpose(-1, -2) for rows in (shifts, start)]
    layouts = [slopes.mT, slopes[::2].repeat_interleave(2, 0), slopes[:, :1].expand_as(slopes)]
    layouts += [put_elements_first(slopes, 2), put_elements_first(slopes.mT, 2).mT, slopes[:, :1]]
    for layout in layouts:
        compare_scans((layout, *strided_rows), reverse, dtype)


@kinds
@reverses
@pytest.mark.usefixtures("native")
def test_float32_rounds_no_worse_than_torch(kind, reverse):
    maps = problem(kind, 2000, (2,), 8)
    exact = affine_scan(*maps, reverse=reverse)
    single = [tensor.float() for tensor in maps]
    ours = (affine_scan(*single, reverse=reverse) - exact).norm()
    theirs = (by_torch(affine_scan, *single, reverse=reverse) - exact).norm()
    assert ours <= 1.5 * theirs


@kinds
@reverses
@pytest.mark.usefixtures("native")
def test_derivatives(kind, reverse):
    maps = [tensor.requires_grad_() for tensor in problem(kind, 6, (2,), 2)]
    assert gradcheck(lambda *tensors: affine_scan(*tensors, reverse=reverse), maps)


@kinds
@pytest.mark.usefixtures("native")
def test_a_nan_stays_where_it_is_in_the_loop(kind):
    slopes, shifts, start = problem(kind, 60)
    slopes[40] = torch.nan
    path = affine_scan(slopes, shifts, start)
    assert path[:40].isfinite().all()
    assert path[40:].isnan().all()


class Bent(Process):
    """`advance` is `0.9 x + 0.3 o` plus the noise of the step; `evaluate` bends its input."""

    batch_dims = 1

    def __init__(self, length, noise):
        self.length = length
        self.noise = noise

    def evaluate(self, steps, inputs):
        return torch.tanh(inputs.roll(1, -1) + 0.1 * inputs)

    def advance(self, step, state, output):
        return 0.9 * state + 0.3 * output + self.noise[step]

    def affine(self, steps):
        return Affine.constant(steps, state=0.9, output=0.3, shift=self.noise[steps])


@dtypes
@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("kind", [None, "scalar", "diagonal", "dense", "transposed", "elements first"])
def test_sweeps_are_those_of_torch(kind, dtype):
    torch.manual_seed(0)
    length, batch, width = 50, (3,), 4
    process = Bent(length, torch.randn(length, *batch, width, dtype=dtype))
    state = torch.randn(*batch, width, dtype=dtype)
    inputs = torch.randn(length, *batch, width, dtype=dtype)
    slopes = None
    if kind is not None:
        slopes = draw_slopes(kind if kind in KINDS else "dense", length, batch, width, dtype)
    if kind == "transposed":
        slopes = slopes.mT
    if kind == "elements first":
        slopes = put_elements_first(slopes, 2)
    sweeps = []
    for sweep in (sweep_window, lambda *args, **kwargs: by_torch(sweep_window, *args, **kwargs)):
        rows = Problem(process, state)
        outputs = rows.evaluate(torch.arange(length), inputs)
        sweeps.append(sweep(rows, 0, state, outputs=outputs, slopes=slopes, evaluated_inputs=inputs))
    tolerance = 256 * torch.finfo(dtype).eps
    for name in ("inputs", "outputs", "moves"):
        ours, theirs = (getattr(sweep, name) for sweep in sweeps)
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@dtypes
@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("batch", [(), (3,), (0,)], ids=str)
@pytest.mark.parametrize("width", [1, 7, 5000])
def test_secants_are_those_of_torch(batch, width, dtype):
    torch.manual_seed(0)
    inputs, outputs, older_inputs, older_outputs = torch.randn(4, 9, *batch, width, dtype=dtype)
    older_inputs[2] = inputs[2]  # did not move
    older_outputs[4] += 1000 * inputs[4]  # beyond the bound
    outputs[6] = torch.nan
    previous = StepEvaluations(0, older_inputs, older_outputs)
    ours, theirs = (fit(Secant()._fit_secants, inputs, outputs, previous) for fit in (call, by_torch))
    assert not ours[[2, 6]].any()
    torch.testing.assert_close(ours, theirs, rtol=1e-3 if dtype == torch.float32 else 1e-9, atol=1e-6)


@dtypes
@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("is_held", [False, True], ids=["each", "held"])
@pytest.mark.parametrize("width", [4, 5000])
def test_paths_of_outputs_are_those_of_torch(is_held, width, dtype):
    torch.manual_seed(0)
    process = Bent(20, torch.randn(20, 2, width, dtype=dtype))
    state = torch.randn(2, width, dtype=dtype)
    outputs = torch.randn(15, 2, width, dtype=dtype)
    if is_held:
        outputs = outputs[:1].expand_as(outputs)
    paths = []
    for advance in (call, by_torch):
        rows = Problem(process, state)
        rows.evaluate(torch.arange(1), state.unsqueeze(0))
        paths.append(advance(advance_outputs, rows, 3, state, outputs))
    (our_states, ours), (their_states, theirs) = paths
    tolerance = 64 * torch.finfo(dtype).eps
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(our_states[-1], their_states[-1], rtol=tolerance, atol=tolerance)


@dtypes
@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("base", ["none", "scalar", "diagonal"])
@pytest.mark.parametrize("batch", [(), (3,)], ids=str)
def test_distances_grow_as_in_torch(base, batch, dtype):
    torch.manual_seed(0)
    length, rank, width = 30, 4, 20
    process = Bent(length, torch.zeros(length, *batch, width, dtype=dtype))
    process.batch_dims = len(batch)
    rows = Problem(process, torch.zeros(*batch, width, dtype=dtype))
    maps = rows.affine_maps(0, length)
    left, right = 0.1 * torch.randn(2, length, *batch, rank, width, dtype=dtype)
    slopes = None if base == "none" else draw_slopes(base, length, batch, width, dtype)
    jacobian = Jacobian(slopes, left, right)
    defects, distance = torch.randn(length, *batch, width, dtype=dtype), torch.randn(*batch, width, dtype=dtype)
    ours, theirs = (grow(grow_distances, maps, jacobian, defects, distance) for grow in (call, by_torch))
    tolerance = 1024 * torch.finfo(dtype).eps
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@dtypes
@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("batch", [(), (3,)], ids=str)
def test_matrices_are_carried_as_in_torch(batch, dtype):
    torch.manual_seed(0)
    changes = EvaluationChanges(*torch.randn(2, 12, *batch, 4, 5, dtype=dtype))
    ours, theirs = (carry(estimate_jacobian, changes, base=None, before=None) for carry in (call, by_torch))
    tolerance = 1024 * torch.finfo(dtype).eps
    torch.testing.assert_close(ours.base, theirs.base, rtol=tolerance, atol=tolerance)


@dtypes
@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("base", ["none", "scalar", "diagonal"])
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)], ids=str)
def test_bases_are_updated_as_in_torch(base, batch, dtype):
    torch.manual_seed(0)
    length, width = 12, 20
    du, do = torch.randn(2, length, *batch, 4, width, dtype=dtype)
    du[:2] = 0  # nothing is known of the first steps
    du[5] = 0  # takes what the step before it has shown
    du[7, ..., 1, :] = 0
    du[8] *= 1e-30  # whose squares underflow in single precision
    do[8] *= 1e-30
    slopes = None if base == "none" else draw_slopes(base, length, batch, width, dtype)
    if slopes is not None:
        slopes[9] = torch.inf
    changes = EvaluationChanges(du, do)
    ours, theirs = (update(estimate_jacobian, changes, base=slopes, before=None) for update in (call, by_torch))
    tolerance = 4096 * torch.finfo(dtype).eps
    for step in (0, 1, *range(3, length)):
        for name in ("left", "right"):
            our_rows, their_rows = getattr(ours, name)[step], getattr(theirs, name)[step]
            size = float(their_rows.abs().max())
            torch.testing.assert_close(our_rows, their_rows, rtol=tolerance, atol=tolerance * size)
    assert ours.left.isfinite().all()


@dtypes
@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("batch", [(), (3,)], ids=str)
def test_changes_of_evaluations_are_those_of_torch(batch, dtype):
    torch.manual_seed(0)
    rows = torch.randn(30, *batch, 5, dtype=dtype)
    rows[29] = torch.nan  # of a place that nobody asks for
    newer, older = torch.randint(0, 29, (11, 4)), torch.randint(0, 29, (11, 4))
    older[3], older[5, 2:] = -1, -1
    ours, theirs = (subtract(_subtract_older, rows, newer, older) for subtract in (call, by_torch))
    assert torch.equal(ours, theirs)
    assert ours.shape == (11, *batch, 4, 5)
    assert not ours[3].any()


@dtypes
@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("size", [1.0, 1e-30, 1e30])
def test_norms_of_any_size_are_those_of_torch(size, dtype):
    rows = size * torch.randn(6, 2, 33, dtype=dtype, generator=torch.Generator().manual_seed(0))
    rows[1, 0] = 0
    if dtype == torch.float64:
        rows[3:] *= size**8
    ours, theirs = (measure(measure_row_norms, rows) for measure in (call, by_torch))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)
    assert ours[1, 0] == 0


def test_loading_is_not_time_of_a_round():
    process = Bent(4, torch.zeros(4, 1, 3))
    rows = Problem(process, torch.zeros(1, 3))
    evaluate = CountedEvaluate(rows, Local())
    NATIVE_KERNELS.count_loading(time.perf_counter() - 60)
    evaluate(torch.arange(2), torch.zeros(2, 1, 3))
    assert evaluate.take_totals().timing.overhead == 0
    time.sleep(0.002)
    evaluate(torch.arange(2), torch.zeros(2, 1, 3))
    assert evaluate.take_totals().timing.overhead >= 0.002


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("method", [Newton(), QuasiNewton(), Secant()], ids=lambda method: type(method).__name__)
def test_runs_are_those_of_torch(method):
    torch.manual_seed(1)
    process = Bent(80, 0.1 * torch.randn(80, 2, 5, dtype=torch.float64))
    state = torch.randn(2, 5, dtype=torch.float64)
    ours = solve(process, state, method=method, window=Full(), tolerance=1e-10)
    theirs = by_torch(solve, process, state, method=method, window=Full(), tolerance=1e-10)
    assert ours.rounds == theirs.rounds
    torch.testing.assert_close(ours.state, theirs.state, rtol=1e-9, atol=1e-9)


def test_torch_computes_what_only_torch_can_follow(monkeypatch):
    kernels = KernelLoader("1")
    plain = torch.ones(3, 2)
    assert loader.are_plain([plain])
    assert not loader.are_plain([plain.to("meta")])
    assert not loader.are_plain([plain.half()])
    assert not loader.are_plain([plain.clone().requires_grad_()])
    with torch.autograd.forward_ad.dual_level():
        assert kernels.find_kernels([plain], 1) is None
    torch.func.vmap(lambda row: _require_none(kernels, row))(plain)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    assert kernels.find_kernels([plain], 1) is None


def _require_none(kernels, row):
    assert kernels.find_kernels([row], 1) is None
    return row


def test_kernels_are_loaded_when_that_pays(monkeypatch):
    imported = []
    monkeypatch.setattr(loader.importlib, "import_module", lambda name: imported.append(name) or loader)
    kernels = KernelLoader(None)
    tensors = [torch.ones(2)]
    assert kernels.find_kernels(tensors, CALLS_WORTH_LOADING - 1) is None
    assert kernels.find_kernels(tensors, 1) is loader
    assert kernels.find_kernels(tensors, 1) is loader
    assert len(imported) == 1
    assert KernelLoader("0").find_kernels(tensors, 2 * CALLS_WORTH_LOADING) is None
    assert KernelLoader("1").find_kernels(tensors, 1) is loader


def test_without_numba_torch_computes(monkeypatch):
    def refuse(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("forerun.engine.numerics.native.scans.NATIVE_KERNELS", KernelLoader("1"))
    monkeypatch.setattr(loader.importlib, "import_module", refuse)
    slopes, shifts, start = problem("dense", 30)
    path = affine_scan(slopes, shifts, start)
    torch.testing.assert_close(path[0], slopes[0] @ start + shifts[0])
