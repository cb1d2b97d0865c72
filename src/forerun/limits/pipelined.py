"""PipelinedMap: an outer iteration whose steps are regressions, with several of its iterates on their way together.

    x_k <- update(x_k, x_{k-1}),    k = 1 ... K together;    after `rounds` of them    x_{k-1} <- x_k

In order, a chain `x_k = R(x_{k-1})` whose `R` is a regression waits for each to converge. Here all K regressions take
their steps at once, each towards the target that the iterate before it gives now (iterated Q-networks: Vincent et al.,
arXiv 2403.02107, TMLR 2025; K = 1 is the target network of DQN). Rounds are one after another, the updates of a
round are one batch. A period of rounds and its shift are a map, whose limit is K + 1 times the limit of the chain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Unpack, final

import torch

from forerun.engine.fixed_point import fixed_point
from forerun.engine.limit_methods import Plain
from forerun.engine.map import Map
from forerun.engine.numerics.tree import Tree, tree_map, tree_tensors
from forerun.engine.search import Limit, LimitOptions
from forerun.engine.search.options import LimitKeywords

ChainUpdate = Callable[[Tree, Tree], Tree]

PIPELINE_DEFAULTS = LimitOptions(method=Plain())


@final
@dataclass(frozen=True)
class PipelinedMap(Map):
    """Some rounds of all regressions, and a shift of their window by one.

    The state has K + 1 iterates along the first axis of every tensor: that of the oldest target, which rests, and those
    on their way.

    Args:
        update: takes K iterates and the K before them, with the axis of the iterates first, and returns the K after one
            step of their regressions; each by itself, as `torch.vmap` does.
        rounds: of a period, between shifts.
        refresh: rounds for which targets are held still; 1 takes those of now.
    """

    update: ChainUpdate
    rounds: int
    refresh: int = 1

    def __post_init__(self) -> None:
        for name in ("rounds", "refresh"):
            if getattr(self, name) < 1:
                raise ValueError(f"PipelinedMap({name}={getattr(self, name)}) takes no step; pass 1 or more")

    def evaluate(self, state: Tree) -> Tree:
        return shift_window(self.take_rounds(state))

    def take_rounds(self, state: Tree) -> Tree:
        """Return the window after the rounds of a period, before it is shifted."""
        sources: Tree = None
        for place in range(self.rounds):
            if place % self.refresh == 0:
                sources = tree_map(lambda leaf: leaf[:-1], state)
            iterates = self.update(tree_map(lambda leaf: leaf[1:], state), sources)
            state = join_window(state, iterates)
        return state


def begin_window(first: Tree, heads: int) -> Tree:
    """Return the state of K iterates that all begin at the first, `(K + 1, *shape)` a tensor."""
    if heads < 1:
        raise ValueError(f"heads={heads} leaves no iterate on its way; pass 1 or more")
    return tree_map(lambda leaf: leaf.expand(heads + 1, *leaf.shape).clone(), first)


def shift_window(state: Tree) -> Tree:
    """Return the window one iterate on: the last one begins where the one before it stands."""
    return tree_map(lambda leaf: torch.cat([leaf[1:], leaf[-1:]]), state)


def join_window(state: Tree, iterates: Tree) -> Tree:
    """Return the window with other iterates after its oldest.

    Raises:
        ValueError: they are of another shape.
    """
    fresh = tree_tensors(iterates)
    shapes = [tuple(leaf[1:].shape) for leaf in tree_tensors(state)]
    if [tuple(leaf.shape) for leaf in fresh] != shapes:
        raise ValueError(
            f"update returned tensors of shapes {[tuple(leaf.shape) for leaf in fresh]}, but takes {shapes}; "
            "return every iterate after its step, with the axis of the iterates first"
        )
    places = iter(fresh)
    return tree_map(lambda leaf: torch.cat([leaf[:1], next(places)]), state)


@dataclass(frozen=True)
class PipelinedLimit(Limit):
    """A `Limit` whose value is the newest iterate.

    Attributes:
        rounds: one after another; what the wall clock pays for.
        updates: of single iterates; what compute pays for.
    """

    rounds: int = 0
    updates: int = 0

    @property
    def value(self) -> Any:
        """The iterate that has gone farthest."""
        return tree_map(lambda leaf: leaf[-1], self.state)


def iterate_pipelined(
    update: ChainUpdate,
    first: Tree,
    *,
    heads: int = 5,
    rounds: int = 10,
    refresh: int = 1,
    options: LimitOptions | None = None,
    throw: bool = True,
    **keywords: Unpack[LimitKeywords],
) -> PipelinedLimit:
    """Follow a chain of regressions to its limit, with several iterates on their way together.

    Args:
        update: see `PipelinedMap`.
        first: the first iterate, a tree of tensors.
        heads: K, iterates on their way.
        rounds: of a period, between shifts of the window.
        refresh: rounds for which targets are held still.
        options: how the limit is searched; an evaluation is a period. The method is `Plain()`; updates that draw data
            need `repeatable=False`, and `max_evaluations=` bounds the periods.
        throw: raise where the limit was not reached, rather than return what there is.
        keywords: the options one by one.

    Raises:
        ValueError: there is no iterate or round, or the update does not keep the shapes.
        NoLimit: the limit was not reached, and `throw`.
    """
    settings = LimitOptions.gather(options, keywords).over(PIPELINE_DEFAULTS)
    chain = PipelinedMap(update, rounds, refresh)
    limit = fixed_point(chain, begin_window(first, heads), options=settings, throw=throw)
    total = limit.evaluations * rounds
    return PipelinedLimit(**vars(limit), rounds=total, updates=total * heads)
