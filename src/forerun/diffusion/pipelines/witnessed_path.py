"""The witness of a solved path: the networks of the pipeline, called for one step alone, as the pipeline would."""

from __future__ import annotations

from forerun.diffusion.pipelines.network_state import NetworkState
from forerun.diffusion.pipelines.remaining_loop import RemainingLoop
from forerun.engine.witness import Witness, WitnessDisagrees, describe_difference


def witness_path(loop: RemainingLoop, witness: Witness | None, stop: int) -> int:
    """Call the networks for some steps of a solved path up to `stop` alone; return how many, the traced step included.

    The traced step is the pipeline's own call; the last, and some drawn at random, are called here.

    Raises:
        WitnessDisagrees: a network gives something else for a step alone than it gave within a batch.
    """
    if witness is None:
        return 0
    steps = [step for step in witness.choose_steps(stop) if step in loop.records and step > 0]
    for step in steps:
        user_outputs, replica_outputs = loop.call_step_alone(step)
        for traced, user_leaves, replica_leaves in zip(loop.graph.calls, user_outputs, replica_outputs, strict=True):
            difference = describe_difference(list(user_leaves), list(replica_leaves), roundings=witness.roundings)
            if difference is not None:
                raise WitnessDisagrees(
                    f"{traced.call.name} gave another output for one step alone than within a batch of steps: "
                    f"{difference}"
                )
    return 1 + len(steps)


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
