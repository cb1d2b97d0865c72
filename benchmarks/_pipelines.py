"""What the benchmarks of pipelines share: the shipped pipeline, runs that are counted from outside, a grid to search.

Rounds are calls of the network, and evaluations are whole steps of one sample with all its guidance branches; both
are counted where the network is called, so the rivals and forerun are measured with the same ruler.
"""

from __future__ import annotations

import inspect
import json
import random
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import diffusers
import torch
import transformers
from torch import Tensor

from forerun import Solution
from forerun.diffusion.pipelines.parallel import parallel
from forerun.worlds.scenes.captions import draw_scene, write_caption
from forerun.worlds.scenes.load import load_scenes_pipeline

GUIDANCE = 3.0

warnings.filterwarnings("ignore")
diffusers.utils.logging.set_verbosity_error()
diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.disable_progress_bar()


@dataclass(frozen=True)
class CountedRun:
    """A run: its latents, calls of the network, rows of these calls over rows of a step, wall-clock seconds.

    `solution` is what forerun says of it; None where the pipeline ran as it is.
    """

    latents: Tensor
    rounds: int
    evaluations: float
    seconds: float
    solution: Solution | None = None


@cache
def load_shipped() -> Any:
    """The pipeline that ships with forerun, silent."""
    pipe = load_scenes_pipeline()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def build_pipeline(kind: type, scheduler: type, **changes: Any) -> Any:
    """Another pipeline class, or the same, around the networks of the shipped one."""
    parts = load_shipped().components
    components = {name: parts[name] for name in inspect.signature(kind.__init__).parameters if name in parts}
    pipe = kind(**{**components, "requires_safety_checker": False})
    pipe.scheduler = scheduler.from_config(load_shipped().scheduler.config, **changes)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def describe_weights() -> str:
    """Which weights were measured, from the file beside them."""
    file = resources.files("forerun.worlds.scenes") / "weights" / "training.json"
    facts = json.loads(file.read_text())
    done = facts.get("stages", {}).get("unet", facts)
    return f"Weights: {json.dumps(done)}"


def draw_prompts(count: int, seed: int = 0) -> list[str]:
    """Random captions of the default model."""
    dice = random.Random(seed)
    return [write_caption(draw_scene(dice), dice) for _ in range(count)]


def run_counted(
    pipe: Any, prompt: str | Sequence[str], seed: int, *, ahead: Mapping[str, Any] | None = None, **options: Any
) -> CountedRun:
    """Run a pipeline to its latents, from a seed; `ahead` are the options of `parallel`, None to run it as it is."""
    batch = 1 if isinstance(prompt, str) else len(prompt)
    options = {"guidance_scale": GUIDANCE, "output_type": "latent", **options}
    branches = 2 if options["guidance_scale"] > 1 else 1
    generator = torch.Generator().manual_seed(seed)
    with count_calls(pipe.unet) as rows, nullcontext() if ahead is None else parallel(pipe, **ahead) as run:
        start = time.perf_counter()
        latents = pipe(prompt, generator=generator, **options).images
        seconds = time.perf_counter() - start
        solution = None if run is None else run.solution
    return CountedRun(latents, len(rows), sum(rows) / branches / batch, seconds, solution)


@contextmanager
def count_calls(network: torch.nn.Module) -> Iterator[list[int]]:
    """The batch sizes of all calls of a network inside of the context."""
    rows: list[int] = []
    real = network.forward

    def forward(sample: Tensor, *args: Any, **kwargs: Any) -> Any:
        rows.append(len(sample))
        return real(sample, *args, **kwargs)

    network.forward = forward
    try:
        yield rows
    finally:
        del network.forward


def relative_distance(latents: Tensor, truth: Tensor) -> float:
    """Root mean square of the difference over that of the truth, the largest of the batch."""
    away = (latents - truth).flatten(1).square().mean(1) / truth.flatten(1).square().mean(1)
    return float(away.max().sqrt())


def largest_difference(latents: Tensor, truth: Tensor) -> float:
    """The largest difference, over the root mean square of the truth."""
    return float((latents - truth).abs().max() / truth.square().mean().sqrt())


def find_loosest(keeps: Callable[[float], bool], grid: Sequence[float], *, look: int = 2) -> float | None:
    """The largest tolerance of a falling grid that keeps what is asked: bisection, then a look at a few looser ones."""
    low, high = 0, len(grid) - 1
    if not keeps(grid[high]):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if keeps(grid[middle]) else (middle + 1, high)
    return next((grid[place] for place in range(max(low - look, 0), low) if keeps(grid[place])), grid[low])
