"""One tick as a Process: from noise to a chunk of actions, given what was observed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from forerun.engine.numerics.tree import Tree
from forerun.engine.process import Affine, Process
from forerun.engine.witness import WitnessDisagrees
from forerun.policy.network_witness import NetworkWitness
from forerun.policy.plan import PolicyDenoiser, TickPlan


@final
class ObservedDenoiser:
    """The denoiser at one observation, as the outputs of many steps.

    Args:
        denoiser: the network.
        plan: the plan of the tick.
        observation: `(B, *obs)`.
        witness: keeps what the network gives for some steps; None where none is wanted.
    """

    def __init__(
        self,
        denoiser: PolicyDenoiser,
        plan: TickPlan,
        observation: Tensor,
        witness: NetworkWitness | None = None,
    ) -> None:
        self._denoiser = denoiser
        self._witness = witness
        self._plan = plan
        self._observation = observation
        self._excluded: Tensor | None = None

    def exclude(self, environments: Sequence[bool]) -> ObservedDenoiser:
        """Return a denoiser with outputs of zero for some environments, whatever the network gives for them."""
        other = ObservedDenoiser(self._denoiser, self._plan, self._observation, self._witness)
        other._excluded = torch.tensor(environments, device=self._observation.device).reshape(-1, 1, 1)
        return other

    def _call_network(
        self,
        inputs: Tensor,
        timesteps: Tensor,
        observations: Tensor,
        *,
        count: int,
    ) -> Any:
        """Return what the network gives for some steps together.

        Raises:
            WitnessDisagrees: it takes no more chunks than those of one step.
        """
        try:
            return self._denoiser(inputs, timesteps, observations)
        except Exception as error:
            if count == 1 or self._witness is None:
                raise
            reason = f"the policy's network cannot take {len(inputs)} chunks, those of {count} steps, together"
            raise WitnessDisagrees(
                f"{reason} ({type(error).__name__}: {error}). The steps are taken one a call, as in the plain loop."
            ) from error

    def __call__(self, steps: Tensor, samples: Tensor) -> Tensor:
        """Return outputs `(W, B, H, A)` of samples, by one call of the network with `W * B` of them."""
        plan, count = self._plan, samples.shape[1]
        inputs = plan.scale_inputs(steps, samples).flatten(0, 1)
        timesteps = plan.timesteps[steps]
        if count > 1:
            timesteps = timesteps.repeat_interleave(count)
        observations = self._observation.expand(len(steps), *self._observation.shape).flatten(0, 1)
        predictions = self._call_network(inputs, timesteps, observations, count=len(steps))
        _refuse_predictions(predictions, inputs)
        if self._witness is not None:
            self._witness.record(steps, (inputs, timesteps, observations), predictions)
        predictions = predictions.reshape(samples.shape).to(samples.dtype)
        # clipping would make a sound action of an infinite one: here it becomes nan, which nothing hides
        outputs = plan.to_outputs(steps, samples, predictions).add(predictions, alpha=0)
        if self._excluded is None:
            return outputs
        return outputs.masked_fill(self._excluded, 0.0)


@final
class AffineTick(Process):
    """A tick whose steps are affine, `x_{i+1} = a_i x_i + b_i o_i + sigma_i z_i`.

    State and input: noisy chunks `(B, H, A)`; output: denoised ones.

    Args:
        plan: the plan of the tick.
        denoiser: gives the outputs.
        noise: `(1 + length, B, H, A)` where steps add noise, else `(1, B, H, A)`.
    """

    batch_dims = 1

    def __init__(self, plan: TickPlan, denoiser: ObservedDenoiser, noise: Tensor) -> None:
        assert plan.factors is not None, "steps without factors are a SteppedTick"
        self.length = plan.length
        self._denoiser = denoiser
        self._state_factors, self._output_factors = plan.factors
        self._shifts = _step_noise(plan, noise)

    def evaluate(self, steps: Tensor, inputs: Tensor) -> Tensor:
        return self._denoiser(steps, inputs)

    def advance(self, step: int, state: Tensor, output: Tensor) -> Tensor:
        next_state = self._state_factors[step] * state + self._output_factors[step] * output
        if self._shifts is None:
            return next_state
        return next_state + self._shifts[step]

    def affine(self, steps: Tensor) -> Affine:
        """See `Process.affine`."""
        shift = None if self._shifts is None else self._shifts[steps]
        return Affine(
            self._state_factors[steps].flatten(),
            self._output_factors[steps].flatten(),
            shift,
        )


@final
class SteppedTick(Process):
    """A tick by a scheduler that keeps a history, or whose steps are not affine.

    State: noisy chunks `(B, H, A)` and the scheduler's history; input: the chunks; output: denoised ones.

    Args:
        plan: the plan of the tick.
        denoiser: gives the outputs.
        noise: `(1 + length, B, H, A)` where steps add noise, else `(1, B, H, A)`.
    """

    counts_whole_state = False  # a scheduler's history serves the chunk
    batch_dims = 1

    def __init__(self, plan: TickPlan, denoiser: ObservedDenoiser, noise: Tensor) -> None:
        self.length = plan.length
        self._sampling = plan.sampling
        self._denoiser = denoiser
        self._shifts = _step_noise(plan, noise)

    def observe(self, state: Tree) -> Tensor:
        return self._sampling.sample_of(state)

    def evaluate(self, steps: Tensor, inputs: Tensor) -> Tensor:
        return self._denoiser(steps, inputs)

    def advance(self, step: int, state: Tree, output: Tensor) -> Tree:
        next_state = self._sampling.advance(step, state, output)
        if self._shifts is None:
            return next_state
        # the scheduler's noise, which is fixed, gives way to that of the tick
        sample = self._sampling.sample_of(next_state) - self._sampling.noise_at(step) + self._shifts[step]
        return self._sampling.replace_sample(next_state, sample)


def begin_tick(plan: TickPlan, denoiser: ObservedDenoiser, noise: Tensor) -> tuple[Process, Tree]:
    """Return the process of a tick, and its first state."""
    first_sample = plan.first_sigma * noise[0]
    if plan.factors is not None:
        return AffineTick(plan, denoiser, noise), first_sample
    return SteppedTick(plan, denoiser, noise), plan.sampling.state(first_sample)


def _step_noise(plan: TickPlan, noise: Tensor) -> Tensor | None:
    """Return the noise that each step adds, `(length, B, H, A)`; None where steps add none."""
    if not plan.adds_noise:
        return None
    return plan.sigma * noise[1:]


def _refuse_predictions(predictions: Any, inputs: Tensor) -> None:
    if isinstance(predictions, Tensor) and predictions.shape == inputs.shape:
        return
    kind = list(predictions.shape) if isinstance(predictions, Tensor) else type(predictions).__name__
    raise ValueError(
        f"the denoiser was given {len(inputs)} chunks of shape {list(inputs.shape[1:])} and returned {kind}; "
        "return a tensor of the same shape as the actions"
    )
