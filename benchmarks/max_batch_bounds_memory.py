"""Claim: `Local(max_batch=M)` bounds the memory of a round, whatever the window.

Stable Diffusion's pipeline and its size of latents (4 x 64 x 64) with guidance, a narrow UNet of the same build (random
weights: memory does not ask for more), DDIM with 64 steps and a window of 64: after the probe, two rounds of up to 128
rows, then the run is stopped, as later rounds are no wider. Every setting in a process of its own; the resident memory
after a warm-up of two steps in order is subtracted from the peak.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import _pipelines  # noqa: F401 (it keeps the libraries quiet)
import diffusers
import torch
from harness import table, write_result
from memory_follows_the_window import peak

from forerun import Full, Local
from forerun.diffusion.pipelines.parallel import parallel
from forerun.engine.event import RoundEvent
from forerun.worlds.scenes.counted_run import build_pipeline

STEPS, ROUNDS, SLICES = 64, 2, ("in order", "1", "4", "16", "none")


def build_narrow_pipeline() -> Any:
    """Stable Diffusion with a narrow UNet."""
    pipe = build_pipeline(diffusers.StableDiffusionPipeline, diffusers.DDIMScheduler)
    torch.manual_seed(0)
    blocks = {"down_block_types": (*3 * ("CrossAttnDownBlock2D",), "DownBlock2D")}
    blocks["up_block_types"] = ("UpBlock2D", *3 * ("CrossAttnUpBlock2D",))
    pipe.unet = diffusers.UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(16, 32, 32, 32),
        layers_per_block=1,
        cross_attention_dim=96,
        attention_head_dim=2,
        norm_num_groups=8,
        **blocks,
    ).eval()
    return pipe


def run_slices(slices: str) -> None:
    """Print MiB above the warm state, the widest window and the rounds."""
    torch.set_num_threads(1)
    pipe = build_narrow_pipeline()

    def call(steps: int) -> None:
        generator = torch.Generator().manual_seed(0)
        pipe("a red cube", num_inference_steps=steps, generator=generator, output_type="latent")

    call(2)
    before = peak()
    if slices == "in order":
        call(STEPS)
        print(peak() - before, 1, STEPS)
        return
    backend = Local(None if slices == "none" else int(slices))
    rounds: list[int] = []

    def follow(event: RoundEvent) -> None:
        rounds.append(event.round.width)
        if len(rounds) == ROUNDS:
            raise Enough

    with suppress(Enough), parallel(pipe, window=Full(), backend=backend, callback=follow, strict=True):
        call(STEPS)
    print(peak() - before, rounds[0], len(rounds))


class Enough(Exception):
    """The rounds that were asked for are done."""


def main() -> None:
    """All settings, each in a process of its own."""
    if len(sys.argv) > 1:
        run_slices(sys.argv[1])
        return
    rows: list[dict[str, object]] = []
    for slices in SLICES:
        out = subprocess.run([sys.executable, __file__, slices], capture_output=True, text=True, check=True).stdout
        mib, width, rounds = out.split()[-3:]
        rows.append({"max_batch": slices, "window": int(width), "rounds": int(rounds), "peak, MiB": float(mib)})
        print(rows[-1], flush=True)
    write_result(Path(__file__).stem, {"What is measured": __doc__ or "", f"DDIM {STEPS}, window {STEPS}": table(rows)})


if __name__ == "__main__":
    main()
