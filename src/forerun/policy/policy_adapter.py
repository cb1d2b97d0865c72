"""PolicyAdapter: a policy in whose place of sampling a `Sampler` stands, and what the sampler is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, final

from torch import Tensor

from forerun.engine.numerics.noise import mix_seed
from forerun.policy.modes import Mode
from forerun.policy.sampler import Sampler


@dataclass(frozen=True)
class SamplerRecipe:
    """What the adapter of a code base reads off a policy, to make its sampler.

    Attributes:
        denoiser: the policy's network, as a `Sampler` calls it.
        scheduler: the policy's scheduler.
        shape: `(H, A)` of a chunk.
        steps: of the scheduler.
        executed: actions that are executed of a chunk.
        first: index of the first of them.
        like: a tensor of the dtype and on the device of the network.
        step_options: further arguments of the scheduler's step.
    """

    denoiser: Callable[[Tensor, Tensor, Tensor], Tensor]
    scheduler: Any
    shape: Sequence[int]
    steps: int
    executed: int
    first: int
    like: Tensor
    step_options: dict[str, Any]

    def make_sampler(
        self, observation: Tensor, mode: Mode, sampler_options: dict[str, Any], *, number: int = 0
    ) -> Sampler:
        """Return a sampler for observations `(B, *obs)`; what the user passed wins over what was read.

        Args:
            observation: the first one.
            mode: of the sampler.
            sampler_options: what the user passed.
            number: of samplers that the policy had before; each draws other noise.
        """
        arguments: dict[str, Any] = {
            "steps": self.steps,
            "executed": self.executed,
            "first": self.first,
            "dtype": self.like.dtype,
            "device": self.like.device,
            "environments": len(observation),
            "observation": observation.shape[1:],
            "step_options": self.step_options,
        }
        arguments.update(sampler_options)
        if number:
            arguments["seed"] = mix_seed(arguments.get("seed", 0), number)
        return Sampler(self.denoiser, self.scheduler, self.shape, mode=mode, **arguments)

    def fingerprint(self, observation: Tensor) -> tuple[Any, ...]:
        """Return what a sampler for such observations was made of; where it differs, another one is needed."""
        return (
            id(self.scheduler),
            str(dict(self.scheduler.config)),
            tuple(self.shape),
            self.steps,
            self.executed,
            self.first,
            (self.like.dtype, self.like.device),
            tuple(observation.shape),
            sorted((name, _plain_or_identity(value)) for name, value in self.step_options.items()),
        )


@final
class PolicyAdapter:
    """A policy in whose place of sampling a `Sampler` stands, until `restore()` or the end of a `with` block.

    Args:
        policy: whose `reset()` begins an episode, for the sampler too.
        model: whose `conditional_sample` is replaced.
        sample: what stands in its place, given this object and the arguments of the call.

    Attributes:
        sampler: made at the first chunk, when it is known how many environments there are, and again where their
            number, the scheduler, its steps or their options have changed; None before.
    """

    def __init__(self, policy: Any, model: Any, sample: Callable[..., Tensor]) -> None:
        _take_off_adapter(model)
        self.sampler: Sampler | None = None
        self._policy = policy
        self._model = model
        self._reset = policy.reset
        self._own_reset = vars(policy).get("reset")
        self._own_sample = vars(model).get("conditional_sample")
        self._fingerprint: tuple[Any, ...] = ()
        self._sampler_count = 0
        self._is_on = True
        model.conditional_sample = partial(sample, self)
        policy.reset = self._begin_episode

    def sample_chunks(
        self,
        recipe: SamplerRecipe,
        observation: Tensor,
        *,
        mode: Mode,
        sampler_options: dict[str, Any],
    ) -> Tensor:
        """Return chunks `(B, H, A)` for what was observed, `(B, *obs)`."""
        fingerprint = recipe.fingerprint(observation)
        if self.sampler is None or fingerprint != self._fingerprint:
            self.sampler = recipe.make_sampler(observation, mode, sampler_options, number=self._sampler_count)
            self.sampler.reset()
            self._fingerprint = fingerprint
            self._sampler_count += 1
        return self.sampler.act(observation)

    def restore(self) -> None:
        """Let the policy sample as it did; a second call does nothing."""
        if not self._is_on:
            return
        self._is_on = False
        _set_back(self._model, "conditional_sample", self._own_sample)
        _set_back(self._policy, "reset", self._own_reset)

    def _begin_episode(self) -> None:
        self._reset()
        if self.sampler is not None:
            self.sampler.reset()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.restore()


def _plain_or_identity(value: Any) -> Any:
    """Return what distinguishes a value from another: itself where it is plain, its identity where it is not."""
    return repr(value) if isinstance(value, bool | int | float | str | None) else str(id(value))


def _take_off_adapter(model: Any) -> None:
    """Restore a model that another adapter stands in front of."""
    current = vars(model).get("conditional_sample")
    if isinstance(current, partial) and current.args and isinstance(current.args[0], PolicyAdapter):
        current.args[0].restore()


def _set_back(owner: Any, name: str, own_value: Any) -> None:
    """Let an object have its own attribute again, or that of its class."""
    if own_value is not None:
        setattr(owner, name, own_value)
    elif name in vars(owner):
        delattr(owner, name)
