"""Givens rotations, real and complex, batched: few roundings an entry, no overflow on the way, products of thousands.

Entries as in Pereira, Lotfi and Langou (arXiv 2211.04010), which the reference LAPACK follows; scaled by powers of two,
which round nothing. A rotation is a pair `(a, b)` for the matrix `[[a, b], [-conj(b), conj(a)]]`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class GivensRotations:
    """Rotations that turn pairs `(f, g)` to `(r, 0)`:  c f + s g = r,  -conj(s) f + c g = 0.

    Attributes:
        cosine: `c`, real and not negative, of any shape.
        sine: `s`, of the dtype of the pairs.
        length: `r`, with the sign or the phase of `f`.
    """

    cosine: Tensor
    sine: Tensor
    length: Tensor

    @property
    def matrices(self) -> Tensor:
        """The rotations as matrices, `(..., 2, 2)`."""
        cosine = self.cosine.to(self.sine.dtype)
        rows = torch.stack([cosine, self.sine, -self.sine.conj(), cosine], -1)
        matrices: Tensor = rows.unflatten(-1, (2, 2))
        return matrices


def make_rotations(first: Tensor, second: Tensor) -> GivensRotations:
    """Return the rotations that turn `(first, second)` to `(r, 0)`, elementwise.

    Numbers of any size are safe: a pair is brought near to one by a power of two, which rounds nothing. Where `second`
    is zero the rotation is the identity. Not a number stays not a number.

    Args:
        first: real or complex floats.
        second: of the same shape and dtype.

    Raises:
        TypeError: the dtypes differ, or are not floating.
    """
    if first.dtype != second.dtype or not (first.is_floating_point() or first.is_complex()):
        raise TypeError(f"rotations need two floating tensors of one dtype, got {first.dtype} and {second.dtype}")
    if first.is_complex():
        return _make_complex(*torch.broadcast_tensors(first, second))
    return _make_real(*torch.broadcast_tensors(first, second))


def _make_real(f: Tensor, g: Tensor) -> GivensRotations:
    """D = sqrt(f^2 + g^2), c = |f| / d, r = sign(f) d, s = g / r: one rounding less an entry than by 1 / d."""
    exponent = _read_exponents(torch.maximum(f.abs(), g.abs()))
    f_scaled, g_scaled = torch.ldexp(f, -exponent), torch.ldexp(g, -exponent)
    d = torch.sqrt(f_scaled * f_scaled + g_scaled * g_scaled)
    r = torch.copysign(d, f_scaled)
    cosine, sine = f_scaled.abs() / d, g_scaled / r
    is_even, is_turned = g == 0, (f == 0) & (g != 0)
    cosine = torch.where(is_even, torch.ones_like(f), torch.where(is_turned, torch.zeros_like(f), cosine))
    sine = torch.where(is_even, torch.zeros_like(f), torch.where(is_turned, g.sign(), sine))
    length = torch.where(is_even, f, torch.where(is_turned, g.abs(), torch.ldexp(r, exponent)))
    return GivensRotations(cosine, sine, length)


def _make_complex(f: Tensor, g: Tensor) -> GivensRotations:
    """C = sqrt(f2 / h2), s = (f / |f|) (conj(g) / sqrt(h2)), r = f / c, with f2 = |f|^2 and h2 = |f|^2 + |g|^2.

    Where |f|^2 vanishes beside |g|^2 the length is that of `g`, with the phase of `f`.
    """
    f_size, g_size = _largest_part(f), _largest_part(g)
    exponent = _read_exponents(torch.maximum(f_size, g_size))
    own_exponent = _read_exponents(f_size)
    f_scaled, g_scaled = _scale_complex(f, -exponent), _scale_complex(g, -exponent)
    phase = _scale_complex(f, -own_exponent)
    own_length = torch.sqrt(_square_size(phase))
    phase = phase / own_length
    g2 = _square_size(g_scaled)
    f2 = _square_size(f_scaled)
    h2 = f2 + g2
    is_negligible = f2 < torch.finfo(f2.dtype).tiny / torch.finfo(f2.dtype).eps
    small_cosine = torch.ldexp(own_length / torch.sqrt(g2), own_exponent - exponent)
    cosine = torch.where(is_negligible, small_cosine, torch.sqrt(f2 / h2))
    length = torch.where(is_negligible, phase * torch.sqrt(h2), f_scaled / cosine)
    small_sine = phase * (g_scaled.conj() / torch.sqrt(h2))
    sine = torch.where(is_negligible, small_sine, g_scaled.conj() * (f_scaled / torch.sqrt(f2 * h2)))
    length = _scale_complex(length, exponent)
    is_even, is_turned = g == 0, (f == 0) & (g != 0)
    direction, g_length = g_scaled.conj() / torch.sqrt(g2), torch.ldexp(torch.sqrt(g2), exponent)
    zero, one = torch.zeros_like(cosine), torch.ones_like(cosine)
    return GivensRotations(
        torch.where(is_even, one, torch.where(is_turned, zero, cosine)),
        torch.where(is_even, torch.zeros_like(g), torch.where(is_turned, direction, sine)),
        torch.where(is_even, f, torch.where(is_turned, g_length.to(f.dtype), length)),
    )


def _read_exponents(sizes: Tensor) -> Tensor:
    """Return the exponents that bring sizes into [0.5, 1); zero where they are zero or not finite."""
    is_usable = (sizes > 0) & torch.isfinite(sizes)
    return torch.frexp(torch.where(is_usable, sizes, torch.ones_like(sizes) / 2)).exponent


def _largest_part(numbers: Tensor) -> Tensor:
    return torch.view_as_real(numbers.resolve_conj()).abs().amax(-1)


def _square_size(numbers: Tensor) -> Tensor:
    return torch.view_as_real(numbers.resolve_conj()).square().sum(-1)


def _scale_complex(numbers: Tensor, exponents: Tensor) -> Tensor:
    parts = torch.view_as_real(numbers.resolve_conj())
    return torch.view_as_complex(torch.ldexp(parts, exponents.unsqueeze(-1)).contiguous())


RotationPair = tuple[Tensor, Tensor]


def multiply_pairs(left: RotationPair, right: RotationPair) -> RotationPair:
    """Return the product of two rotations `(a, b)`: of the matrices, the left one applied last."""
    (a, b), (other_a, other_b) = left, right
    return a * other_a - b * other_b.conj(), a * other_b + b * other_a.conj()


def product_in_order(pairs: RotationPair) -> RotationPair:
    """Return the product of rotations along the first axis, each applied after the one before it, one by one."""
    product = pairs[0][0], pairs[1][0]
    for step in range(1, len(pairs[0])):
        product = multiply_pairs((pairs[0][step], pairs[1][step]), product)
    return product


def product_as_tree(pairs: RotationPair) -> RotationPair:
    """Return the same product by pairs of pairs: in log2 rounds, with errors that grow more slowly."""
    a, b = pairs
    while len(a) > 1:
        even = len(a) // 2 * 2
        product = multiply_pairs((a[1:even:2], b[1:even:2]), (a[0:even:2], b[0:even:2]))
        a, b = torch.cat([product[0], a[even:]]), torch.cat([product[1], b[even:]])
    return a[0], b[0]
