"""sample: a bare denoising network and any diffusers scheduler, in parallel over the steps; no pipeline needed."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Unpack

import torch
from torch import Tensor

from forerun.diffusion.schedulers.noise import Generators
from forerun.diffusion.schedulers.ordinary_loop import OrdinaryLoop, SampleDenoiser, check_prediction
from forerun.diffusion.schedulers.quirks import (
    INITIAL_SCALE,
    TRAIN_TIMESTEPS,
    describe_learned_variance,
    describe_patch,
    is_scheduler,
    lacks_timesteps,
)
from forerun.diffusion.schedulers.sample_witness import SampleWitness
from forerun.diffusion.schedulers.sampling import SchedulerSampling
from forerun.engine.backends.counted_evaluate import is_evaluated_apart
from forerun.engine.guesses import Probe
from forerun.engine.numerics.in_place import InPlaceWatch
from forerun.engine.numerics.noise import remember_generators
from forerun.engine.options import SolveKeywords, SolveOptions
from forerun.engine.solution import Solution
from forerun.engine.solve import solve
from forerun.engine.tolerance import PerStep
from forerun.engine.witness import WitnessDisagrees, WitnessWarning

SAMPLE_DEFAULTS = SolveOptions(guess=Probe(8))
UNWITNESSED_SAMPLE = "Neither denoiser nor scheduler were called as witnesses (witness=False)."
DIFFERENTIABLE_NOTE = (
    "The noise requires a gradient, so the ordinary loop drew the sample; pass noise.detach() to solve in parallel."
)
LOST_GRADIENT = (
    "The sample carries no gradient of the denoiser's weights; run the loop yourself for one, or call within "
    "torch.no_grad() where none is needed."
)


def sample(
    denoiser: SampleDenoiser,
    scheduler: Any,
    noise: Tensor,
    *,
    steps: int | None = None,
    generator: Generators = None,
    step_options: Mapping[str, Any] = MappingProxyType({}),
    options: SolveOptions | None = None,
    **keywords: Unpack[SolveKeywords],
) -> Solution:
    """Sample with an unmodified diffusers scheduler, many steps at a time.

    The sample is that of the loop that needs no library, in fewer rounds:

        x = noise * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            x = scheduler.step(denoiser(scheduler.scale_model_input(x, t), t), t, x, generator=generator)[0]

    Args:
        denoiser: predicts what the scheduler was configured for (noise, velocity, sample, flow), for many samples at
            once: `(samples (N, *shape), timesteps (N,)) -> (N, *shape)`, guidance included.
        scheduler: a diffusers scheduler; copies of it are stepped.
        noise: standard normal, `(B, *shape)`.
        steps: for `scheduler.set_timesteps`; None where the scheduler already has its timesteps.
        generator: of the noise of a stochastic scheduler, handed to its step; left as the loop would leave it.
        step_options: further arguments of the scheduler's step, such as `{"eta": 1.0}`.
        options: how to solve, as one object. A plain number as tolerance is the root mean square by which a sample may
            be off, in units of the standard deviation of the samples of its step.
        keywords: the options one by one; `SolveOptions` says what they mean. `guess` is `Probe(8)` by default.

    Returns:
        A `Solution` whose `value` is the sample, `(B, *shape)`.

    The denoiser is also called for a few steps alone, and the scheduler stepped in order beside its replica; where they
    give something else, the loop above draws the sample, with one `WitnessWarning`. It does so too, with the gradient,
    where the noise requires one.

    Raises:
        WitnessDisagrees: `strict=True`, and denoiser or scheduler give something else.
        TypeError: the scheduler is not one of diffusers, or an option is of the wrong kind.
        ValueError: there are no timesteps, more than the scheduler was trained with, or the noise is not finite.
    """
    options = SolveOptions.gather(options, keywords).over(SAMPLE_DEFAULTS)
    scheduler = _prepare_scheduler(scheduler, steps, noise)
    first = noise * float(INITIAL_SCALE.read(scheduler))
    loop = OrdinaryLoop(denoiser, scheduler, first, generator, step_options)
    restore_generators = remember_generators(noise.device)
    if noise.requires_grad and torch.is_grad_enabled():
        return _run_differentiably(loop, options)
    try:
        return _solve_loop(loop, options)
    except WitnessDisagrees as disagreement:
        if options.strict:
            raise
        note = f"The ordinary loop drew the sample: {disagreement}."
    warnings.warn(f"forerun: {note}", WitnessWarning, stacklevel=2)
    restore_generators()
    with torch.no_grad():
        return loop.run(note)


def _run_differentiably(loop: OrdinaryLoop, options: SolveOptions) -> Solution:
    """Return the solution of the ordinary loop, with its gradient.

    Raises:
        ValueError: `strict` is set.
    """
    if options.strict:
        raise ValueError(
            "the noise requires a gradient, which a solved sample does not carry; leave strict=True out for the "
            "ordinary loop, or pass noise.detach()"
        )
    return loop.run(DIFFERENTIABLE_NOTE)


def _solve_loop(loop: OrdinaryLoop, options: SolveOptions) -> Solution:
    """Return the solution of the replica of a loop, witnessed.

    Raises:
        WitnessDisagrees: the user's denoiser or scheduler gives something else.
    """
    timesteps = list(loop.scheduler.timesteps)

    def predict(steps: Tensor, samples: Tensor) -> Tensor:
        times = torch.stack([torch.as_tensor(timesteps[step]) for step in steps.tolist()])
        scaled = process.scale_samples(steps, samples).flatten(0, 1)
        row_times = times.to(samples.device).repeat_interleave(samples.shape[1])
        predicted = _call_together(loop.denoiser, scaled, row_times, count=len(steps))
        check_prediction(predicted, scaled)
        predicted = predicted.reshape(samples.shape)
        if witness is not None and not is_evaluated_apart():
            witness.record(steps, samples, predicted)
        return predicted

    process = SchedulerSampling(
        predict,
        copy.deepcopy(loop.scheduler),
        loop.first,
        timesteps,
        generator=loop.generator,
        step_options=loop.step_options,
    )
    process.kind = loop.denoiser
    settings = options.settled(tolerance=lambda value: PerStep(value, process.levels))
    witness = None
    if settings.witness is not None:
        witness = SampleWitness(loop, process, settings.witness)
        _refuse_difference(witness.find_scheduler_difference())
    options = replace(options, tolerance=settings.tolerance)
    solution = solve(process, process.state(loop.first), options=options)
    solution = replace(solution, state=process.sample_of(solution.state))
    if not solution.status.done:
        return solution
    solution = _witness_solution(solution, witness)
    process.finish()
    return solution


def _call_together(
    denoiser: SampleDenoiser,
    scaled: Tensor,
    times: Tensor,
    *,
    count: int,
) -> Tensor:
    """Return what the denoiser predicts for the samples of some steps together.

    Raises:
        WitnessDisagrees: it takes no more samples than those of one step, or works on them in place.
    """
    watch = InPlaceWatch()
    watch.begin_call([scaled])
    try:
        predicted = denoiser(scaled, times)
    except Exception as error:
        if count == 1:
            raise
        reason = f"the denoiser cannot take {len(scaled)} samples, those of {count} steps, together"
        raise WitnessDisagrees(f"{reason} ({type(error).__name__}: {error})") from error
    if watch.is_changed([scaled]):
        raise WitnessDisagrees("the denoiser changes its samples in place, which a step then starts from")
    return predicted


def _witness_solution(solution: Solution, witness: SampleWitness | None) -> Solution:
    if witness is None:
        return replace(solution, notes=(*solution.notes, UNWITNESSED_SAMPLE))
    _refuse_difference(witness.find_difference())
    notes = (*solution.notes, LOST_GRADIENT) if witness.loses_gradient else solution.notes
    return replace(solution, notes=notes, witnessed=witness.count)


def _refuse_difference(difference: str | None) -> None:
    if difference is not None:
        raise WitnessDisagrees(difference)


def _prepare_scheduler(scheduler: Any, steps: int | None, noise: Tensor) -> Any:
    """Return a copy of the scheduler with its timesteps, if they and the noise make sense."""
    name = type(scheduler).__name__
    if not is_scheduler(scheduler):
        raise TypeError(f"{name} is not a diffusers scheduler; pass one such as diffusers.DDIMScheduler()")
    if steps is not None:
        _check_steps(scheduler, steps)
    _check_noise(noise)
    obstacle = describe_patch(scheduler) or describe_learned_variance(scheduler)
    if obstacle is not None:
        raise ValueError(obstacle)
    scheduler = copy.deepcopy(scheduler)
    if steps is not None:
        scheduler.set_timesteps(steps, device=noise.device)
    if lacks_timesteps(scheduler, steps):
        raise ValueError(
            f"{name} has no timesteps yet; pass steps=50, or call scheduler.set_timesteps(50), which must set "
            "scheduler.timesteps"
        )
    return scheduler


def _check_steps(scheduler: Any, steps: int) -> None:
    name = type(scheduler).__name__
    max_steps = TRAIN_TIMESTEPS.read(scheduler)
    if steps < 1 or (max_steps is not None and steps > max_steps):
        raise ValueError(f"steps = {steps}, but {name} takes 1 .. {max_steps}; pass one of these, such as steps=50")


def _check_noise(noise: Tensor) -> None:
    if noise.dim() < 2:
        raise ValueError(
            f"the noise has shape {list(noise.shape)}; its first axis is the batch: torch.randn(batch, *shape), of one "
            "sample noise.unsqueeze(0)"
        )
    if not torch.isfinite(noise).all():
        raise ValueError("the noise holds values that are not finite; draw it with torch.randn(batch, *shape)")
