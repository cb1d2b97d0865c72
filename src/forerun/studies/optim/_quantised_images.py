"""Networks that draw images, and what is left of these once their weights are quantised."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from forerun.optim.quantization import Rounding, quantize
from forerun.studies.stored_images import store_image

SAMPLER_STEPS = 20
ImageSampler = Callable[[nn.Module, int], Tensor]  # images (N, C, H, W) in [0, 1] of a network, by seed


def digits_sampler() -> tuple[nn.Module, ImageSampler]:
    """Return the denoiser of the digits, and what draws with it."""
    from forerun import Sequential, solve
    from forerun.diffusion import Denoising, Schedule
    from forerun.worlds.digits import load_digits_denoiser

    network = load_digits_denoiser()

    @torch.no_grad()
    def sample(network: nn.Module, seed: int) -> Tensor:
        noise = torch.randn(128, 64, generator=torch.Generator().manual_seed(seed))
        process = Denoising(network, Schedule.linear().spaced(SAMPLER_STEPS))
        images: Tensor = solve(process, noise, method=Sequential()).value
        return images.reshape(128, 1, 8, 8) / 2 + 0.5

    return network, sample


def pipeline_sampler() -> tuple[nn.Module, ImageSampler]:
    """Return the UNet of the shipped text-to-image pipeline, and what draws with it, or with another in its place."""
    from forerun.worlds.scenes.counted_run import GUIDANCE_SCALE, scene_prompts, shipped_pipeline

    pipe = shipped_pipeline()
    unet = pipe.unet

    def sample(network: nn.Module, seed: int) -> Tensor:
        pipe.unet = network
        settings = {"num_inference_steps": SAMPLER_STEPS, "guidance_scale": GUIDANCE_SCALE, "output_type": "pt"}
        images: Tensor = pipe(scene_prompts(8, seed), generator=torch.Generator().manual_seed(seed), **settings).images
        pipe.unet = unet
        return images

    return unet, sample


def compare_images(
    network: nn.Module, sample: ImageSampler, rules: Mapping[str, Rounding], bits: Sequence[int]
) -> dict[str, Any]:
    """Quantise a network by each rule, and compare its images with those of the float network.

    The first images of the last number of bits are kept.
    """
    truth = sample(network, 0)
    figures: dict[str, Any] = _store_strip("float", truth)
    for width in tqdm(bits, desc="bits", leave=False):
        for name, rule in rules.items():
            quantized = quantize(network, lambda model: sample(model, 1), width, rounding=rule)
            images = sample(quantized.model, 0)
            case = f"{width} bit, {name}"
            figures[f"image distance, {case}"] = float((images - truth).square().mean().sqrt())
            figures[f"layers' error, {case}"] = statistics.fmean(layer.error for layer in quantized.layers)
            figures[f"size, {width} bit"] = quantized.float_bytes / quantized.packed_bytes
            if width == bits[-1]:
                figures |= _store_strip(name, images)
    return figures


def _store_strip(name: str, images: Tensor) -> dict[str, str]:
    """Return the first images side by side."""
    strip = torch.cat(list(images[:4]), -1).clamp(0, 1).expand(3, -1, -1)
    return store_image(name, (255 * strip).round().byte().permute(1, 2, 0).numpy())
