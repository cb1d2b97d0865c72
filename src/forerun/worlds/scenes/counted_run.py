"""A run of a pipeline, counted where its network is called: one ruler for rivals of different kinds.

Calls are those of the network, and evaluations steps of one sample with all its guidance branches. Rounds are calls of
which each waits for the one before; what forerun calls besides, to witness and to check a run, is in the calls alone.
"""

from __future__ import annotations

import inspect
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

from forerun.diffusion import parallel
from forerun.engine.solution import Solution
from forerun.worlds.scenes.captions import draw_scene, write_caption
from forerun.worlds.scenes.load import load_scenes_pipeline

GUIDANCE_SCALE = 3.0


@dataclass(frozen=True)
class CountedRun:
    """A run of a pipeline to its latents.

    Attributes:
        latents: the end of the path.
        rounds: calls that a sampler makes, one after another.
        evaluations: rows of all calls over rows of a step.
        calls: of the network, those of the witness and of the check among them.
        seconds: of the whole call.
        solution: what forerun says of it; None where the pipeline ran as it is.
    """

    latents: Tensor
    rounds: int
    evaluations: float
    calls: int
    seconds: float
    solution: Solution | None = None

    def largest_deviation(self, truth: CountedRun) -> float:
        """Return the largest deviation of any number of the latents; see the function of that name."""
        return largest_deviation(self.latents, truth.latents)


def largest_deviation(latents: Tensor, truth: Tensor) -> float:
    """Return the largest difference of any number of the latents, over the root mean square of the truth."""
    difference = (latents - truth).abs().max()
    return float(difference / truth.square().mean().sqrt())


def mean_deviation(latents: Tensor, truth: Tensor) -> float:
    """Return the root mean square of the difference over that of the truth, the largest of the batch."""
    difference = (latents - truth).flatten(1).square().mean(1)
    size = truth.flatten(1).square().mean(1)
    return float((difference / size).max().sqrt())


@cache
def shipped_pipeline() -> StableDiffusionPipeline:
    """Return the pipeline that ships with forerun, without its progress bar; the same object at every call."""
    pipe = load_scenes_pipeline()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def scene_prompts(count: int, seed: int = 0) -> list[str]:
    """Return random captions of scenes, the same for the same seed."""
    rng = random.Random(seed)
    return [write_caption(draw_scene(rng), rng) for _ in range(count)]


def build_pipeline(kind: type, scheduler: type, **changes: Any) -> Any:
    """Return a pipeline of another class, or with another scheduler, around the networks of the shipped one.

    Args:
        kind: a pipeline class of diffusers.
        scheduler: a scheduler class of diffusers.
        changes: to the scheduler's configuration.
    """
    shipped = shipped_pipeline()
    components = shipped.components
    names = inspect.signature(kind).parameters
    arguments = {name: components[name] for name in names if name in components}
    pipe = kind(**{**arguments, "requires_safety_checker": False})
    pipe.scheduler = scheduler.from_config(shipped.scheduler.config, **changes)  # type: ignore[attr-defined]
    pipe.set_progress_bar_config(disable=True)
    return pipe


def count_run(
    pipe: Any, prompt: str | Sequence[str], seed: int, *, ahead: Mapping[str, Any] | None = None, **keywords: Any
) -> CountedRun:
    """Run a pipeline to its latents, from a seed.

    Args:
        pipe: the pipeline.
        prompt: one prompt, or as many as there are samples.
        seed: of its generator.
        ahead: keywords of `parallel`; None to run the pipeline as it is.
        keywords: of the pipeline's call.
    """
    batch = 1 if isinstance(prompt, str) else len(prompt)
    keywords = {"guidance_scale": GUIDANCE_SCALE, "output_type": "latent", **keywords}
    branches = 2 if keywords["guidance_scale"] > 1 else 1
    keywords["generator"] = torch.Generator().manual_seed(seed)
    with counted_calls(pipe.unet) as batch_sizes:
        begin = time.perf_counter()
        latents, solution = _latents(pipe, prompt, ahead, keywords)
        seconds = time.perf_counter() - begin
    calls = len(batch_sizes)
    rounds = calls if solution is None else solution.rounds
    return CountedRun(
        latents,
        rounds,
        sum(batch_sizes) / branches / batch,
        calls,
        seconds,
        solution,
    )


def count_seeds(pipe: Any, count: int, **keywords: Any) -> list[CountedRun]:
    """Run a pipeline with the seeds 0, 1, ..., each on a random caption of its own, the same at every call.

    Args:
        pipe: the pipeline.
        count: of seeds.
        keywords: of `count_run`.
    """
    return [count_run(pipe, prompt, seed, **keywords) for seed, prompt in enumerate(scene_prompts(count))]


def _latents(
    pipe: Any, prompt: str | Sequence[str], ahead: Mapping[str, Any] | None, keywords: Mapping[str, Any]
) -> tuple[Tensor, Solution | None]:
    if ahead is None:
        return pipe(prompt, **keywords).images, None
    with parallel(pipe, **ahead) as run:
        latents = pipe(prompt, **keywords).images
    return latents, run.solution


@contextmanager
def counted_calls(network: nn.Module) -> Iterator[list[int]]:
    """Yield a list that gets the batch size of every call of a network inside of the context."""
    batch_sizes: list[int] = []
    forward = network.forward

    def counted_forward(sample: Tensor, *arguments: Any, **keywords: Any) -> Any:
        batch_sizes.append(len(sample))
        return forward(sample, *arguments, **keywords)

    network.forward = counted_forward
    try:
        yield batch_sizes
    finally:
        del network.forward
