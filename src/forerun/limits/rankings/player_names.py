"""Names of players and their numbers."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from torch import Tensor

Labels = Sequence[Hashable]
Players = int | Labels | None


def list_column(values: Sequence[Any] | Tensor) -> list[Any]:
    """Return the entries of a column: a tensor, a list, or that of a data frame."""
    return values.tolist() if isinstance(values, Tensor) else list(values)


def name_players(columns: Sequence[Sequence[Hashable]], players: Players) -> Labels:
    """Return the names of all players, in order.

    Args:
        columns: where they occur.
        players: how many there are, where they are numbered from 0; or their names. None for those that occur.
    """
    if isinstance(players, int):
        return tuple(range(players))
    if players is not None:
        return tuple(players)
    names: dict[Hashable, None] = {}
    for column in columns:
        names.update(dict.fromkeys(column))
    return tuple(names)


def number_players(column: Sequence[Hashable], names: Labels) -> list[int]:
    """Return the numbers of players.

    Raises:
        ValueError: a player is not among them.
    """
    numbers = {name: number for number, name in enumerate(names)}
    for name in column:
        if name not in numbers:
            raise ValueError(
                f"player {name!r} is not among the {len(names)} players; number them from 0, and pass their number or "
                "all names as players=..."
            )
    return [numbers[name] for name in column]
