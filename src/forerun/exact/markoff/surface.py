"""MarkoffSurface: the surface, its points over a prime field, and the three involutions as permutations of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import isqrt
from typing import final

import torch
from torch import Tensor

MAX_PRIME = 1000
SMALLEST_PRIME = 5


@final
@dataclass(frozen=True)
class MarkoffSurface:
    """A surface over F_p (de Courcy-Ireland, Litman and Mizuno, arXiv 2509.02187).

        x1^2 + x2^2 + x3^2 + a1 x2 x3 + a2 x1 x3 + a3 x1 x2 = s x1 x2 x3,        s = 3 + a1 + a2 + a3

    A Vieta involution replaces one coordinate by the other root of the equation, read as a quadratic in it.

    Args:
        prime: p, from 5 to 1000.
        parameters: `(a1, a2, a3)`, integers; `(0, 0, 0)` is Markoff's surface.

    Raises:
        ValueError: p is not such a prime, or there are not three integers.
    """

    prime: int
    parameters: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        _check_prime(self.prime)
        if len(self.parameters) != 3 or not all(type(a) is int for a in self.parameters):
            raise ValueError(f"parameters must be three integers, got {self.parameters!r}; write (2, 0, 0)")

    @property
    def scale(self) -> int:
        """The coefficient of `x1 x2 x3` modulo p."""
        return (3 + sum(self.parameters)) % self.prime

    @property
    def is_typical(self) -> bool:
        """Whether the divisibility theorem applies: `s` is not zero, and no `a_i^2` is 4, modulo p."""
        return self.scale != 0 and not self.special_parameters

    @property
    def special_parameters(self) -> int:
        """How many of the parameters have the square 4 modulo p."""
        return sum((a * a - 4) % self.prime == 0 for a in self.parameters)

    @property
    def is_on_cayley_cubic(self) -> bool:
        """Whether `a1^2 + a2^2 + a3^2 - a1 a2 a3 = 4` modulo p."""
        first, second, third = self.parameters
        return (first**2 + second**2 + third**2 - first * second * third - 4) % self.prime == 0

    def evaluate(self, points: Tensor) -> Tensor:
        """Return left minus right side of the equation at points `(N, 3)`, in `0 .. p - 1`; zero on the surface."""
        x1, x2, x3 = points.unbind(-1)
        a1, a2, a3 = self.parameters
        squares = (points * points).sum(-1)
        mixed = a1 * x2 * x3 + a2 * x1 * x3 + a3 * x1 * x2
        return (squares + mixed - self.scale * (x1 * x2 % self.prime) * x3) % self.prime

    def flip_coordinate(self, points: Tensor, place: int) -> Tensor:
        """Return points `(N, 3)` with one coordinate replaced by the other root; its own inverse."""
        i, j = (other for other in range(3) if other != place)
        product = points[:, i] * points[:, j] % self.prime
        total = self.scale * product - self.parameters[j] * points[:, i] - self.parameters[i] * points[:, j]
        flipped = points.clone()
        flipped[:, place] = (total - points[:, place]) % self.prime
        return flipped

    def find_points(self) -> SurfacePoints:
        """Return all points over F_p, and what the involutions do to them."""
        p = self.prime
        grid = torch.cartesian_prod(torch.arange(p), torch.arange(p))
        first, second = grid.unbind(-1)
        a1, a2, a3 = self.parameters
        linear = a1 * second + a2 * first - self.scale * (first * second % p)
        constant = first * first + second * second + a3 * first * second
        roots = _square_roots(p)[(linear * linear - 4 * constant) % p]
        half = (p + 1) // 2
        solutions = [torch.stack([first, second, half * (sign * roots - linear) % p], -1) for sign in (1, -1)]
        has_root = roots >= 0
        points = torch.cat([solution[has_root] for solution in solutions]).unique(dim=0)
        return SurfacePoints(self, points, torch.stack([self.locate(points, place) for place in range(3)]))

    def locate(self, points: Tensor, place: int) -> Tensor:
        """Return the rows `(N,)` of the points, which must be all, to which one involution takes them."""
        weights = torch.tensor([self.prime**2, self.prime, 1])
        return torch.searchsorted((points * weights).sum(-1), (self.flip_coordinate(points, place) * weights).sum(-1))


@dataclass(frozen=True)
class SurfacePoints:
    """All points of a surface.

    Attributes:
        surface: whose points.
        points: int64 `(N, 3)`, sorted, in `0 .. p - 1`; the first is the origin.
        images: int64 `(3, N)`, to which row each of the three involutions takes a point.
    """

    surface: MarkoffSurface
    points: Tensor
    images: Tensor

    def __len__(self) -> int:
        return len(self.points)


def _square_roots(prime: int) -> Tensor:
    """Return a square root of every residue `(p,)`; -1 where there is none."""
    roots = torch.full((prime,), -1)
    residues = torch.arange(prime)
    roots[residues * residues % prime] = residues
    return roots


def _check_prime(prime: int) -> None:
    if not isinstance(prime, int) or isinstance(prime, bool) or not SMALLEST_PRIME <= prime <= MAX_PRIME:
        raise ValueError(f"p must be a prime from {SMALLEST_PRIME} to {MAX_PRIME}, got {prime!r}; write 101")
    divisor = smallest_divisor(prime)
    if divisor < prime:
        above = next(number for number in range(prime, 2 * prime) if smallest_divisor(number) == number)
        raise ValueError(f"p must be a prime, but {prime} = {divisor} x {prime // divisor}; the next prime is {above}")


def smallest_divisor(number: int) -> int:
    """Return the smallest divisor above 1 of a number from 2 on."""
    return next((divisor for divisor in range(2, isqrt(number) + 1) if number % divisor == 0), number)


def list_surfaces(prime: int) -> list[MarkoffSurface]:
    """Return the surfaces over F_p with `s` not zero, one for parameters in every order."""
    triples = combinations_with_replacement(range(prime), 3)
    surfaces = [MarkoffSurface(prime, triple) for triple in triples]
    return [surface for surface in surfaces if surface.scale]


def list_primes(numbers: Sequence[int]) -> list[int]:
    """Return the primes among numbers from 2 on."""
    return [number for number in numbers if smallest_divisor(number) == number]
