"""Adapters: policies of other code bases, as they are, whose chunks are sampled many steps at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, final

from torch import Tensor

from forerun.policy.modes import Mode, Warm
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

    def make_sampler(self, observation: Tensor, mode: Mode, sampler_options: dict[str, Any]) -> Sampler:
        """Return a sampler for observations `(B, *obs)`; what the user passed wins over what was read."""
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
        return Sampler(self.denoiser, self.scheduler, self.shape, mode=mode, **{**arguments, **sampler_options})


@final
class PolicyAdapter:
    """A policy in whose place of sampling a `Sampler` stands, until `restore()` or the end of a `with` block.

    Args:
        policy: whose `reset()` begins an episode, for the sampler too.
        model: whose `conditional_sample` is replaced.
        sample: what stands in its place, given this object and the arguments of the call.

    Attributes:
        sampler: made at the first chunk, when it is known how many environments there are; None before.
    """

    def __init__(self, policy: Any, model: Any, sample: Callable[..., Tensor]) -> None:
        self.sampler: Sampler | None = None
        self._policy = policy
        self._model = model
        self._reset = policy.reset
        model.conditional_sample = partial(sample, self)
        policy.reset = self._begin_episode

    def sample_chunks(self, make_sampler: Callable[[Tensor], Sampler], observation: Tensor) -> Tensor:
        """Return chunks `(B, H, A)` for what was observed, `(B, *obs)`; the sampler is made the first time."""
        if self.sampler is None:
            self.sampler = make_sampler(observation)
            self.sampler.reset()
        return self.sampler.act(observation)

    def restore(self) -> None:
        """Let the policy sample as it did."""
        del self._model.conditional_sample
        del self._policy.reset

    def _begin_episode(self) -> None:
        self._reset()
        if self.sampler is not None:
            self.sampler.reset()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.restore()


def lerobot(policy: Any, *, mode: Mode = Warm(), **sampler_options: Any) -> PolicyAdapter:
    """Let LeRobot's `DiffusionPolicy` sample many steps at a time.

        with lerobot(policy, mode=Warm()) as adapter:
            action = policy.select_action(batch)
            adapter.sampler.report

    Encoders, queues, normalisation stay LeRobot's own; the scheduler is the policy's, unmodified. The noise is the
    sampler's, by its `seed`.

    Args:
        policy: the policy.
        mode: see `Sampler`.
        sampler_options: keywords of `Sampler`: `window`, `tolerance`, `seed`, ...

    Raises:
        TypeError: it is another kind of policy.
    """
    model: Any = getattr(policy, "diffusion", None)
    needed_attributes = ("unet", "noise_scheduler", "num_inference_steps")
    _refuse_stranger(policy, model, needed_attributes, "LeRobot's DiffusionPolicy")

    def sample(  # noqa: PLR0917, LeRobot's own signature
        adapter: PolicyAdapter,
        batch_size: int,
        global_cond: Tensor | None = None,
        generator: Any = None,
        noise: Any = None,
    ) -> Tensor:
        if global_cond is None or generator is not None or noise is not None:
            raise ValueError(
                "noise and generators are the sampler's own here; leave them out and write lerobot(policy, seed=0), "
                "or sample with the policy itself, after adapter.restore()"
            )
        recipe = _read_lerobot(policy.config, model)
        return adapter.sample_chunks(
            lambda observation: recipe.make_sampler(observation, mode, sampler_options),
            global_cond,
        )

    return PolicyAdapter(policy, model, sample)


def diffusion_policy(policy: Any, *, mode: Mode = Warm(), **sampler_options: Any) -> PolicyAdapter:
    """Let a policy of the `diffusion_policy` code base (Chi et al., arXiv 2303.04137) sample many steps at a time.

    For policies that are given observations as a condition, global or local (`obs_as_global_cond=True`), as those of
    images are; not for those that paint them into the trajectory.

    Args:
        policy: such as `DiffusionUnetLowdimPolicy`, `DiffusionUnetImagePolicy`.
        mode: see `Sampler`.
        sampler_options: keywords of `Sampler`.

    Raises:
        TypeError: it is another kind of policy.
        ValueError: at the first chunk, if observations are painted in.
    """
    needed_attributes = ("model", "noise_scheduler", "num_inference_steps")
    _refuse_stranger(policy, policy, needed_attributes, "a policy of diffusion_policy")

    def sample(  # noqa: PLR0917, the signature of that code base
        adapter: PolicyAdapter,
        condition_data: Tensor,
        condition_mask: Tensor,
        local_cond: Tensor | None = None,
        global_cond: Tensor | None = None,
        generator: Any = None,
        **step_options: Any,
    ) -> Tensor:
        name = "local_cond" if global_cond is None else "global_cond"
        observation = local_cond if global_cond is None else global_cond
        if observation is None or bool(condition_mask.any()):
            raise ValueError(
                "this policy paints observations into the trajectory, which a sampler of actions cannot keep to; use "
                "one that was trained with obs_as_global_cond=True"
            )
        recipe = _read_diffusion_policy(policy, name, condition_data, step_options)
        return adapter.sample_chunks(
            lambda observation: recipe.make_sampler(observation, mode, sampler_options),
            observation,
        )

    return PolicyAdapter(policy, policy, sample)


def _read_lerobot(config: Any, model: Any) -> SamplerRecipe:
    def denoise(actions: Tensor, timesteps: Tensor, observation: Tensor) -> Any:
        return model.unet(actions, timesteps, global_cond=observation)

    return SamplerRecipe(
        denoiser=denoise,
        scheduler=model.noise_scheduler,
        shape=(config.horizon, config.action_feature.shape[0]),
        steps=model.num_inference_steps,
        executed=config.n_action_steps,
        first=config.n_obs_steps - 1,
        like=next(model.parameters()),
        step_options={},
    )


def _read_diffusion_policy(
    policy: Any, condition_name: str, like: Tensor, step_options: dict[str, Any]
) -> SamplerRecipe:
    def denoise(actions: Tensor, timesteps: Tensor, observation: Tensor) -> Any:
        conditions = {"local_cond": None, "global_cond": None, condition_name: observation}
        return policy.model(actions, timesteps, **conditions)

    return SamplerRecipe(
        denoiser=denoise,
        scheduler=policy.noise_scheduler,
        shape=like.shape[1:],
        steps=policy.num_inference_steps,
        executed=policy.n_action_steps,
        first=_first_executed_action(policy),
        like=like,
        step_options=step_options,
    )


def _first_executed_action(policy: Any) -> int:
    """Return the index in a chunk of the first action that a policy of diffusion_policy executes."""
    if getattr(policy, "pred_action_steps_only", False):
        return 0
    last_observed: int = policy.n_obs_steps - 1
    follows_convention = getattr(policy, "oa_step_convention", True)
    return last_observed if follows_convention else last_observed + 1


def _refuse_stranger(policy: Any, model: Any, names: tuple[str, ...], kind: str) -> None:
    missing = [name for name in names if not hasattr(model, name)]
    if not callable(getattr(model, "conditional_sample", None)):
        missing = missing or ["conditional_sample"]
    if missing:
        raise TypeError(
            f"{type(policy).__name__} is not {kind}: it has no {', '.join(missing)}; for a "
            "network of yours write Sampler(denoiser, scheduler, (horizon, dimensions))"
        )
