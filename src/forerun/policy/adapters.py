"""Adapters: policies of other code bases, as they are, whose chunks are sampled many steps at a time."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor

from forerun.policy.modes import Mode, Warm
from forerun.policy.policy_adapter import PolicyAdapter, SamplerRecipe


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
        _refuse_generator(generator if noise is None else noise)
        if global_cond is None:
            raise ValueError(
                "conditional_sample was called without global_cond, the observations that a sampler needs; call "
                "policy.select_action(batch), or sample with the policy itself, after adapter.restore()"
            )
        recipe = _read_lerobot(policy.config, model)
        return adapter.sample_chunks(recipe, global_cond, mode=mode, sampler_options=sampler_options)

    return PolicyAdapter(policy, model, sample)


def diffusion_policy(policy: Any, *, mode: Mode = Warm(), **sampler_options: Any) -> PolicyAdapter:
    """Let a policy of the `diffusion_policy` code base (Chi et al., arXiv 2303.04137) sample many steps at a time.

    For policies that are given observations as a condition: global or local (`obs_as_global_cond=True`), as those of
    images are, or `cond` of a transformer (`obs_as_cond=True`); not for those that paint them into the trajectory.

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
        _refuse_generator(generator)
        conditions = {"local_cond": local_cond, "global_cond": global_cond, "cond": step_options.pop("cond", None)}
        conditions = {name: value for name, value in conditions.items() if value is not None}
        if len(conditions) != 1 or bool(condition_mask.any()):
            raise ValueError(
                "this policy paints observations into the trajectory, which a sampler of actions cannot keep to; use "
                "one that was trained with obs_as_global_cond=True"
            )
        (name, observation), *_ = conditions.items()
        _require_condition(policy.model, name)
        recipe = _read_diffusion_policy(policy, name, condition_data, step_options)
        return adapter.sample_chunks(recipe, observation, mode=mode, sampler_options=sampler_options)

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
        return policy.model(actions, timesteps, **{condition_name: observation})

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


def _refuse_generator(source: Any) -> None:
    if source is not None:
        raise ValueError(
            "noise and generators are the sampler's own here; leave them out and write seed=0 for the adapter, or "
            "sample with the policy itself, after adapter.restore()"
        )


def _require_condition(network: Any, name: str) -> None:
    """Refuse a network that has no argument for its condition."""
    forward = getattr(network, "forward", network)
    parameters = inspect.signature(forward).parameters.values()
    takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    if not takes_all and name not in {parameter.name for parameter in parameters}:
        raise ValueError(
            f"this policy hands its observations on as {name}=, which its {type(network).__name__} does not take; "
            "write Sampler(denoiser, scheduler, (horizon, dimensions)) with a denoiser that does"
        )


def _refuse_stranger(
    policy: Any,
    model: Any,
    names: tuple[str, ...],
    kind: str,
) -> None:
    missing = [name for name in names if not hasattr(model, name)]
    if not callable(getattr(model, "conditional_sample", None)):
        missing = missing or ["conditional_sample"]
    if missing:
        raise TypeError(
            f"{type(policy).__name__} is not {kind}: it has no {', '.join(missing)}; for a "
            "network of yours write Sampler(denoiser, scheduler, (horizon, dimensions))"
        )
