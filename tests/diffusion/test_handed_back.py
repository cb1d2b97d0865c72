"""A pipeline whose window declines goes on in its own loop, from the state that was accepted."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import diffusers
import pytest
import torch
from diffusion.zoo.catalogue import ZOO

from forerun.diffusion.pipelines.parallel import parallel
from forerun.engine.check import Check
from forerun.engine.rounds import Round
from forerun.engine.solution import Status
from forerun.engine.windows import Window

STEPS, DECLINED = 24, "declined, as this test asks"


@dataclass(frozen=True)
class DeclinesAfter(Window):
    """Six steps in flight, for so many rounds."""

    rounds: int

    def width(self, log: Sequence[Round], length: int) -> int:
        return 6 if len(log) < self.rounds else 0

    def note(self, log: Sequence[Round], length: int) -> str | None:
        return DECLINED


@pytest.fixture
def pipe() -> Iterator[Any]:
    pipe = ZOO["sd"].build()
    scheduler, unet, level = pipe.scheduler, pipe.unet, diffusers.logging.get_verbosity()
    pipe.unet = copy.deepcopy(unet)
    diffusers.logging.set_verbosity_error()
    yield pipe
    diffusers.logging.set_verbosity(level)
    pipe.scheduler, pipe.unet = scheduler, unet


def count_calls(pipe: Any) -> list[int]:
    sizes: list[int] = []
    pipe.unet.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    return sizes


def relative_distance(left: torch.Tensor, right: torch.Tensor) -> float:
    return float((left - right).square().mean().sqrt() / right.square().mean().sqrt())


@pytest.mark.parametrize(
    "scheduler",
    [
        "DDIMScheduler", "DDPMScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler",
        "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler",
    ],
)  # fmt: skip
def test_the_pipeline_goes_on_by_itself(pipe: Any, scheduler: str) -> None:
    pipe.scheduler = getattr(diffusers, scheduler).from_config(pipe.scheduler.config)
    expected = ZOO["sd"].run(pipe, steps=STEPS)
    with parallel(pipe, window=DeclinesAfter(3), tolerance=1e-3, witness=False) as run:
        sizes = count_calls(pipe)
        ahead = ZOO["sd"].run(pipe, steps=STEPS)
    assert relative_distance(ahead, expected) < 1e-2
    solution = run.solution
    assert solution.status is Status.CHECKED
    assert solution.step == solution.length
    assert DECLINED in solution.notes
    assert torch.equal(solution.state, ahead)
    accepted = solution.log[-1].start + solution.log[-1].accepted
    assert 3 <= accepted < solution.length
    single_calls = [size for size in sizes[len(solution.log) + 1 :] if size == sizes[0]]
    # one call a step from there on, and no more than one in 64 of them taken again
    assert len(single_calls) - (solution.length - accepted) in {0, 1, 2}


def test_a_run_that_never_moved_needs_no_state_of_later_steps(pipe: Any) -> None:
    expected = ZOO["sd"].run(pipe, steps=STEPS)
    with parallel(pipe, window=DeclinesAfter(0)) as run:
        ahead = ZOO["sd"].run(pipe, steps=STEPS)
    assert relative_distance(ahead, expected) < 1e-5
    assert run.solution.status in {Status.SEQUENTIAL, Status.CHECKED}
    assert run.solution.rounds == STEPS
    assert not run.solution.check_evaluations


def test_an_unchecked_run_says_so(pipe: Any) -> None:
    with parallel(pipe, window=DeclinesAfter(3), check=False) as run:
        ZOO["sd"].run(pipe, steps=STEPS)
    assert run.solution.status is Status.UNCHECKED
    assert run.solution.deviation is None


def test_a_large_drift_stays_with_the_engine_which_can_go_back(pipe: Any) -> None:
    expected = ZOO["sd"].run(pipe, steps=STEPS)
    with parallel(pipe, window=DeclinesAfter(3), tolerance=3e-6, check=Check(share=1.0)) as run:
        ahead = ZOO["sd"].run(pipe, steps=STEPS)
    assert relative_distance(ahead, expected) < 1e-4
    assert run.solution.step == STEPS


def test_samples_changed_on_the_way_are_gone_on_from(pipe: Any) -> None:
    """A callback that changes the samples on the accepted part ends the walk, and nothing is claimed of it."""

    def change(pipe: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        return {"latents": values["latents"] * (1.1 if step == 2 else 1.0)}

    expected = ZOO["sd"].run(pipe, steps=STEPS, callback_on_step_end=change)
    with parallel(pipe, window=DeclinesAfter(4)) as run:
        ahead = ZOO["sd"].run(pipe, steps=STEPS, callback_on_step_end=change)
    assert relative_distance(ahead, expected) < 1e-2
    assert run.solution.status is Status.UNCHECKED


def test_a_run_in_the_same_context_begins_anew(pipe: Any) -> None:
    expected = ZOO["sd"].run(pipe, steps=STEPS)
    with parallel(pipe, window=DeclinesAfter(3)) as run:
        for _ in range(2):
            assert relative_distance(ZOO["sd"].run(pipe, steps=STEPS), expected) < 1e-2
    assert [solution.status for solution in run.solutions] == [Status.CHECKED] * 2
