"""SimpleLens: a way there and a way back, which compose in sequence and side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

Space = tuple[str, ...]  # the factors of a space, such as ("R^3", "R")


class SpaceMismatch(TypeError):
    """Two arrows do not compose: the target of the first is not the source of the second."""


@final
@dataclass(frozen=True)
class SimpleLens:
    """A lens from A to B: `view: A -> B` and `put: A x B -> A`.

    Values of a space with several factors are tuples, of as many.

    Attributes:
        source: the factors of A.
        target: the factors of B.
        view: takes `a` to `b`.
        put: takes `a` and a wanted `b` to another `a`.
    """

    source: Space
    target: Space
    view: Callable[[Any], Any]
    put: Callable[[Any, Any], Any]

    def then(self, other: SimpleLens) -> SimpleLens:
        """Return the lens that goes on with another one.

        Raises:
            SpaceMismatch: it does not begin where this one ends.
        """
        check_spaces(self.target, other.source)

        def put(a: Any, c: Any) -> Any:
            return self.put(a, other.put(self.view(a), c))

        return SimpleLens(self.source, other.target, lambda a: other.view(self.view(a)), put)

    def beside(self, other: SimpleLens) -> SimpleLens:
        """Return the lens of pairs, this one beside another."""
        sizes = len(self.source), len(other.source)
        goals = len(self.target), len(other.target)

        def view(a: Any) -> Any:
            first, second = split_value(a, sizes)
            return join_values((self.view(first), other.view(second)), goals)

        def put(a: Any, b: Any) -> Any:
            (first, second), (third, fourth) = split_value(a, sizes), split_value(b, goals)
            return join_values((self.put(first, third), other.put(second, fourth)), sizes)

        return SimpleLens(self.source + other.source, self.target + other.target, view, put)


def identity_lens(space: Space) -> SimpleLens:
    """Return the lens that looks at everything."""
    return SimpleLens(space, space, lambda a: a, lambda a, b: b)


def check_spaces(target: Space, source: Space) -> None:
    """Refuse two arrows that do not meet."""
    if target != source:
        raise SpaceMismatch(
            f"the first ends in {show_space(target)}, but the second begins in {show_space(source)}; put another one "
            "between them, or write second.then(first)"
        )


def show_space(space: Space) -> str:
    """Return a space as one writes it."""
    return " x ".join(space) or "1"


def split_value(value: Any, counts: tuple[int, int]) -> tuple[Any, Any]:
    """Return the value of the first factors of a space, and that of the others; one factor alone stands for itself."""
    factors = wrap_value(value, sum(counts))
    return unwrap_value(factors[: counts[0]]), unwrap_value(factors[counts[0] :])


def join_values(values: tuple[Any, Any], counts: tuple[int, int]) -> Any:
    """Return the value of two spaces side by side."""
    first, second = (wrap_value(value, count) for value, count in zip(values, counts, strict=True))
    return unwrap_value(first + second)


def wrap_value(value: Any, count: int) -> tuple[Any, ...]:
    """Return a value as the tuple of its factors."""
    return (value,) if count == 1 else tuple(value)


def unwrap_value(values: tuple[Any, ...]) -> Any:
    """Return a tuple of one factor as that factor."""
    return values[0] if len(values) == 1 else values
