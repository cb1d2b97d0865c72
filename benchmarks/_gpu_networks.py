"""Networks of the sizes that run on GPUs, with random weights, and denoisers made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
from torch import Tensor, nn

TINY_UNET = {
    "block_out_channels": (8, 16), "norm_num_groups": 4, "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}  # fmt: skip
SDXL = {
    "block_out_channels": (320, 640, 1280), "layers_per_block": 2, "transformer_layers_per_block": (1, 2, 10),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), "attention_head_dim": (5, 10, 20),
    "use_linear_projection": True,
}  # fmt: skip
TEXT_TIME = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8}


@dataclass(frozen=True)
class SizedNetwork:
    """A network, and how a denoiser calls it.

    Attributes:
        name: for the tables.
        network: itself.
        shape: of one sample, `(channels, height, width)`.
        call: `(network, samples (N, *shape), timesteps (N,)) -> (N, *shape)`, one branch, without guidance.
    """

    name: str
    network: nn.Module
    shape: tuple[int, int, int]
    call: Callable[[nn.Module, Tensor, Tensor], Tensor]


def build_sd15(device: str, *, tiny: bool) -> SizedNetwork:
    """Return the UNet of Stable Diffusion 1.5, 512 x 512 pixels."""
    width, side = (8, 8) if tiny else (768, 64)
    options: Mapping[str, Any] = TINY_UNET if tiny else {}
    unet = _build(
        lambda: diffusers.UNet2DConditionModel(
            sample_size=side, cross_attention_dim=width, attention_head_dim=4 if tiny else 8, **options
        ),
        device,
    )
    context = torch.randn(1, 4 if tiny else 77, width, device=device, dtype=torch.bfloat16)

    def call(network: nn.Module, samples: Tensor, timesteps: Tensor) -> Tensor:
        hidden: Tensor = network(
            samples, timesteps, encoder_hidden_states=context.expand(len(samples), -1, -1), return_dict=False
        )[0]
        return hidden

    return SizedNetwork("SD 1.5 UNet", unet, (4, side, side), call)


def build_sdxl(device: str, *, tiny: bool) -> SizedNetwork:
    """Return the UNet of Stable Diffusion XL, 1024 x 1024 pixels."""
    width, side, pooled = (8, 8, 8) if tiny else (2048, 128, 1280)
    time_width = 8 if tiny else 256
    options: Mapping[str, Any] = {**TINY_UNET, "attention_head_dim": 4} if tiny else SDXL
    extra = {**TEXT_TIME, "addition_time_embed_dim": time_width}
    projected = pooled + 6 * time_width
    unet = _build(
        lambda: diffusers.UNet2DConditionModel(
            sample_size=side, cross_attention_dim=width, projection_class_embeddings_input_dim=projected,
            **options, **extra,
        ),
        device,
    )  # fmt: skip
    context = torch.randn(1, 4 if tiny else 77, width, device=device, dtype=torch.bfloat16)
    text = torch.randn(1, pooled, device=device, dtype=torch.bfloat16)
    times = torch.tensor([[1024.0, 1024, 0, 0, 1024, 1024]], device=device, dtype=torch.bfloat16)

    def call(network: nn.Module, samples: Tensor, timesteps: Tensor) -> Tensor:
        count = len(samples)
        conditions = {"text_embeds": text.expand(count, -1), "time_ids": times.expand(count, -1)}
        hidden: Tensor = network(
            samples, timesteps, encoder_hidden_states=context.expand(count, -1, -1), added_cond_kwargs=conditions,
            return_dict=False,
        )[0]  # fmt: skip
        return hidden

    return SizedNetwork("SDXL UNet", unet, (4, side, side), call)


def build_flux(device: str, *, tiny: bool) -> SizedNetwork:
    """Return a transformer built like Flux with a third of its layers, 1024 x 1024 pixels; 16 channels packed to 64."""
    side, tokens, width, pooled = (4, 4, 16, 8) if tiny else (64, 512, 4096, 768)
    options: Mapping[str, Any] = {"num_layers": 6, "num_single_layers": 12}
    if tiny:
        options = {
            "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16, "num_attention_heads": 2,
            "joint_attention_dim": width, "pooled_projection_dim": pooled, "axes_dims_rope": (4, 6, 6),
        }  # fmt: skip
    network = _build(lambda: diffusers.FluxTransformer2DModel(guidance_embeds=True, **options), device)
    context = torch.randn(1, tokens, width, device=device, dtype=torch.bfloat16)
    text = torch.randn(1, pooled, device=device, dtype=torch.bfloat16)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    places = torch.stack([torch.zeros(side * side), rows.flatten(), columns.flatten()], 1).to(device)
    text_places = torch.zeros(tokens, 3, device=device)

    def call(network: nn.Module, samples: Tensor, timesteps: Tensor) -> Tensor:
        count = len(samples)
        packed: Tensor = network(
            hidden_states=samples.flatten(2).transpose(1, 2), encoder_hidden_states=context.expand(count, -1, -1),
            pooled_projections=text.expand(count, -1), timestep=timesteps.to(samples) / 1000,
            guidance=torch.full((count,), 3.5, device=device, dtype=torch.bfloat16), img_ids=places,
            txt_ids=text_places, return_dict=False,
        )[0]  # fmt: skip
        return packed.transpose(1, 2).reshape(samples.shape)

    return SizedNetwork("Flux-like transformer", network, (64, side, side), call)


NETWORK_SHARE = 0.05  # of the network's output in a denoised sample
BUILDERS = (build_sd15, build_flux, build_sdxl)


def _build(make: Callable[[], nn.Module], device: str) -> nn.Module:
    torch.manual_seed(0)
    with torch.device(device):
        return make().to(torch.bfloat16).eval()


class TemplateDenoiser:
    """The exact denoiser of eight smooth pictures, with a share of the network's output."""

    def __init__(self, sized: SizedNetwork, network: nn.Module, device: str) -> None:
        generator = torch.Generator().manual_seed(1)
        coarse = torch.randn(8, sized.shape[0], 2, 2, generator=generator)
        pictures = nn.functional.interpolate(coarse, size=sized.shape[1:], mode="bilinear")
        self.pictures = pictures.to(device)
        self.scheduler = diffusers.DDIMScheduler(prediction_type="sample", clip_sample=False)
        self._signal = self.scheduler.alphas_cumprod.to(device)
        self._sized, self._network = sized, network

    def __call__(self, samples: Tensor, timesteps: Tensor) -> Tensor:
        output = self._sized.call(self._network, samples.to(torch.bfloat16), timesteps).to(samples)
        signal = self._signal[timesteps.long()].reshape(-1, 1)
        distances = samples.flatten(1)[:, None] - signal.sqrt()[..., None] * self.pictures.flatten(1)
        weights = (-distances.square().sum(2) / (2 * (1 - signal + 0.25 * signal)) / 16).softmax(1)
        exact = torch.einsum("nk,kchw->nchw", weights, self.pictures)
        return exact + NETWORK_SHARE * torch.tanh(output)


def measure_psnr(sampled: Tensor, truth: Tensor) -> float:
    """Return the ratio of the largest value to the error, in dB."""
    error = float((sampled - truth).square().mean())
    return float(10 * torch.log10(truth.abs().max() ** 2 / max(error, 1e-12)))


def run_plain_loop(denoiser: TemplateDenoiser, noise: Tensor) -> Tensor:
    """Return the sample of the plain loop."""
    scheduler = denoiser.scheduler
    state = noise
    for timestep in scheduler.timesteps:
        predicted = denoiser(state, timestep.reshape(1).to(noise.device))
        state = scheduler.step(predicted, timestep, state).prev_sample
    return state
