"""Adapters: policies of other code bases, as they are, whose chunks are sampled ahead of order."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Self, final

from torch import Tensor

from forerun.policy.modes import Mode, Warm
from forerun.policy.sampler import Sampler


@final
class Ahead:
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
        self._policy, self._model, self._reset = policy, model, policy.reset
        model.conditional_sample = partial(sample, self)
        policy.reset = self._begin

    def chunks(self, make: Callable[..., Sampler], observation: Tensor) -> Tensor:
        """Chunks `(B, H, A)` for what was observed, `(B, *obs)`, by a sampler that `make` makes."""
        if self.sampler is None:
            self.sampler = make(environments=len(observation), observation=observation.shape[1:])
            self.sampler.reset()
        return self.sampler.act(observation)

    def restore(self) -> None:
        """Let the policy sample as it did."""
        del self._model.conditional_sample
        del self._policy.reset

    def _begin(self) -> None:
        self._reset()
        if self.sampler is not None:
            self.sampler.reset()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.restore()


def lerobot(policy: Any, *, mode: Mode = Warm(), **options: Any) -> Ahead:
    """LeRobot's `DiffusionPolicy`, ahead of order.

        with lerobot(policy, mode=Warm()) as ahead:
            action = policy.select_action(batch)
            ahead.sampler.report

    Encoders, queues, normalisation stay LeRobot's own; the scheduler is the policy's, unmodified. The noise is the
    sampler's, by its `seed`.

    Args:
        policy: the policy.
        mode: see `Sampler`.
        options: of `Sampler`: `window`, `tolerance`, `seed`, ...

    Raises:
        TypeError: it is no such policy.
    """
    model: Any = getattr(policy, "diffusion", None)
    _refuse_stranger(policy, model, ("unet", "noise_scheduler", "num_inference_steps"), "LeRobot's DiffusionPolicy")
    config = policy.config

    def denoiser(actions: Tensor, t: Tensor, observation: Tensor) -> Any:
        return model.unet(actions, t, global_cond=observation)

    def make(**given: Any) -> Sampler:
        shape = (config.horizon, config.action_feature.shape[0])
        place = {"executed": config.n_action_steps, "first": config.n_obs_steps - 1}
        like = next(model.parameters())
        found = {"steps": model.num_inference_steps, "dtype": like.dtype, "device": like.device, **place, **given}
        return Sampler(denoiser, model.noise_scheduler, shape, mode=mode, **found, **options)

    def sample(  # noqa: PLR0917, LeRobot's own signature
        ahead: Ahead, batch_size: int, global_cond: Tensor | None = None, generator: Any = None, noise: Any = None
    ) -> Tensor:
        if global_cond is None or generator is not None or noise is not None:
            raise ValueError(
                "noise and generators are the sampler's own here; leave them out and write lerobot(policy, seed=0), "
                "or sample with the policy itself, after ahead.restore()"
            )
        return ahead.chunks(make, global_cond)

    return Ahead(policy, model, sample)


def diffusion_policy(policy: Any, *, mode: Mode = Warm(), **options: Any) -> Ahead:
    """A policy of the `diffusion_policy` code base (Chi et al., arXiv 2303.04137), ahead of order.

    For policies that are given observations as a condition, global or local (`obs_as_global_cond=True`), as those of
    images are; not for those that paint them into the trajectory.

    Args:
        policy: such as `DiffusionUnetLowdimPolicy`, `DiffusionUnetImagePolicy`.
        mode: see `Sampler`.
        options: of `Sampler`.

    Raises:
        TypeError: it is no such policy.
        ValueError: at the first chunk, if observations are painted in.
    """
    _refuse_stranger(
        policy, policy, ("model", "noise_scheduler", "num_inference_steps"), "a policy of diffusion_policy"
    )

    def make(shape: Any, name: str, stepping: dict[str, Any], like: Tensor, **given: Any) -> Sampler:
        def denoiser(actions: Tensor, t: Tensor, observation: Tensor) -> Any:
            return policy.model(actions, t, **{"local_cond": None, "global_cond": None, name: observation})

        late = 0 if getattr(policy, "oa_step_convention", True) else 1
        first = 0 if getattr(policy, "pred_action_steps_only", False) else policy.n_obs_steps - 1 + late
        found = {"steps": policy.num_inference_steps, "executed": policy.n_action_steps, "first": first, **given}
        kind: dict[str, Any] = {"dtype": like.dtype, "device": like.device, "options": stepping}
        return Sampler(denoiser, policy.noise_scheduler, shape, mode=mode, **kind, **found, **options)

    def sample(  # noqa: PLR0917, the signature of that code base
        ahead: Ahead,
        condition_data: Tensor,
        condition_mask: Tensor,
        local_cond: Tensor | None = None,
        global_cond: Tensor | None = None,
        generator: Any = None,
        **stepping: Any,
    ) -> Tensor:
        observation = local_cond if global_cond is None else global_cond
        if observation is None or bool(condition_mask.any()):
            raise ValueError(
                "this policy paints observations into the trajectory, which a sampler of actions cannot keep to; use "
                "one that was trained with obs_as_global_cond=True"
            )
        name = "local_cond" if global_cond is None else "global_cond"
        return ahead.chunks(partial(make, condition_data.shape[1:], name, stepping, condition_data), observation)

    return Ahead(policy, policy, sample)


def _refuse_stranger(policy: Any, model: Any, names: tuple[str, ...], what: str) -> None:
    missing = [name for name in names if not hasattr(model, name)]
    if missing or not callable(getattr(model, "conditional_sample", None)):
        raise TypeError(
            f"{type(policy).__name__} is not {what}: it has no {', '.join(missing or ['conditional_sample'])}; for a "
            "network of yours write Sampler(denoiser, scheduler, (horizon, dimensions))"
        )
