"""The witness of a solved path: the networks of the pipeline, called for one step alone, as the pipeline would."""

from __future__ import annotations

import itertools
import random
from collections.abc import Hashable
from typing import Final, final
from weakref import WeakKeyDictionary

from torch import nn

from forerun.diffusion.pipelines.network_state import NetworkState
from forerun.diffusion.pipelines.remaining_loop import RemainingLoop
from forerun.engine.witness import Witness, WitnessDisagrees, describe_difference

DRAWS: Final = itertools.count()
MAX_KINDS: Final = 64  # of calls, that are remembered of one network


@final
class AgreedNetworks:
    """Remembers networks that gave the same alone as in a batch, called as they were and with all that they kept."""

    def __init__(self) -> None:
        self._agreed: WeakKeyDictionary[nn.Module, set[Hashable]] = WeakKeyDictionary()

    def __contains__(self, loop: RemainingLoop) -> bool:
        network, kind = self._describe(loop)
        return kind in self._agreed.get(network, ())

    def remember(self, loop: RemainingLoop) -> None:
        """Remember the networks of a loop, as they are now."""
        network, kind = self._describe(loop)
        kinds = self._agreed.setdefault(network, set())
        if len(kinds) >= MAX_KINDS:
            kinds.clear()
        kinds.add(kind)

    def _describe(self, loop: RemainingLoop) -> tuple[nn.Module, Hashable]:
        """Return the last network that a loop calls, and how it calls all of them."""
        calls = [
            (traced.call.name, tuple(traced.leaf_paths), traced.rows, traced.copies) for traced in loop.graph.calls
        ]
        sample = loop.sample
        kind = (tuple(calls), tuple(sample.shape), sample.dtype, NetworkState(loop.networks).fingerprint())
        return loop.graph.calls[-1].call.network, kind


AGREED_NETWORKS: Final = AgreedNetworks()


def witness_path(loop: RemainingLoop, witness: Witness | None, stop: int) -> int:
    """Call the networks for some steps of a solved path up to `stop` alone; return how many, the traced step included.

    The traced step is the pipeline's own call. The last, and some drawn at random, are called here; no more than the
    share of the witness where the networks are known to agree, or the pipeline goes on by itself from `stop`.

    Raises:
        WitnessDisagrees: a network gives something else for a step alone than it gave within a batch.
    """
    if witness is None:
        return 0
    steps = _list_candidates(loop, witness, stop)
    if not steps:
        return 1
    is_known = loop in AGREED_NETWORKS
    if is_known or stop < loop.length:
        steps = _draw_few(steps, witness, loop.length, is_known=is_known)
    for step in steps:
        _witness_step(loop, witness, step)
    if steps and not is_known:
        AGREED_NETWORKS.remember(loop)
    return 1 + len(steps)


def _list_candidates(loop: RemainingLoop, witness: Witness, stop: int) -> list[int]:
    """Return the steps of a path up to `stop` that a first run calls alone, besides the traced one."""
    return [step for step in witness.choose_steps(stop) if step in loop.records and step > 0]


def _draw_few(
    steps: list[int],
    witness: Witness,
    length: int,
    *,
    is_known: bool,
) -> list[int]:
    """Return a share of the path's steps, drawn at random from some: one of them at least in a first run."""
    chance = random.Random(f"{witness.seed} {length} {next(DRAWS)}")  # the same on all ranks
    if is_known:
        count = int(chance.random() < witness.share * length)
    else:
        count = max(int(witness.share * length), 1)
    return chance.sample(steps, min(count, len(steps)))


def _witness_step(loop: RemainingLoop, witness: Witness, step: int) -> None:
    """Hold what the networks give for one step alone against what they gave within a batch.

    Raises:
        WitnessDisagrees: they differ.
    """
    user_outputs, replica_outputs = loop.call_step_alone(step)
    for traced, user_leaves, replica_leaves in zip(loop.graph.calls, user_outputs, replica_outputs, strict=True):
        difference = describe_difference(list(user_leaves), list(replica_leaves), roundings=witness.roundings)
        if difference is not None:
            raise WitnessDisagrees(
                f"{traced.call.name} gave another output for one step alone than within a batch of steps: {difference}"
            )


def refuse_moving_state(state: NetworkState) -> None:
    """Refuse networks that count their calls, and put their counts back.

    Raises:
        WitnessDisagrees: a number that a network keeps has changed while steps were evaluated.
    """
    path = state.find_moving_count()
    if path is None:
        return
    state.put_back()
    raise WitnessDisagrees(f"{path} changed while steps were evaluated together: the network counts its calls")
