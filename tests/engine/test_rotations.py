"""Givens rotations against extended precision, at the ends of the range, with zeros and signs; long products."""

import mpmath
import numpy as np
import pytest
import torch

from forerun.engine.numerics.rotations import make_rotations, product_as_tree, product_in_order

DTYPES = [torch.float32, torch.float64, torch.complex64, torch.complex128]
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def random_pairs(dtype, count=2000, spread=0.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.randn(2, count, dtype=dtype, generator=generator)
    sizes = torch.randn(2, count, dtype=pairs.abs().dtype, generator=generator) * spread
    return pairs * torch.exp2(sizes)


def rounding(dtype):
    return torch.finfo(dtype).eps / 2


@every_dtype
@pytest.mark.parametrize("spread", [0.0, 20.0])
def test_rotations_turn_and_are_unitary(dtype, spread):
    f, g = random_pairs(dtype, spread=spread)
    rotations = make_rotations(f, g)
    u, size = rounding(dtype), torch.maximum(f.abs(), g.abs())
    matrices = rotations.matrices
    turned = matrices @ torch.stack([f / size, g / size], -1).unsqueeze(-1)
    assert (turned[:, 1, 0].abs() <= 8 * u).all()
    assert ((turned[:, 0, 0] - rotations.length / size).abs() <= 12 * u).all()
    assert (matrices.mH @ matrices - torch.eye(2, dtype=dtype)).abs().max() <= 12 * u


def exact_rotation(f, g):
    """The real rotation in 60 digits: cosine, sine, length."""
    f, g = mpmath.mpf(f), mpmath.mpf(g)
    length = mpmath.sqrt(f * f + g * g)
    signed = length if f >= 0 else -length
    return abs(f) / length, g / signed, signed


def test_entries_are_within_two_units_of_extended_precision():
    f, g = random_pairs(torch.float64, 200, spread=6.0)
    rotations = make_rotations(f, g)
    with mpmath.workdps(60):
        for entries in zip(f.tolist(), g.tolist(), *map(torch.Tensor.tolist, (
            rotations.cosine, rotations.sine, rotations.length)), strict=True):  # fmt: skip
            for value, truth in zip(entries[2:], exact_rotation(*entries[:2]), strict=True):
                assert abs(mpmath.mpf(value) - truth) <= 4 * rounding(torch.float64) * abs(truth)


def test_entries_are_more_accurate_than_by_a_shared_reciprocal():
    f, g = random_pairs(torch.float32, 200_000)
    rotations = make_rotations(f, g)
    p = 1 / torch.sqrt(f * f + g * g)
    exact = f.double().abs() / torch.hypot(f.double(), g.double())
    errors = [((cosine.double() - exact).abs() / exact).mean() for cosine in (rotations.cosine, f.abs() * p)]
    assert errors[0] < 0.9 * errors[1]


@pytest.mark.parametrize("dtype", DTYPES[:2])
def test_the_ends_of_the_range(dtype):
    bounds = torch.finfo(dtype)
    sizes = [bounds.max / 2, bounds.max**0.5 * 1.5, 1.0, bounds.tiny**0.5 / 2, bounds.tiny, bounds.smallest_normal / 64]
    f, g = torch.cartesian_prod(*[torch.tensor(sizes, dtype=torch.float64)] * 2).to(dtype).T
    rotations = make_rotations(f, g)
    wide = np.longdouble
    exact = np.hypot(f.double().numpy().astype(wide), g.double().numpy().astype(wide))
    for value, truth in ((rotations.length, exact), (rotations.cosine, f.double().numpy().astype(wide) / exact)):
        error = np.abs(value.double().numpy().astype(wide) - truth)
        floor = wide(bounds.smallest_normal) * wide(bounds.eps)
        assert (error <= 4 * wide(bounds.eps) * np.abs(truth) + floor).all()
    assert torch.isfinite(rotations.matrices).all()


@pytest.mark.parametrize("dtype", DTYPES[2:])
def test_complex_numbers_of_very_different_sizes(dtype):
    real = torch.zeros(0, dtype=dtype).abs().dtype
    bounds = torch.finfo(real)
    sizes = torch.tensor([bounds.max / 8, 1.0, bounds.tiny * 2**20], dtype=torch.float64)
    phases = torch.polar(torch.ones(3, dtype=torch.float64), torch.tensor([0.3, 2.0, -1.2], dtype=torch.float64))
    f, g = torch.cartesian_prod(torch.arange(3), torch.arange(3)).T
    f, g = ((sizes[k] * phases[turn]).to(dtype) for k, turn in ((f, g), (g, f)))
    rotations = make_rotations(f, g)
    assert torch.isfinite(torch.view_as_real(rotations.matrices)).all()
    unit = rotations.cosine.square() + rotations.sine.abs().square()
    torch.testing.assert_close(unit, torch.ones_like(unit), rtol=0, atol=8 * bounds.eps)
    ratio = rotations.length.abs() / torch.maximum(f.abs(), g.abs())
    assert ((ratio > 1 - 8 * bounds.eps) & (ratio < 1.5)).all()
    phase = rotations.length / rotations.length.abs()
    torch.testing.assert_close(phase, f / f.abs(), rtol=0, atol=8 * bounds.eps)


@every_dtype
def test_zeros_and_signs(dtype):
    f = torch.tensor([0.0, -2.0, 0.0, 0.0, -3.0, 3.0], dtype=dtype)
    g = torch.tensor([0.0, 0.0, 5.0, -5.0, 4.0, -4.0], dtype=dtype)
    rotations = make_rotations(f, g)
    assert rotations.cosine.tolist() == pytest.approx([1, 1, 0, 0, 0.6, 0.6])
    assert rotations.sine.tolist() == pytest.approx([0, 0, 1, -1, -0.8, -0.8])
    assert rotations.length.tolist() == pytest.approx([0, -2, 5, 5, -5, 5])


@every_dtype
def test_not_a_number_stays_one_and_harms_no_other(dtype):
    f, g = random_pairs(dtype, 5)
    truth = make_rotations(f, g).length.clone()
    f[2] = torch.nan
    rotations = make_rotations(f, g)
    assert rotations.length[2].isnan()
    keep = torch.arange(5) != 2
    assert torch.equal(rotations.length[keep], truth[keep])


def test_shapes_are_those_of_the_pairs():
    rotations = make_rotations(torch.ones(3, 1), torch.ones(2))
    assert rotations.cosine.shape == (3, 2)
    assert rotations.matrices.shape == (3, 2, 2, 2)
    assert make_rotations(torch.tensor(3.0), torch.tensor(4.0)).length == 5
    assert make_rotations(torch.ones(0), torch.ones(0)).matrices.shape == (0, 2, 2)


@pytest.mark.parametrize("count", [1, 2, 3, 64, 1001])
@every_dtype
def test_products_in_order_and_as_a_tree_are_those_of_the_matrices(dtype, count):
    f, g = random_pairs(dtype, count)
    rotations = make_rotations(f, g)
    pairs = rotations.cosine.to(dtype), rotations.sine
    wide = torch.eye(2, dtype=torch.complex128)
    for matrix in rotations.matrices.to(torch.complex128):
        wide = matrix @ wide
    for product in (product_in_order(pairs), product_as_tree(pairs)):
        entries = torch.stack(product).to(torch.complex128)
        assert (entries - wide[0]).abs().max() <= 10 * count**0.5 * rounding(dtype) + 4 * rounding(dtype)


def test_what_is_not_floating_is_refused():
    with pytest.raises(TypeError, match=r"floating tensors of one dtype, got torch.int64"):
        make_rotations(torch.ones(2, dtype=torch.int64), torch.ones(2, dtype=torch.int64))
    with pytest.raises(TypeError, match="one dtype"):
        make_rotations(torch.ones(2), torch.ones(2).double())
