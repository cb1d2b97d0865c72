"""The images on their way: what every round foresees of the final sample, decoded by the pipeline itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from forerun.cli.sample.job import Job
from forerun.diffusion.pipelines.blend import NoisingCall
from forerun.diffusion.pipelines.hooks import PendingCall, PipelineObserver, watch_pipeline
from forerun.engine.event import RoundEvent
from forerun.engine.methods import Method, Sequential
from forerun.engine.methods.base import Evaluate, WindowState, WindowUpdate
from forerun.engine.solution import Solution
from forerun.view.page import PageFrame
from forerun.view.page_html import MAX_FRAMES


@final
class Watch:
    """What the rounds of a run foresee of its final sample: hand `method` and `follow` to `parallel`.

    Attributes:
        event: the last one.
        rounds: that were followed.
    """

    def __init__(self) -> None:
        self.event: RoundEvent | None = None
        self.rounds = 0
        self._row: Tensor | None = None  # of the round that goes on
        self._seen: list[tuple[int, Tensor]] = []  # after so many rounds, a row `(B, D)` or wider

    def method(self, method: Method) -> Method:
        """The same method, watched; only `Sequential`, which the engine knows by its name, goes unwatched."""
        return method if isinstance(method, Sequential) else Watched(method, self)

    def saw(self, front: WindowState, iterate: WindowUpdate) -> None:
        """A round is made: keep the sample at the end of the path, or, where that is not in flight, denoised."""
        last = front.stop == front.problem.length
        if last and not self.rounds and not self._seen:
            self._seen.append((0, front.inputs[-1].clone()))  # what the steps before the first round foresaw
        # a copy, as a row would keep all others
        self._row = (iterate.inputs if last else iterate.outputs)[-1].clone()

    def follow(self, event: RoundEvent) -> None:
        """The callback of a run."""
        self.event = event
        self.rounds += max(event.round.rounds, 1)
        if self._row is not None:
            self._seen.append((self.rounds, self._row))
        self._row = None

    def samples(self, solution: Solution) -> list[tuple[int, Tensor]]:
        """Some rounds, and what was foreseen after them of the sample that the solution ends in."""
        end: Tensor = solution.state
        before, width = solution.rounds - self.rounds, end[0].numel()
        shown = self._seen[:: max(-(-len(self._seen) // MAX_FRAMES), 1)]
        # a network that predicts a variance too has rows twice as wide
        return [(before + number, row[:, :width].reshape(end.shape)) for number, row in shown]


@final
@dataclass(frozen=True)
class Watched(Method):
    """A method that shows its rounds to a `Watch`."""

    inner: Method
    watch: Watch

    def iterate(self, front: WindowState, evaluate: Evaluate) -> WindowUpdate:
        iterate = self.inner.iterate(front, evaluate)
        self.watch.saw(front, iterate)
        return iterate

    def stop(self, start: int, stop: int) -> int:
        return self.inner.stop(start, stop)


@final
class Replay(PipelineObserver):
    """Has a pipeline walk its loop to a sample of ours, and decode it; what its networks say in the loop is repeated.

    Attributes:
        sample: where the loop leads.
    """

    def __init__(self, steps: int, sample: Tensor) -> None:
        self.sample = sample
        self._steps = steps
        self._left = 0  # of the loop
        self._first: Any = None  # what the first step returned
        self._said: dict[nn.Module, Any] = {}  # by the networks in the first step

    def begin_loop(self, scheduler: Any) -> None:
        self._left = self._steps

    def record_noising(self, noised: NoisingCall) -> None:
        pass

    def call_network(self, name: str, network: nn.Module, asked: PendingCall) -> Any:
        if not self._left:
            return asked()
        if network not in self._said:
            self._said[network] = asked()
        return pytree.tree_map_only(Tensor, torch.clone, self._said[network])  # pipelines may change theirs in place

    def step_scheduler(self, scheduler: Any, asked: PendingCall) -> Any:
        self._left -= 1
        if self._first is None:
            self._first = asked()
        found = self._first
        if isinstance(found, tuple):
            return (self.sample.to(found[0]), *found[1:])
        return type(found)(**{**found, "prev_sample": self.sample.to(found.prev_sample)})


def frames(job: Job, solution: Solution, watch: Watch, pictures: Sequence[Tensor]) -> list[PageFrame]:
    """The images as rounds foresaw them; none where the pipeline does not lead back from its sample to its images."""
    samples = watch.samples(solution)
    if not samples:
        return []
    replay = Replay(solution.step, solution.state)
    with watch_pipeline(job.pipe, replay):
        again = job.call()
        if not all(torch.equal(*pair) for pair in zip(again, pictures, strict=True)):
            return []
        found = []
        for number, sample in samples:
            replay.sample = sample
            found.append(PageFrame(number, job.call()))
    return found
