"""Claim: a quantised network, run in order, guesses the path of the float network; whether rounds are saved.

The shipped text-to-image pipeline, DDIM with 50 steps, guidance, a window of all steps. The coarse network is the UNet
with weights of some bits (`CoordinateDescent(first=GPTQ())`); its path, all 50 calls one after another, is the guess
of the run ahead. `rounds` are those of the float network, `to win` how cheap a call of the coarse network must be, in
calls of the float network, for the sum to take fewer calls one after another than the run without it: below zero,
nothing can. `deviation` is the largest of any number of the latents from the run in order, over their root mean square.
"""

from __future__ import annotations

from typing import Any

import diffusers
import torch
from harness import table, write_result
from torch import Tensor, nn

from forerun import Known, Sliding
from forerun.optim import quantize
from forerun.worlds.scenes.counted_run import build_pipeline, count_run, scene_prompts

STEPS = 50
BITS = (8, 6, 4)
TOLERANCES = (1e-2, 1e-3)
SEEDS = 3


def coarse_path(pipe: Any, network: nn.Module, prompt: str, seed: int) -> Tensor:
    """Return the latents that the coarse network is called with, step after step, `(STEPS, 1, C, H, W)`."""
    inputs: list[Tensor] = []

    def note_input(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        sample = arguments[0] if arguments else keywords["sample"]
        inputs.append(sample[:1].clone())

    usual, pipe.unet = pipe.unet, network
    hook = network.register_forward_pre_hook(note_input, with_kwargs=True)
    count_run(pipe, prompt, seed, num_inference_steps=STEPS)
    hook.remove()
    pipe.unet = usual
    return torch.stack(inputs)


def main() -> None:
    """One table: means over seeds."""
    torch.set_num_threads(1)
    pipe = build_pipeline(diffusers.StableDiffusionPipeline, diffusers.DDIMScheduler)

    def calibrate(model: nn.Module) -> None:
        settings = {"num_inference_steps": 10, "guidance_scale": 3.0, "output_type": "latent"}
        pipe(scene_prompts(4, 9), generator=torch.Generator().manual_seed(7), **settings)

    networks = {bits: quantize(pipe.unet, calibrate, bits).model for bits in BITS}
    rows = []
    for tolerance in TOLERANCES:
        runs: dict[Any, list[tuple[int, float, float]]] = {"none": [], **{bits: [] for bits in BITS}}
        for seed, prompt in enumerate(scene_prompts(SEEDS)):
            truth = count_run(pipe, prompt, seed, num_inference_steps=STEPS)
            for bits in runs:
                ahead: dict[str, Any] = {"window": Sliding(STEPS), "tolerance": tolerance}
                if bits != "none":
                    ahead["guess"] = Known(coarse_path(pipe, networks[bits], prompt, seed))
                run = count_run(pipe, prompt, seed, num_inference_steps=STEPS, ahead=ahead)
                runs[bits].append((run.rounds, run.evaluations, run.largest_deviation(truth)))
        for bits, found in runs.items():
            rounds, evaluations, deviations = zip(*found, strict=True)
            usual = sum(run[0] for run in runs["none"]) / SEEDS
            row: dict[str, Any] = {"tolerance": f"{tolerance:g}", "guess": "the default"}
            if bits != "none":
                row["guess"] = f"the path of {bits} bits"
            row |= {"rounds": sum(rounds) / SEEDS, "evaluations": sum(evaluations) / SEEDS}
            row |= {"largest deviation": max(deviations)}
            row |= {"to win": "" if bits == "none" else f"{(usual - sum(rounds) / SEEDS) / STEPS:.2f}"}
            rows.append(row)
            print(row, flush=True)
    write_result("a_coarse_network_guesses", {"What is measured": __doc__ or "", "DDIM 50": table(rows)})


if __name__ == "__main__":
    main()
