import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from forerun.engine.numerics.scan import affine_scan
from forerun.engine.numerics.small_matrices import put_elements_first

KINDS = ["one", "scalar", "diagonal", "dense"]
BATCHES = [(), (1,), (3,), (2, 3), (0,)]
D = 3

kinds = pytest.mark.parametrize("kind", KINDS)
reverses = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])


def loop(slopes: Tensor, shifts: Tensor, start: Tensor, reverse: bool = False) -> Tensor:
    """The slow obvious version."""
    state, path = start, []
    steps = range(len(shifts))
    for i in reversed(steps) if reverse else steps:
        dense = slopes.dim() > shifts.dim()
        state = (slopes[i] @ state[..., None])[..., 0] + shifts[i] if dense else slopes[i] * state + shifts[i]
        path.append(state)
    return torch.stack(path[::-1] if reverse else path) if path else shifts.clone()


def problem(kind: str, length: int, batch: tuple[int, ...] = (), width: int = D) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(length)
    shapes = {
        "one": (length, *[1] * len(batch), 1),
        "scalar": (length, *batch, 1),
        "diagonal": (length, *batch, width),
        "dense": (length, *batch, width, width),
    }
    slopes = 2 * torch.rand(shapes[kind], dtype=torch.float64) - 1
    shifts = torch.randn(length, *batch, width, dtype=torch.float64)
    return slopes / (width if kind == "dense" else 1), shifts, torch.randn(*batch, width, dtype=torch.float64)


@kinds
@reverses
@pytest.mark.parametrize("length", [0, 1, 2, 3, 5, 24, 25, 64, 100, 1000])
@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_scan_is_the_loop(kind, reverse, length, batch):
    maps = problem(kind, length, batch)
    torch.testing.assert_close(affine_scan(*maps, reverse=reverse), loop(*maps, reverse), rtol=1e-12, atol=1e-12)


@pytest.fixture
def tiny(monkeypatch):
    """As where there are many dense maps: products element by element."""
    monkeypatch.setattr("forerun.engine.numerics.small_matrices.MANY_SLOPES", 1)


@reverses
@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("length", [0, 1, 2, 25, 300])
@pytest.mark.parametrize("batch", BATCHES, ids=str)
@pytest.mark.parametrize("width", [1, 2, 4])
def test_many_small_maps(reverse, length, batch, width):
    slopes, shifts, start = problem("dense", length, batch, width)
    own = loop(slopes, shifts, start, reverse)
    for each in (slopes, put_elements_first(slopes, 2), put_elements_first(slopes.mT, 2).mT):
        torch.testing.assert_close(affine_scan(each, shifts, start, reverse=reverse), own, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("tiny")
def test_gradients_through_many_small_maps():
    maps = [part.requires_grad_() for part in problem("dense", 40, (2,))]
    weight = torch.randn(40, 2, D, dtype=torch.float64)
    own, ours = (torch.autograd.grad((path(*maps) * weight).sum(), maps) for path in (loop, affine_scan))
    torch.testing.assert_close(ours, own, rtol=1e-10, atol=1e-10)


@kinds
@pytest.mark.parametrize("length, width", [(30, 0), (40, 70), (30, 9000)])
def test_narrow_and_wide_states(kind, length, width):
    if kind == "dense":
        width = min(width, 70)
    maps = problem(kind, length, (), width)
    torch.testing.assert_close(affine_scan(*maps), loop(*maps), rtol=1e-12, atol=1e-12)


@reverses
def test_dense_slopes_shared_by_the_batch(reverse):
    slopes, shifts, start = problem("dense", 50, (4,))
    shared = slopes[:, :1]
    expected = loop(shared.expand_as(slopes), shifts, start, reverse)
    torch.testing.assert_close(affine_scan(shared, shifts, start, reverse=reverse), expected)


def test_arguments_of_any_strides():
    slopes, shifts, start = problem("diagonal", 60, (4,))
    strided = (t.transpose(-1, -2).contiguous().transpose(-1, -2) for t in (slopes, shifts, start))
    torch.testing.assert_close(affine_scan(*strided), loop(slopes, shifts, start))
    assert affine_scan(slopes, shifts[:1].expand_as(shifts), start).is_contiguous()


@kinds
@reverses
@pytest.mark.parametrize("length", [1, 2, 27])
def test_first_and_second_derivatives(kind, reverse, length):
    maps = [t.requires_grad_() for t in problem(kind, length, (2,), 2)]

    def run(*tensors: Tensor) -> Tensor:
        return affine_scan(*tensors, reverse=reverse)

    assert gradcheck(run, maps, fast_mode=length > 2)
    assert gradgradcheck(run, maps, fast_mode=length > 2)


@kinds
@reverses
@pytest.mark.parametrize("length", [0, 1, 300])
def test_gradients_are_those_of_the_loop(kind, reverse, length):
    maps = [t.requires_grad_() for t in problem(kind, length, (2,))]
    weights = torch.randn_like(maps[1])
    ours = torch.autograd.grad((affine_scan(*maps, reverse=reverse) * weights).sum(), maps)
    if length == 0:
        assert all(not grad.any() for grad in ours)
        return
    torch.testing.assert_close(ours, torch.autograd.grad((loop(*maps, reverse) * weights).sum(), maps))


def test_gradients_of_some_arguments_only():
    slopes, shifts, start = problem("dense", 40)
    (grad,) = torch.autograd.grad(affine_scan(slopes, shifts, start.requires_grad_())[-1].sum(), start)
    torch.testing.assert_close(grad, torch.linalg.multi_dot(list(slopes.flip(0))).sum(0))


@kinds
@pytest.mark.parametrize("mapped", [(0, 0, 0), (1, None, 0), (None, 1, None), (None, None, 0), (0, None, None)])
def test_vmap(kind, mapped):
    many = [problem(kind, length) for length in (40, 40, 40)]
    maps = [many[0][k] if d is None else torch.stack([m[k] for m in many], d) for k, d in enumerate(mapped)]
    ours = torch.func.vmap(affine_scan, in_dims=mapped)(*maps)
    assert ours.shape == (3, 40, D)
    for i, path in enumerate(ours):
        torch.testing.assert_close(
            path, loop(*(t if d is None else t.select(d, i) for t, d in zip(maps, mapped, strict=True)))
        )


@kinds
def test_gradients_per_sample(kind):
    slopes, shifts, start = problem(kind, 30)
    starts = torch.stack([start, -start, 2 * start])

    def loss(run, slopes: Tensor, start: Tensor) -> Tensor:
        return run(slopes, shifts, start).square().sum()

    ours, theirs = (
        torch.func.vmap(torch.func.grad(lambda a, x, run=run: loss(run, a, x), argnums=(0, 1)), in_dims=(None, 0))(
            slopes, starts
        )
        for run in (affine_scan, loop)
    )
    torch.testing.assert_close(ours, theirs)


@kinds
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_accumulated_in_float32(kind, dtype):
    maps = [t.to(dtype) for t in problem(kind, 200, (2,))]
    ours = affine_scan(*maps)
    assert ours.dtype == dtype
    assert torch.equal(ours, affine_scan(*(t.float() for t in maps)).to(dtype))


@kinds
@reverses
def test_growing_paths_are_as_good_as_the_loop(kind, reverse):
    slopes, shifts, start = problem(kind, 100)
    slopes = slopes * 4
    exact = loop(slopes, shifts, start, reverse)
    single = [t.float() for t in (slopes, shifts, start)]
    ours, theirs = (
        ((run(*single, reverse=reverse) - exact).norm(dim=-1) / exact.norm(dim=-1)).max() for run in (affine_scan, loop)
    )
    assert exact.abs().max() > 1e3 * exact.abs().min()
    assert ours <= 20 * theirs


@kinds
@reverses
def test_zeros_stay_zero_where_the_slopes_overflow(kind, reverse):
    slopes, shifts, start = (t.float() for t in problem(kind, 1000))
    slopes, shifts, start = slopes + 10, shifts * 0, start * 0
    shifts[0 if reverse else -1] = 1
    assert torch.equal(affine_scan(slopes, shifts, start, reverse=reverse), shifts)


@kinds
@pytest.mark.parametrize("where", range(40, 52))
def test_a_nan_is_never_lost(kind, where):
    slopes, shifts, start = problem(kind, 60)
    shifts[:where], start = 0, start * 0
    slopes[where] = torch.nan
    path = affine_scan(slopes, shifts, start)
    assert path[:where].isfinite().all()
    assert path[where:].isnan().all()


@pytest.mark.parametrize(
    "shapes, says",
    [
        (((5, 3), (5, 3), (2, 3)), r"start is one state"),
        (((5,), (5,), ()), r"shifts.reshape\(-1, 1\)"),
        (((5,), (5, 3), (3,)), r"slopes.reshape\(-1, \*\[1\]"),
        (((4, 3), (5, 3), (3,)), r"fewer shifts"),
        (((1, 3), (5, 3), (3,)), r"slopes.expand\(\[5, 3\]\)"),
        (((5, 1, 3), (5, 3), (3,)), r"slopes do not fit \[5, 3, 3\]"),
        (((5, 2, 3), (5, 4, 3), (4, 3)), r"float32 \[5, 2, 3\] on cpu"),
    ],
)
def test_wrong_shapes_are_refused(shapes, says):
    with pytest.raises(ValueError, match=says):
        affine_scan(*(torch.zeros(s) for s in shapes))


def test_wrong_dtypes_and_devices_are_refused():
    one = torch.ones(5, 3)
    for bad in (one.double(), one.to(torch.complex64)):
        with pytest.raises(TypeError, match=r"pass slopes.to\(dtype\)"):
            affine_scan(bad, one, one[0])
    with pytest.raises(TypeError, match="floating"):
        affine_scan(one.int(), one.int(), one[0].int())
    with pytest.raises(ValueError, match="several devices"):
        affine_scan(one.to("meta"), one, one[0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.parametrize("kind", ["diagonal", "dense"])
def test_compiles_as_one_graph(kind):
    maps = problem(kind, 130, (2,))
    torch._dynamo.reset()
    try:
        ours = torch.compile(lambda a, b, x: affine_scan(a, b, x).sin(), fullgraph=True)(*maps)
    except torch._inductor.exc.InductorError as error:
        pytest.skip(f"no working compiler: {error}")
    torch.testing.assert_close(ours, loop(*maps).sin())
