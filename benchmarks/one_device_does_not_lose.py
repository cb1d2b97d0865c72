"""Claim: on one device, `Auto` wins where a batch is cheap and loses little where it is not.

(a) What a call costs by its batch, eager and compiled: `c(B)` over `c(1)`, and the batch efficiency `B c(1) / c(B)`.
(b) The speed-up that this predicts for a window `W`, `c(1) length / (c(W) rounds)`, with the rounds of DDIM and the
    shipped network: what one such device could gain at best, all rounds being full.
(c) The shipped pipeline from text to latents, with guidance: its own run over forerun's, wall-clock and CPU, in pairs.
    `full` is the whole path in flight, `auto` is `parallel(pipe)` as it is; compiled rows compile the UNet of both.
(d) A device whose calls take the same time whatever their batch, and one whose calls take so much for each row, made
    of the digits' denoiser and a pause: DDIM 10 to 200, the plain loop over forerun's `sample` with `Auto`.

On a GPU (a) is also measured on a UNet of Stable Diffusion 1.5's size and a transformer built like Flux, both with
random weights in bfloat16; without one these rows are missing, and say so.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffusers
import torch
from _pipelines import describe_weights
from harness import median_time, paired_ratio, table, write_result
from torch import Tensor, nn

from forerun import Full, Sliding
from forerun.diffusion import sample
from forerun.worlds.digits import load_digits_denoiser
from forerun.worlds.scenes.counted_run import build_pipeline, count_run, scene_prompts, shipped_pipeline

BATCHES, PAUSE = (1, 2, 4, 8, 16, 32, 64), 5e-3
Call = Callable[[int], Callable[[], Any]]  # from a batch to a call of the network with it


def shipped_calls() -> Call:
    """The shipped UNet, two rows a step."""
    unet, context = shipped_pipeline().unet, torch.randn(1, 16, 96)

    def call(batch: int) -> Callable[[], Any]:
        x = torch.randn(2 * batch, 4, 16, 16)
        return lambda: unet(x, 500, encoder_hidden_states=context.expand(2 * batch, -1, -1))

    return call


def sd15_calls() -> Call:
    """A UNet of Stable Diffusion 1.5's size, two rows a step."""
    with torch.device("cuda"):
        unet = diffusers.UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8).bfloat16().eval()

    def call(batch: int) -> Callable[[], Any]:
        x = torch.randn(2 * batch, 4, 64, 64, device="cuda", dtype=torch.bfloat16)
        context = torch.randn(2 * batch, 77, 768, device="cuda", dtype=torch.bfloat16)
        return lambda: unet(x, 500, encoder_hidden_states=context)

    return call


def flux_calls() -> Call:
    """A transformer built like Flux, with a third of its layers, at 512 x 512 pixels."""
    options = {"num_layers": 6, "num_single_layers": 12, "guidance_embeds": True}
    with torch.device("cuda"):
        network = diffusers.FluxTransformer2DModel(**options).bfloat16().eval()

    def call(batch: int) -> Callable[[], Any]:
        def noise(*shape: int) -> Tensor:
            return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)

        inputs = {
            "hidden_states": noise(batch, 1024, 64),
            "encoder_hidden_states": noise(batch, 512, 4096),
            "pooled_projections": noise(batch, 768),
            "timestep": torch.full((batch,), 0.5, device="cuda", dtype=torch.bfloat16),
            "guidance": torch.full((batch,), 3.5, device="cuda", dtype=torch.bfloat16),
            "img_ids": torch.zeros(1024, 3, device="cuda"),
            "txt_ids": torch.zeros(512, 3, device="cuda"),
        }
        return lambda: network(**inputs)

    return call


@torch.no_grad()
def measure_costs(call: Call) -> dict[int, float]:
    """Seconds of a call by its batch, the median of five."""
    return {batch: median_time(call(batch), repeats=5) for batch in BATCHES}


def cost_rows(name: str, seconds_by_batch: dict[int, float]) -> Iterator[dict[str, object]]:
    """One row a batch."""
    for batch, seconds in seconds_by_batch.items():
        yield {
            "network": name, "steps in a call": batch, "ms": 1e3 * seconds, "over one": seconds / seconds_by_batch[1],
            "batch efficiency": batch * seconds_by_batch[1] / seconds,
        }  # fmt: skip


def predict_speed_ups(seconds_by_batch: dict[int, float]) -> Iterator[dict[str, object]]:
    """Rounds of the shipped network by the window, and the speed-up of a device with these costs."""
    pipe = build_pipeline(diffusers.StableDiffusionPipeline, diffusers.DDIMScheduler)
    for steps in (50, 100):
        for window in (4, 8, 16, 32, 64):
            ahead = {"window": Sliding(window)}
            run = count_run(pipe, scene_prompts(1)[0], 0, num_inference_steps=steps, ahead=ahead)
            price = seconds_by_batch[window] / seconds_by_batch[1]
            yield {
                "steps": steps, "window": window, "rounds": run.rounds, "evaluations": round(run.evaluations),
                "price of a round": price, "predicted speed-up": steps / (run.rounds * price),
                "where a round costs a step": steps / run.rounds,
            }  # fmt: skip


def measure_pipelines(*, compiled: bool) -> Iterator[dict[str, object]]:
    """The whole pipeline, its own run over forerun's."""
    prompt, name = scene_prompts(1)[0], "compiled" if compiled else "eager"
    for kind, steps in (("DDIMScheduler", 20), ("DDIMScheduler", 50), ("DDIMScheduler", 100), ("DDPMScheduler", 1000)):
        pipe = build_pipeline(diffusers.StableDiffusionPipeline, getattr(diffusers, kind))

        def run_in_order(pipe: Any = pipe, steps: int = steps) -> None:
            count_run(pipe, prompt, 0, num_inference_steps=steps)

        for window, options in (("auto", {}), ("full", {"window": Full()})):
            if window == "full" and steps == 1000:
                continue

            def run_ahead(pipe: Any = pipe, steps: int = steps, options: Any = options) -> None:
                count_run(pipe, prompt, 0, num_inference_steps=steps, ahead=options)

            run = count_run(pipe, prompt, 0, num_inference_steps=steps, ahead=options)
            ratio = paired_ratio(run_in_order, run_ahead, repeats=1 if steps == 1000 else 5)
            yield {
                "UNet": name, "sampler": f"{kind.removesuffix('Scheduler')} {steps}", "window": window,
                "rounds": run.rounds, "evaluations": round(run.evaluations), "wall": str(ratio.wall),
                "CPU": str(ratio.cpu),
            }  # fmt: skip


def measure_paused(call_seconds: float, row_seconds: float) -> Iterator[dict[str, object]]:
    """The digits' denoiser with a pause: so long a call, and so long a row."""
    denoiser = load_digits_denoiser()
    noise = torch.randn(1, 64, generator=torch.Generator().manual_seed(0))

    def network(x: Tensor, t: Tensor) -> Tensor:
        time.sleep(call_seconds + row_seconds * len(x))
        return denoiser(x, t)

    scheduler = diffusers.DDIMScheduler(beta_start=1e-4, beta_end=0.02, prediction_type="sample", clip_sample=False)
    for steps in (10, 20, 50, 100, 200):
        scheduler.set_timesteps(steps)

        def run_loop() -> Tensor:
            x = noise
            for t in scheduler.timesteps:
                x = scheduler.step(network(x, t.reshape(1)), t, x).prev_sample
            return x

        def run_ahead(steps: int = steps) -> Any:
            return sample(network, scheduler, noise, steps=steps)

        solution, expected = run_ahead(), run_loop()
        ratio = paired_ratio(run_loop, run_ahead, repeats=5)
        yield {
            "a call takes": f"{1e3 * call_seconds:g} ms and {1e3 * row_seconds:g} ms a row", "steps": steps,
            "rounds": solution.rounds, "evaluations": solution.evaluations,
            "deviation": float((solution.state - expected).square().mean().sqrt()), "wall": str(ratio.wall),
            "why it declined": next(iter(solution.notes), ""),
        }  # fmt: skip


def main() -> None:
    """All parts; --compiled adds the compiled UNet, which takes minutes to compile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiled", action="store_true")
    compiled = parser.parse_args().compiled
    costs = measure_costs(shipped_calls())
    rows = list(cost_rows("shipped UNet, eager", costs))
    pipelines = list(measure_pipelines(compiled=False))
    if compiled:
        unet: nn.Module = shipped_pipeline().unet
        unet.compile(dynamic=True)
        rows += cost_rows("shipped UNet, compiled", measure_costs(shipped_calls()))
        pipelines += measure_pipelines(compiled=True)
        unet._compiled_call_impl = None
    text = "No GPU was there: the networks of its size were not measured."
    if torch.cuda.is_available():
        for name, build in (("SD 1.5", sd15_calls), ("Flux-like", flux_calls)):
            rows += cost_rows(f"{name}, bfloat16, eager", measure_costs(build()))
        text = "Networks of random weights, bfloat16."
    devices = [*measure_paused(PAUSE, 0.0), *measure_paused(0.0, PAUSE)]
    write_result(
        Path(__file__).stem,
        {
            "What is measured": f"{__doc__ or ''}\n{describe_weights()}",
            "(a) A call by its batch": f"{text}\n\n{table(rows)}",
            "(b) Predicted from it": table(list(predict_speed_ups(costs))),
            "(c) The shipped pipeline: time in order over time ahead, median (smallest .. largest)": table(pipelines),
            "(d) Devices made of pauses: time in order over time ahead": table(devices),
        },
    )


if __name__ == "__main__":
    main()
