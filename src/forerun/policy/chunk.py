"""One tick as a Process: from noise to a chunk of actions, given what was observed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from forerun.engine.numerics.tree import Tree
from forerun.engine.process import Affine, Process
from forerun.policy.plan import Denoiser, Plan


@final
class Network:
    """The denoiser at one observation, as the outputs of many steps.

    Args:
        denoiser: the network.
        plan: of the schedule.
        observation: `(B, *obs)`.
    """

    def __init__(self, denoiser: Denoiser, plan: Plan, observation: Tensor) -> None:
        self._denoiser = denoiser
        self._plan = plan
        self._observation = observation
        self._out: Tensor | None = None

    def without(self, which: Sequence[bool]) -> Network:
        """The same, with outputs of zero for some environments, whatever the denoiser gives for them."""
        other = Network(self._denoiser, self._plan, self._observation)
        other._out = torch.tensor(which, device=self._observation.device).reshape(-1, 1, 1)
        return other

    def __call__(self, steps: Tensor, samples: Tensor) -> Tensor:
        """Outputs `(W, B, H, A)` of samples, by one call of the network with `W * B` of them."""
        plan, count = self._plan, samples.shape[1]
        scaled, times = plan.scaled(steps, samples), plan.timesteps[steps]
        seen = self._observation.expand(len(steps), *self._observation.shape).flatten(0, 1)
        found = self._denoiser(scaled.flatten(0, 1), times if count == 1 else times.repeat_interleave(count), seen)
        if not isinstance(found, Tensor) or found.shape != (len(seen), *samples.shape[2:]):
            came = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(
                f"the denoiser was given {len(seen)} chunks of shape {list(samples.shape[2:])} and returned {came}; "
                "return a tensor of the same shape as the actions"
            )
        found = found.reshape(samples.shape).to(samples.dtype)
        # clipping would make a sound action of an infinite one: here it becomes nan, which nothing hides
        outputs = plan.outputs(steps, samples, found).add(found, alpha=0)
        return outputs if self._out is None else outputs.masked_fill(self._out, 0.0)


@final
class Chunk(Process):
    """A tick whose steps are affine, `x_{i+1} = a_i x_i + b_i o_i + sigma_i z_i`.

    State and input: noisy chunks `(B, H, A)`; output: denoised ones.

    Args:
        plan: of the schedule.
        network: outputs.
        noise: `(1 + length, B, H, A)` where steps add noise, else `(1, B, H, A)`.
    """

    batch_dims = 1

    def __init__(self, plan: Plan, network: Network, noise: Tensor) -> None:
        assert plan.maps is not None
        self.length = plan.length
        self._network = network
        self._state, self._output = plan.maps
        self._shift = plan.sigma * noise[1:] if plan.random else None

    def evaluate(self, steps: Tensor, inputs: Tensor) -> Tensor:
        return self._network(steps, inputs)

    def advance(self, step: int, state: Tensor, output: Tensor) -> Tensor:
        following = self._state[step] * state + self._output[step] * output
        return following if self._shift is None else following + self._shift[step]

    def affine(self, steps: Tensor) -> Affine:
        """See `Process.affine`."""
        shift = None if self._shift is None else self._shift[steps]
        return Affine(self._state[steps].flatten(), self._output[steps].flatten(), shift)


@final
class Stepped(Process):
    """A tick by a scheduler that keeps a history, or whose steps are not affine.

    State: noisy chunks `(B, H, A)` and the scheduler's history; input: the chunks; output: denoised ones.

    Args:
        plan: of the schedule.
        network: outputs.
        noise: `(1 + length, B, H, A)` where steps add noise, else `(1, B, H, A)`.
    """

    batch_dims = 1

    def __init__(self, plan: Plan, network: Network, noise: Tensor) -> None:
        self.length = plan.length
        self._sampling = plan.sampling
        self._network = network
        self._shift = plan.sigma * noise[1:] if plan.random else None

    def observe(self, state: Tree) -> Tensor:
        return self._sampling.sample_of(state)

    def evaluate(self, steps: Tensor, inputs: Tensor) -> Tensor:
        return self._network(steps, inputs)

    def advance(self, step: int, state: Tree, output: Tensor) -> Tree:
        following = self._sampling.advance(step, state, output)
        if self._shift is None:
            return following
        # its own noise, which is fixed, gives way to that of the tick
        sample = self._sampling.sample_of(following) - self._sampling.noise_at(step) + self._shift[step]
        return self._sampling.replace_sample(following, sample)


def tick_process(plan: Plan, network: Network, noise: Tensor) -> tuple[Process, Tree]:
    """The process of a tick, and its first state."""
    first = plan.first * noise[0]
    if plan.maps is not None:
        return Chunk(plan, network, noise), first
    return Stepped(plan, network, noise), plan.sampling.state(first)
