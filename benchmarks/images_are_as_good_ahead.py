"""Claim: images made in parallel over steps are as good as those made in order: they are the same images.

Prompts of the shipped text-to-image pipeline, one image each, DDIM with guidance 3, in batches; every prompt in order
and ahead from the same noise, and in order from the noise of two other seeds. An independent classifier, which never
saw the pipeline, reads every image: shares of right answers, `all` of images with every thing right. The Frechet
distance is between Gaussians of the classifier's features of two sets of images (Heusel et al. 2017): in order against
ahead, beside in order against other seeds, which is what two equally good sets are apart. Rendered scenes of the same
prompts are the true images. Pixels are in 0 .. 255.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from _pipelines import describe_weights
from harness import table, write_result
from torch import Tensor

from forerun import Sliding
from forerun.diffusion.pipelines.parallel import parallel
from forerun.worlds.scenes.captions import Scene, draw_scene, parse_caption, write_caption
from forerun.worlds.scenes.classifier import load_scene_classifier, measure_agreement
from forerun.worlds.scenes.counted_run import GUIDANCE_SCALE, shipped_pipeline
from forerun.worlds.scenes.render import render_scenes

STEPS, BATCH, WINDOW = 50, 20, 12


def draw_images(prompts: Sequence[str], seed: int) -> Tensor:
    """Images of prompts, `(N, 3, 64, 64)` in 0 .. 1, batch by batch."""
    batches = []
    for number in range(0, len(prompts), BATCH):
        generator = torch.Generator().manual_seed(1000 * seed + number)
        options: dict[str, Any] = {"num_inference_steps": STEPS, "guidance_scale": GUIDANCE_SCALE, "output_type": "pt"}
        batches.append(
            shipped_pipeline()(list(prompts[number : number + BATCH]), generator=generator, **options).images
        )
    return torch.cat(batches)


def draw_in_parallel(prompts: Sequence[str], seed: int) -> tuple[Tensor, dict[str, float]]:
    """Return images in parallel; and means of rounds and evaluations over the batches, with the largest estimate."""
    with parallel(shipped_pipeline(), window=Sliding(WINDOW)) as run:
        images = draw_images(prompts, seed)
    solutions = run.solutions
    rounds, evaluations = (
        sum(getattr(solution, name) for solution in solutions) / len(solutions) for name in ("rounds", "evaluations")
    )
    estimate = max(float(solution.deviation_estimate) for solution in solutions)
    return images, {"rounds": rounds, "evaluations": evaluations, "largest estimate": estimate}


@cache
def load_classifier() -> Any:
    """The independent classifier."""
    return load_scene_classifier()


def measure_answers(scenes: Sequence[Scene], images: Tensor) -> dict[str, float]:
    """Shares of right answers."""
    facts = [scene for batch in images.split(100) for scene in load_classifier().read_scenes(batch)]
    return measure_agreement(scenes, facts)


@torch.no_grad()
def frechet_distance(one: Tensor, other: Tensor) -> float:
    """`|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2))` of the classifier's features."""
    first, second = (load_classifier().extract_features(images).double() for images in (one, other))
    means = (first.mean(0) - second.mean(0)).square().sum()
    left, right_ = first.T.cov(), second.T.cov()
    roots = torch.linalg.eigvals(left @ right_).real.clamp(min=0).sqrt().sum()
    return float(means + left.trace() + right_.trace() - 2 * roots)


def main() -> None:
    """All prompts, four sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=500)
    count = parser.parse_args().prompts
    dice = random.Random(11)
    prompts = [write_caption(draw_scene(dice), dice) for _ in range(count)]
    scenes = [parse_caption(prompt) for prompt in prompts]
    in_order = draw_images(prompts, 0)
    same, cost = draw_in_parallel(prompts, 0)
    others = [draw_images(prompts, seed) for seed in (1, 2)]
    truth = render_scenes(scenes, seed=5).float() / 255
    sets = {"in order": in_order, "ahead": same, "in order, seed 1": others[0], "in order, seed 2": others[1]}
    distances = [
        {
            "sets": f"in order, {name}",
            "Frechet distance": frechet_distance(in_order, images),
            "to the rendered": frechet_distance(images, truth),
        }
        for name, images in sets.items()
    ]
    difference = (in_order - same).abs().flatten(1) * 255
    pixels = {
        "images": count,
        "largest difference of a pixel, median image": float(difference.amax(1).median()),
        "worst image": float(difference.max()),
        "mean over all pixels": float(difference.mean()),
    }
    answers = [{"set": name, **measure_answers(scenes, images)} for name, images in {**sets, "rendered": truth}.items()]
    write_result(
        Path(__file__).stem,
        {
            "What is measured": f"{__doc__ or ''}\n{describe_weights()}",
            "Answers of the classifier": table(answers),
            "Distances of sets": table(distances),
            "In order against ahead, pixel by pixel": table([pixels]),
            f"DDIM {STEPS}, window {WINDOW}, batches of {BATCH}": table([cost]),
        },
    )


if __name__ == "__main__":
    main()
