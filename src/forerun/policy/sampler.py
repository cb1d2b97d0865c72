"""Sampler: a diffusion policy in receding horizon, whose every tick is sampled ahead of order."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, final

import torch
from torch import Tensor

from forerun.engine.backends import Local
from forerun.engine.check import Check
from forerun.engine.methods import Method, Secant
from forerun.engine.tolerance import PerStep, Tolerance
from forerun.engine.windows import Full, Window
from forerun.policy.chunk import Network
from forerun.policy.modes import Exact, Mode
from forerun.policy.noise import TickNoise, chosen, shifted
from forerun.policy.observed import Observations
from forerun.policy.plan import Denoiser, Plan
from forerun.policy.recall import moved
from forerun.policy.report import Report
from forerun.policy.run import Setting
from forerun.policy.tick import Answer, Tick

WINDOW: Final = Full()
SHARES: Final = (0.16, 0.32, 0.5, 0.75, 1.0)  # of all steps, to which the rounds of a compiled network are padded


class NotFinite(RuntimeError):
    """The network gave something not finite, and there is no earlier chunk whose action could be held."""


@final
class Sampler:
    """Chunks of actions from observations, by a diffusion policy and the scheduler it was trained with.

        sampler = Sampler(denoiser, scheduler, (16, 4), steps=100, executed=8, mode=Warm())
        chunk = sampler.act(observation)  # (16, 4): execute its first 8 actions, observe, act again

    Args:
        denoiser: `(actions (N, H, A), timesteps (N,), observations (N, *obs)) -> (N, H, A)`, what the scheduler was
            configured for. `N` is steps times environments; each is treated by itself.
        scheduler: of diffusers, with the configuration of the training. Never modified.
        shape: `(H, A)` of a chunk: horizon and dimensions of an action.
        steps: for `scheduler.set_timesteps`.
        executed: actions that are executed between two ticks: the shift of a chunk from one tick to the next.
        first: index in the chunk of the first action that is executed.
        observation: shape of an observation of one environment; None to learn it from the first one.
        environments: how many are observed together, each with its own clock.
        mode: what a tick takes from the one before; `Exact()`, `Warm()`, ...
        seed: of the noise.
        window: steps in flight together.
        tolerance: root mean square by which a step's input may still move when it is accepted, in units of the
            standard deviation of the samples of its step; or a `Tolerance`.
        method: how outputs become the next path.
        check: estimate the deviation and keep to the tolerance, at nearly twice the time on a small network.
        options: further keyword arguments of the scheduler's step, such as `{"eta": 1.0}`.
        compile: `torch.compile` the network, for calls of a few sizes that rounds are padded to; the first ticks are
            then slow.
        clip: the actions are clamped to `-clip .. clip`; None leaves them as they are.
        dtype: of actions and noise.
        device: where the denoiser is.

    Attributes:
        report: of the last tick; None before the first.

    Raises:
        TypeError: the scheduler is none of diffusers.
        ValueError: steps, shape, executed or environments make no sense.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scheduler: Any,
        shape: Sequence[int],
        *,
        steps: int = 100,
        executed: int = 8,
        first: int = 0,
        observation: Sequence[int] | None = None,
        environments: int = 1,
        mode: Mode = Exact(),
        seed: int = 0,
        window: Window = WINDOW,
        tolerance: float | Tolerance = 3e-3,
        method: Method = Secant(),
        check: bool | Check = False,
        options: Mapping[str, Any] = MappingProxyType({}),
        clip: float | None = None,
        compile: bool = False,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        _refuse(shape, executed, first, environments)
        like = torch.empty(environments, *shape, dtype=dtype, device=device)
        self.mode = mode
        self.plan = Plan(scheduler, steps, like, options=options)
        self.report: Report | None = None
        if not isinstance(tolerance, Tolerance):
            tolerance = PerStep(tolerance, self.plan.sampling.levels)
        backend = Local(pad=sizes(self.plan.length)) if compile else Local()
        self._setting = Setting(method, window, tolerance, check, backend)
        self._denoiser = torch.compile(denoiser, dynamic=False) if compile else denoiser
        self._observations = Observations(environments, observation, dtype, torch.device(device))
        self._executed, self._first, self._clip = executed, first, clip
        self._noises = TickNoise(seed, 1 + self.plan.length if self.plan.random else 1, like)
        self._count = environments
        self._ready = [environments == 1] * environments
        self._warm = [False] * environments
        self._noise: Tensor | None = None
        self._outputs = like.new_zeros(self.plan.length, *like.shape)
        self._sample = like.new_zeros(like.shape)
        self._chunk: Tensor | None = None
        self._good = [False] * environments

    @torch.no_grad()
    def act(self, observation: Any) -> Tensor:
        """The chunk for an observation, `(H, A)`; of several environments `(environments, H, A)`.

        Args:
            observation: tensor or array `(*obs)`; of several environments `(environments, *obs)`.

        Raises:
            NotFinite: the network gave something not finite in the first tick of an environment.
            TypeError: the observation is no tensor or array of floating point numbers.
            ValueError: it has another shape or values that are not finite, or an environment waits for its reset.
        """
        begun = time.perf_counter()
        self._refuse_unready()
        seen = self._observations.of(observation)
        self._noise = noise = self._next_noise()
        answer = self.mode.answer(self._tick(seen, noise, begun)).guarded()
        chunk = self.mode.actions(answer.sample)
        chunk = chunk if self._clip is None else chunk.clamp(-self._clip, self._clip)
        chunk = self._held(chunk, answer) if any(answer.bad) else chunk
        self._remember(chunk, answer)
        self.report = Report.of(answer, time.perf_counter() - begun, self.plan.length)
        return chunk if self._observations.batched(observation) else chunk[0]

    def reset(self, which: Sequence[int] | Sequence[bool] | Tensor | None = None) -> None:
        """Begin an episode: nothing of the last tick is used again.

        Args:
            which: the environments, by their numbers or as one truth value each; None for all.
        """
        for index in self._chosen(which):
            self._ready[index], self._warm[index], self._good[index] = True, False, False

    def ended(self, which: Sequence[int] | Sequence[bool] | Tensor | None = None) -> None:
        """Tell that episodes ended: to act before their `reset` is an error from here on.

        Args:
            which: as for `reset`.
        """
        for index in self._chosen(which):
            self._ready[index] = False

    @property
    def noise(self) -> Tensor | None:
        """The noise of the last tick: of the first samples, then of every step that adds some; `(N, B, H, A)`."""
        return self._noise

    def _tick(self, seen: Tensor, noise: Tensor, begun: float) -> Tick:
        return Tick(
            plan=self.plan,
            network=Network(self._denoiser, self.plan, seen),
            noise=noise,
            known=self._known(),
            last=moved(self._sample, self._executed),
            warm=tuple(self._warm),
            setting=self._setting,
            begun=begun,
        )

    def _next_noise(self) -> Tensor:
        fresh = self._noises.fresh()
        if self._noise is None or not (self.mode.shifts and any(self._warm)):
            return fresh
        return chosen(self._warm, shifted(self._noise, self._executed, fresh), fresh)

    def _known(self) -> Tensor:
        """Outputs of the last tick for this one; zeros where there is none."""
        if not any(self._warm):
            return torch.zeros_like(self._outputs)
        return chosen(self._warm, moved(self._outputs, self._executed), torch.zeros_like(self._outputs))

    def _held(self, chunk: Tensor, answer: Answer) -> Tensor:
        """The chunk with the next action of the last good one held, where the network failed."""
        lost = [index for index, bad in enumerate(answer.bad) if bad and not self._good[index]]
        if lost or self._chunk is None:
            raise NotFinite(
                f"the denoiser gave values that are not finite for environment(s) {lost}, and there is no earlier "
                "chunk to hold an action of; look at its weights and at the scaling of the observation"
            )
        following = min(self._first + self._executed, chunk.shape[1] - 1)
        held = self._chunk[:, following : following + 1].expand_as(chunk)
        return chosen(answer.bad, held.unsqueeze(0), chunk.unsqueeze(0))[0]

    def _remember(self, chunk: Tensor, answer: Answer) -> None:
        self._chunk, self._sample, self._outputs = chunk, answer.sample, answer.outputs
        self._warm = [self.mode.carries and not bad for bad in answer.bad]
        self._good = [True] * self._count

    def _chosen(self, which: Sequence[int] | Sequence[bool] | Tensor | None) -> list[int]:
        if which is None:
            return list(range(self._count))
        listed = torch.as_tensor(which).flatten()
        found: list[int] = (listed.nonzero().flatten() if listed.dtype == torch.bool else listed).tolist()
        if (listed.dtype == torch.bool and len(listed) != self._count) or any(
            i not in range(self._count) for i in found
        ):
            raise ValueError(
                f"which = {listed.tolist()} does not choose among {self._count} environments; pass their numbers, "
                f"0 .. {self._count - 1}, or one truth value each"
            )
        return found

    def _refuse_unready(self) -> None:
        if not all(self._ready):
            waiting = [index for index, ready in enumerate(self._ready) if not ready]
            raise ValueError(
                f"environment(s) {waiting} of {self._count} are between episodes: call sampler.reset({waiting}) when "
                "theirs begin, or sampler.reset() for all, before act"
            )


def sizes(length: int) -> list[int]:
    """The rounds' widths that a network is compiled for: 1, and from a fraction of all steps up to all."""
    return sorted({1, *(max(round(length * share), 1) for share in SHARES)})


def _refuse(shape: Sequence[int], executed: int, first: int, environments: int) -> None:
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"shape = {tuple(shape)}, but a chunk is (horizon, dimensions of an action), such as (16, 4)")
    if not 1 <= executed <= shape[0] or not 0 <= first < shape[0]:
        raise ValueError(
            f"executed = {executed} and first = {first} of a horizon of {shape[0]}; execute 1 .. {shape[0]} actions, "
            f"from one of 0 .. {shape[0] - 1} on"
        )
    if environments < 1:
        raise ValueError(f"environments = {environments}; pass how many are observed together, 1 or more")
