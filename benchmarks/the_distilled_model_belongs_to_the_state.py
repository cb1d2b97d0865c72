"""Claim: VSD in parallel stays nearer to VSD in order with the distilled model in the state than once a round.

Variational score distillation (ProlificDreamer) trains a second model, a LoRA of the prior here, beside the field.
Three ways to run it with the same losses and the same draws:

- in order: a step of the field's Adam, whose rate falls from 0.2 to a tenth, then one of the LoRA's, 160 times;
- in the state: both optimisers are carried by the loop, and each step of a window is evaluated at the LoRA guessed for
  it, all LoRAs of a round in one call (`torch.func.vmap`);
- once a round: the field alone runs ahead, all steps of a window see one LoRA, which takes one step a round, as where
  every worker trains its own.

Distances and qualities are PSNR over sixteen held-out views, as in `text_to_3d_needs_fewer_rounds.py`; rounds are
rounds of the field, CPU seconds those of the whole run on one thread.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from _text3d import SculptureRun, cached_run, mean_of
from harness import table, write_result
from peft import LoraConfig
from torch import Tensor

from forerun import Picard, Sequential, Sliding, Solution
from forerun.optim import Batched, Loop, StepLength
from forerun.optim.distillation import VSD, AnnealedRange, DistilledModel
from forerun.optim.text3d.field import blob_field, render_fields
from forerun.worlds.solids.prior.load import PRIOR_SIDE, load_prior
from forerun.worlds.solids.sculpture import Sculpture, SculptureOptions, psnr

PROMPTS = ("a yellow cone", "a red torus", "a cyan cube")  # a run takes 20 to 30 s
SEEDS = (0, 1)
STEPS, GUIDANCE, RATE, LORA_RATE = 160, 1.5, 0.2, 2e-3
PARTS = ["to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2"]
TOLERANCE, WINDOW = 0.3, 8
RUNS = ("in order", "in the state", "once a round")


@dataclass(frozen=True)
class Job:
    """A field, a fresh LoRA, and their losses."""

    sculpture: Sculpture
    distilled: DistilledModel
    vsd: VSD

    @classmethod
    def of(cls, prompt: str, seed: int) -> Job:
        """From a prompt and a seed."""
        prior = load_prior(prompt)
        sculpture = Sculpture(prompt, SculptureOptions(steps=STEPS, seed=seed), prior)
        sculpture.field = blob_field(32, seed=seed).requires_grad_()
        network = copy.deepcopy(prior.network)
        torch.manual_seed(seed)
        network.add_adapter(LoraConfig(r=4, target_modules=PARTS))
        distilled = DistilledModel(prior, network)
        return cls(sculpture, distilled, VSD(prior, distilled, GUIDANCE, AnnealedRange(STEPS), seed=seed))

    def losses(self, fields: Tensor, weights: dict[str, Tensor], steps: Tensor) -> tuple[Tensor, Tensor]:
        """Of fields `(W, ...)` and LoRAs `(W, ...)`: that of the pictures and that of the LoRA."""
        cameras = self.sculpture.draw_cameras(steps)
        return self.vsd(render_fields(fields, cameras, PRIOR_SIDE), steps, cameras, weights)


def carried(job: Job, **options: object) -> Solution:
    """Both optimisers in the state."""
    field, weights = job.sculpture.field, job.distilled.trained_weights()

    def losses(params: list, steps: Tensor) -> tuple[Tensor, Tensor]:
        return job.losses(params[0], params[1], steps)

    def loss(params: list, step: int) -> tuple[Tensor, ...]:
        rows = {name: each[None] for name, each in params[1].items()}
        return tuple(each[0] for each in losses([params[0][None], rows], torch.tensor([step])))

    shaping, learner = torch.optim.Adam([field], RATE), torch.optim.Adam(weights.values(), LORA_RATE)
    loop = Loop(
        [field, weights],
        [shaping, learner],
        loss,
        scheduler=job.sculpture.rate_schedule(shaping),
        gradients=Batched(losses),
        **options,
    )
    return loop.run(STEPS).solution()


def once_a_round(job: Job, **options: object) -> Solution:
    """The field alone in the state; the LoRA takes a step after every round, at the first step that was accepted."""
    field, weights = job.sculpture.field, job.distilled.trained_weights()
    learner = torch.optim.Adam(weights.values(), LORA_RATE)
    last = [0]

    def losses(fields: Tensor, steps: Tensor) -> Tensor:
        shared = {name: each.detach().expand(len(steps), *each.shape) for name, each in weights.items()}
        return job.losses(fields, shared, steps)[0]

    def learn(accepted: object) -> None:
        if accepted.rounds == last[0]:
            return
        last[0] = accepted.rounds
        rows = {name: each[None] for name, each in weights.items()}
        with torch.enable_grad():
            _, fit = job.losses(accepted.params[None].detach(), rows, torch.tensor([accepted.step]))
        for each, gradient in zip(
            weights.values(), torch.autograd.grad(fit.sum(), list(weights.values())), strict=True
        ):
            each.grad = gradient
        learner.step()

    shaping = torch.optim.Adam([field], RATE)
    loop = Loop(
        field,
        shaping,
        lambda field, step: losses(field[None], torch.tensor([step]))[0],
        scheduler=job.sculpture.rate_schedule(shaping),
        gradients=Batched(losses),
        **options,
    )
    return loop.run(STEPS, callback=learn).solution()


def run(prompt: str, seed: int, name: str, work: Path) -> SculptureRun | None:
    """One way, kept in a file."""
    jobs: list[Job] = []

    def build() -> Sculpture:
        jobs.append(Job.of(prompt, seed))
        return jobs[0].sculpture

    def go(sculpture: Sculpture) -> Solution:
        if name == "in order":
            return carried(jobs[0], method=Sequential(), window=Sliding(1))
        ahead = {"method": Picard(), "window": Sliding(WINDOW), "tolerance": StepLength(TOLERANCE)}
        return carried(jobs[0], **ahead) if name == "in the state" else once_a_round(jobs[0], **ahead)

    return cached_run(work / f"vsd {prompt} {seed} {name}.json".replace(" ", "-"), build, go)


def row(
    name: str, all_found: Sequence[SculptureRun | None], truths: Sequence[SculptureRun | None]
) -> dict[str, object]:
    """Means of some runs beside those in order."""
    found, truth = zip(*[pair for pair in zip(all_found, truths, strict=True) if all(pair)], strict=True)
    near = [psnr(a.pictures, b.pictures) for a, b in zip(found, truth, strict=True)]
    return {
        "the distilled model": name,
        "runs": len(found),
        "rounds": round(mean_of([each.rounds for each in found]), 1),
        "evaluations": round(mean_of([each.evaluations for each in found])),
        "to the run in order, dB": "same"
        if name == RUNS[0]
        else f"{mean_of(near):.1f} ({min(near):.1f} .. {max(near):.1f})",
        "to the true thing, dB": f"{mean_of([each.quality for each in found]):.1f}",
        "CPU s": mean_of([each.cpu for each in found]),
    }


def main() -> None:
    """All prompts, seeds and ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("forerun-out/text3d-runs"), help="folder of finished runs")
    work = parser.parse_args().work
    pairs = [(prompt, seed) for prompt in PROMPTS for seed in SEEDS]
    found = {name: [run(*pair, name, work) for pair in pairs] for name in RUNS}
    truth = found["in order"]
    seeds = [psnr(a.pictures, b.pictures) for a, b in zip(truth[::2], truth[1::2], strict=True) if a and b]
    said = (
        f"{', '.join(PROMPTS)}; seeds {', '.join(map(str, SEEDS))}; window {WINDOW}, tolerance {TOLERANCE} of a step's "
        f"length. Two seeds in order are {mean_of(seeds):.1f} dB from each other."
    )
    whole = [place for place in range(len(pairs)) if all(found[name][place] for name in RUNS)]
    rows = [row(name, [found[name][at] for at in whole], [truth[at] for at in whole]) for name in RUNS]
    write_result("the_distilled_model_belongs_to_the_state", {"VSD, window 8": f"{said}\n\n{table(rows)}"})


if __name__ == "__main__":
    main()
