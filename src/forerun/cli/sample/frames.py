"""The images on their way: what every round foresees of the final sample, decoded by the pipeline itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from forerun.cli.sample.job import SampleJob
from forerun.diffusion.pipelines.blend import NoisingCall
from forerun.diffusion.pipelines.hooks import PipelineObserver, watch_pipeline
from forerun.diffusion.pipelines.watched_method import PendingCall
from forerun.engine.event import RoundEvent
from forerun.engine.methods import Method, Sequential
from forerun.engine.methods.base import WindowState, WindowUpdate
from forerun.engine.methods.evaluations import Evaluate
from forerun.engine.solution import Solution
from forerun.view.page import PageFrame
from forerun.view.page_html import MAX_FRAMES
from forerun.view.slot_grid import rounds_of_entry, thinning_stride


@final
class SampleWatch:
    """What the rounds of a run foresee of its final sample: hand `watch_method` and `follow_round` to `parallel`.

    Attributes:
        event: the last one.
        rounds: that were followed.
    """

    def __init__(self) -> None:
        self.event: RoundEvent | None = None
        self.rounds = 0
        self._current_row: Tensor | None = None  # of the round that goes on
        self._rows: list[tuple[int, Tensor]] = []  # after so many rounds, a row `(B, D)` or wider

    def watch_method(self, method: Method) -> Method:
        """Return the method, watched; only `Sequential`, which the engine knows by its name, goes unwatched."""
        if isinstance(method, Sequential):
            return method
        return SampleWatchMethod(method, self)

    def record_round(self, window_state: WindowState, update: WindowUpdate) -> None:
        """Keep the sample at the end of the path; where that is not in flight, the last denoised one."""
        reaches_end = window_state.stop == window_state.problem.length
        is_first = not self.rounds and not self._rows
        if reaches_end and is_first:
            foreseen = window_state.inputs[-1].clone()  # by the steps before the first round
            self._rows.append((0, foreseen))
        rows = update.inputs if reaches_end else update.outputs
        self._current_row = rows[-1].clone()  # as a view would hold all other rows in memory

    def follow_round(self, event: RoundEvent) -> None:
        """Count a round: the callback of a run."""
        self.event = event
        self.rounds += rounds_of_entry(event.round)
        if self._current_row is not None:
            self._rows.append((self.rounds, self._current_row))
        self._current_row = None

    def foreseen_samples(self, solution: Solution) -> list[tuple[int, Tensor]]:
        """Return some rounds, and what was foreseen after them of the sample that the solution ends in."""
        sample: Tensor = solution.state
        rounds_before = solution.rounds - self.rounds
        width = sample[0].numel()  # a network that predicts a variance too has rows twice as wide
        stride = thinning_stride(len(self._rows), MAX_FRAMES)
        samples = []
        for rounds, row in self._rows[::stride]:
            foreseen = row[:, :width].reshape(sample.shape)
            samples.append((rounds_before + rounds, foreseen))
        return samples


@final
@dataclass(frozen=True)
class SampleWatchMethod(Method):
    """A method that shows its rounds to a `SampleWatch`."""

    inner: Method
    watch: SampleWatch

    @property
    def needs_every_step(self) -> bool:
        return self.inner.needs_every_step

    def iterate(self, window_state: WindowState, evaluate: Evaluate) -> WindowUpdate:
        update = self.inner.iterate(window_state, evaluate)
        self.watch.record_round(window_state, update)
        return update

    def stop(self, start: int, stop: int) -> int:
        return self.inner.stop(start, stop)


@final
class LoopReplay(PipelineObserver):
    """Has a pipeline walk its loop to a sample of ours, and decode it; outputs of its networks are repeated.

    Attributes:
        sample: where the loop leads.
    """

    def __init__(self, steps: int, sample: Tensor) -> None:
        self.sample = sample
        self._steps = steps
        self._steps_left = 0
        self._first_result: Any = None  # of the scheduler's step
        self._outputs: dict[nn.Module, Any] = {}  # of the networks in the first step

    def begin_loop(self, scheduler: Any) -> None:
        self._steps_left = self._steps

    def record_noising(self, noising: NoisingCall) -> None:
        pass

    def call_network(self, name: str, network: nn.Module, call: PendingCall) -> Any:
        if not self._steps_left:
            return call()
        if network not in self._outputs:
            self._outputs[network] = call()
        outputs = self._outputs[network]
        return pytree.tree_map_only(Tensor, torch.clone, outputs)  # pipelines may change it in place

    def step_scheduler(self, scheduler: Any, call: PendingCall) -> Any:
        self._steps_left -= 1
        if self._first_result is None:
            self._first_result = call()
        result = self._first_result
        if isinstance(result, tuple):
            sample = self.sample.to(result[0])
            return (sample, *result[1:])
        sample = self.sample.to(result.prev_sample)
        return type(result)(**{**result, "prev_sample": sample})


def decode_frames(
    job: SampleJob, solution: Solution, watch: SampleWatch, pictures: Sequence[Tensor]
) -> list[PageFrame]:
    """Return the images as rounds foresaw them; none where the pipeline does not lead from its sample to its images."""
    samples = watch.foreseen_samples(solution)
    if not samples:
        return []
    replay = LoopReplay(solution.step, solution.state)
    with watch_pipeline(job.pipe, replay):
        repeated = job.draw_images()
        if not _are_equal(repeated, pictures):
            return []
        frames = []
        for rounds, sample in samples:
            replay.sample = sample
            frames.append(PageFrame(rounds, job.draw_images()))
    return frames


def _are_equal(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> bool:
    pairs = zip(ours, theirs, strict=True)
    return all(torch.equal(our_picture, their_picture) for our_picture, their_picture in pairs)
