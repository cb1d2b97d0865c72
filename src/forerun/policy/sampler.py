"""Sampler: a diffusion policy in receding horizon, whose every tick is sampled in parallel over steps."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, Unpack, final

import torch
from torch import Tensor

from forerun.engine.backends import Local
from forerun.engine.methods import Secant, Sequential
from forerun.engine.options import SolveKeywords, SolveOptions, SolveSettings
from forerun.engine.tolerance import PerStep, Tolerance
from forerun.engine.windows import EVERY_STEP, Auto, Full
from forerun.engine.witness import WitnessDisagrees, WitnessWarning
from forerun.policy.modes import Deadline, Exact, Mode
from forerun.policy.network_witness import NetworkWitness
from forerun.policy.noise import TickNoise, select_environments, shift_noise
from forerun.policy.observations import ObservationRows
from forerun.policy.plan import PolicyDenoiser, TickPlan, refuse_numbers
from forerun.policy.recall import shift_chunks
from forerun.policy.report import TickReport
from forerun.policy.tick import Tick, TickAnswer
from forerun.policy.tick_process import ObservedDenoiser
from forerun.policy.tick_solution import TickSolution

POLICY_DEFAULTS: Final = SolveOptions(
    method=Secant(),
    window=Full(density=EVERY_STEP),  # unchecked, and so few steps that a skeleton saves next to nothing
    tolerance=3e-3,
    check=False,
)
COMPILED_SHARES: Final = (0.16, 0.32, 0.5, 0.75, 1.0)  # of all steps, to which a compiled network's rounds are padded

EnvironmentSelection = Sequence[int] | Sequence[bool] | Tensor | None


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
        step_options: further keyword arguments of the scheduler's step, such as `{"eta": 1.0}`.
        compile: `torch.compile` the network, for calls of a few sizes that rounds are padded to; the first ticks are
            then slow.
        clip: the actions are clamped to `-clip .. clip`; None leaves them as they are.
        dtype: of actions and noise.
        device: where the denoiser is.
        options: how every tick is solved; see `SolveOptions`. By default all steps are in flight together, but
            fewer than a dozen are taken in order where there is no deadline; `window=Full()` is for devices on which
            a round costs hardly more than a step. Nothing is checked, as the check takes nearly twice the time on a
            small network. A number as tolerance is the root mean square by which a step's input may still move when
            it is accepted, in units of the standard deviation of the samples of its step. The guess is the mode's.
        keywords: the same, one by one.

    Attributes:
        report: what the last tick came to; None before the first.
        solution: its solution, whose `value` is the chunk; None before the first.

    Raises:
        TypeError: the scheduler is none of diffusers.
        ValueError: steps, shape, executed or environments make no sense.
    """

    _note: str | None = None  # why every tick is taken in order; None where it is not

    def __init__(
        self,
        denoiser: PolicyDenoiser,
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
        step_options: Mapping[str, Any] = MappingProxyType({}),
        clip: float | None = None,
        compile: bool = False,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        options: SolveOptions | None = None,
        **keywords: Unpack[SolveKeywords],
    ) -> None:
        refuse_numbers(shape, executed, first, environments)
        like = torch.empty(environments, *shape, dtype=dtype, device=device)
        self.mode = mode
        self.plan = TickPlan(scheduler, steps, like, step_options=step_options)
        self.report: TickReport | None = None
        self.solution: TickSolution | None = None
        self._settings = self._settle_options(SolveOptions.gather(options, keywords), compiled=compile)
        self._denoiser = torch.compile(denoiser, dynamic=False) if compile else denoiser
        self._witness = NetworkWitness.for_settings(denoiser, self._settings, self.plan.length)
        self._observations = ObservationRows(environments, observation, dtype, torch.device(device))
        self._executed, self._first, self._clip = executed, first, clip
        self._noises = TickNoise(seed, 1 + self.plan.length if self.plan.adds_noise else 1, like)
        self._count = environments
        self._ready = [environments == 1] * environments
        self._warm, self._good = [False] * environments, [False] * environments
        self._noise: Tensor | None = None
        self._outputs = like.new_zeros(self.plan.length, *like.shape)
        self._sample = like.new_zeros(like.shape)
        self._chunk: Tensor | None = None

    @torch.no_grad()
    def act(self, observation: Any) -> Tensor:
        """The chunk for an observation, `(H, A)`; of several environments `(environments, H, A)`.

        Args:
            observation: tensor or array `(*obs)`; of several environments `(environments, *obs)`.

        Raises:
            NotFinite: the network gave something not finite in the first tick of an environment.
            WitnessDisagrees: with `strict`, the network gives something else for one step than for many together.
            TypeError: the observation is not a tensor or array of floating point numbers.
            ValueError: it has another shape or values that are not finite, or an environment waits for its reset.
        """
        start_time = time.perf_counter()
        self._refuse_unready()
        rows = self._observations.from_observation(observation)
        self._noise = self._next_noise()
        answer = self._answer_tick(rows, self._noise, start_time).mark_nonfinite()
        chunk = self._make_chunk(answer)
        self._remember(chunk, answer)
        if self._note is not None:
            answer = replace(answer, solution=replace(answer.solution, notes=(self._note, *answer.solution.notes)))
        self.report = TickReport.from_answer(answer, time.perf_counter() - start_time, self.plan.length)
        if not self._observations.is_batched(observation):
            chunk = chunk[0]
        self.solution = TickSolution.from_solution(answer.solution, chunk)
        return chunk

    def reset(self, selection: EnvironmentSelection = None) -> None:
        """Begin an episode: nothing of the last tick is used again.

        Args:
            selection: the environments, by their numbers or as one truth value each; None for all.
        """
        for index in self._environment_numbers(selection):
            self._ready[index], self._warm[index], self._good[index] = True, False, False

    def ended(self, selection: EnvironmentSelection = None) -> None:
        """Tell that episodes ended: to act before their `reset` is an error from here on.

        Args:
            selection: as for `reset`.
        """
        for index in self._environment_numbers(selection):
            self._ready[index] = False

    @property
    def noise(self) -> Tensor | None:
        """The noise of the last tick: of the first samples, then of every step that adds some; `(N, B, H, A)`."""
        return self._noise

    def _settle_options(self, options: SolveOptions, *, compiled: bool) -> SolveSettings:
        levels = self.plan.sampling.levels

        def measure_in_levels(value: float) -> Tolerance:
            return PerStep(value, levels)

        if compiled and options.backend is None:
            options = replace(options, backend=Local(pad=compiled_widths(self.plan.length)))
        defaults = POLICY_DEFAULTS
        if Auto().declines(self.plan.length) and not isinstance(self.mode, Deadline):  # which looks between rounds
            defaults = replace(POLICY_DEFAULTS, window=Auto())  # takes the steps in order, and says why
        return options.over(defaults).settled(tolerance=measure_in_levels)

    def _answer_tick(self, observations: Tensor, noise: Tensor, start_time: float) -> TickAnswer:
        """Return the answer of a tick, witnessed; of the plain loop where the network gives something else alone."""
        if self._witness is None:
            return self.mode.answer(self._make_tick(observations, noise, start_time))
        self._witness.begin_tick(in_time=isinstance(self.mode, Deadline))
        try:
            answer = self.mode.answer(self._make_tick(observations, noise, start_time))
            self._witness.compare_calls()
            return replace(answer, solution=replace(answer.solution, witnessed=self._witness.count))
        except WitnessDisagrees as error:
            if self._settings.strict:
                raise
            difference = str(error)
        warnings.warn(f"forerun: {difference}", WitnessWarning, stacklevel=4)
        self._settings = replace(self._settings, method=Sequential())
        self._witness = None
        self._note = difference
        return self.mode.answer(self._make_tick(observations, noise, start_time))

    def _make_tick(self, observations: Tensor, noise: Tensor, start_time: float) -> Tick:
        return Tick(
            plan=self.plan,
            denoiser=ObservedDenoiser(self._denoiser, self.plan, observations, self._witness),
            noise=noise,
            guessed_outputs=self._guess_outputs(),
            last_sample=shift_chunks(self._sample, self._executed),
            warm=tuple(self._warm),
            settings=self._settings,
            start_time=start_time,
        )

    def _make_chunk(self, answer: TickAnswer) -> Tensor:
        """Return the chunk of an answer, clipped, and with an action held where the network failed."""
        chunk = self.mode.actions(answer.sample)
        if self._clip is not None:
            chunk = chunk.clamp(-self._clip, self._clip)
        if any(answer.bad):
            chunk = self._hold_action(chunk, answer)
        return chunk

    def _next_noise(self) -> Tensor:
        fresh = self._noises.draw_fresh()
        if self._noise is None or not self.mode.shifts or not any(self._warm):
            return fresh
        shifted = shift_noise(self._noise, self._executed, fresh)
        return select_environments(self._warm, shifted, fresh)

    def _guess_outputs(self) -> Tensor:
        """Return the outputs of the last tick for this one; zeros where there is none."""
        zeros = torch.zeros_like(self._outputs)
        if not any(self._warm):
            return zeros
        return select_environments(self._warm, shift_chunks(self._outputs, self._executed), zeros)

    def _hold_action(self, chunk: Tensor, answer: TickAnswer) -> Tensor:
        """Return the chunk with the next action of the last good one held, where the network failed."""
        lost = [index for index, bad in enumerate(answer.bad) if bad and not self._good[index]]
        if lost or self._chunk is None:
            raise NotFinite(
                f"the denoiser gave values that are not finite for environment(s) {lost}, and there is no earlier "
                "chunk to hold an action of; look at its weights and at the scaling of the observation"
            )
        next_action = min(self._first + self._executed, chunk.shape[1] - 1)
        held_chunk = self._chunk[:, next_action : next_action + 1].expand_as(chunk)
        return select_environments(answer.bad, held_chunk.unsqueeze(0), chunk.unsqueeze(0))[0]

    def _remember(self, chunk: Tensor, answer: TickAnswer) -> None:
        self._chunk, self._sample, self._outputs = chunk, answer.sample, answer.outputs
        self._warm = [self.mode.carries and not bad for bad in answer.bad]
        self._good = [True] * self._count

    def _environment_numbers(self, selection: EnvironmentSelection) -> list[int]:
        if selection is None:
            return list(range(self._count))
        entries = torch.as_tensor(selection).flatten()
        numbers = entries
        if entries.dtype == torch.bool:
            if len(entries) != self._count:
                self._refuse_selection(entries)
            numbers = entries.nonzero().flatten()
        listed_numbers: list[int] = numbers.tolist()
        if any(number not in range(self._count) for number in listed_numbers):
            self._refuse_selection(entries)
        return listed_numbers

    def _refuse_selection(self, entries: Tensor) -> None:
        raise ValueError(
            f"selection = {entries.tolist()} does not choose among {self._count} environments; pass their numbers, "
            f"0 .. {self._count - 1}, or one truth value each"
        )

    def _refuse_unready(self) -> None:
        if all(self._ready):
            return
        waiting = [index for index, ready in enumerate(self._ready) if not ready]
        raise ValueError(
            f"environment(s) {waiting} of {self._count} are between episodes: call sampler.reset({waiting}) when "
            "theirs begin, or sampler.reset() for all, before act"
        )


def compiled_widths(length: int) -> list[int]:
    """Return the rounds' widths that a network is compiled for: 1, and from a fraction of all steps up to all."""
    widths = {max(round(length * share), 1) for share in COMPILED_SHARES}
    return sorted({1, *widths})
