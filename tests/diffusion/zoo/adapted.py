"""Stable Diffusion with something loaded into its networks or their attention: LoRA, IP-Adapter, FreeU, guidance by
perturbed or by blurred attention, and several views of one canvas."""

from __future__ import annotations

from typing import Any

import diffusers
import peft
import torch
from diffusers.models.attention_processor import IPAdapterAttnProcessor
from diffusion.zoo.entry import Ask, Entry, built
from diffusion.zoo.flow import distilled, parts_flux, parts_sd3, t5
from diffusion.zoo.parts import WIDTH, autoencoder, clip_features, clip_image
from diffusion.zoo.stable_diffusion import SIZE, ddim, parts, unet
from diffusion.zoo.stable_diffusion_xl import parts_xl, sized, unet_xl

LORA = {"r": 2, "lora_alpha": 4, "target_modules": ["to_q", "to_k", "to_v", "to_out.0"]}


def adapted(network: Any, *names: str) -> None:
    """Adapters of low rank that change what the network returns."""
    for name in names:
        network.add_adapter(peft.LoraConfig(**LORA), name)
    for name, weight in network.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=weight.shape[1] ** -0.5)


@built
def lora() -> Any:
    pipe = diffusers.StableDiffusionPipeline(**parts(unet(), ddim()), requires_safety_checker=False)
    adapted(pipe.unet, "first", "second")
    pipe.set_adapters(["first", "second"], [0.7, 0.4])
    return pipe


@built
def lora_flux() -> Any:
    pipe = diffusers.FluxPipeline(**parts_flux())
    adapted(pipe.transformer, "first")
    return pipe


def image_prompt(network: Any) -> dict[str, Any]:
    """The weights of an IP-Adapter as its files hold them."""
    attention, key = {}, 1
    sizes = network.config.block_out_channels
    widths = {"mid_block": sizes[-1]}
    widths |= {f"down_blocks.{block}": size for block, size in enumerate(sizes)}
    widths |= {f"up_blocks.{block}": size for block, size in enumerate(reversed(sizes))}
    across = network.config.cross_attention_dim
    for name in network.attn_processors:
        if name.endswith("attn2.processor"):
            width = next(size for block, size in widths.items() if name.startswith(block))
            made = IPAdapterAttnProcessor(hidden_size=width, cross_attention_dim=across).state_dict()
            attention[f"{key}.to_k_ip.weight"] = made["to_k_ip.0.weight"]
            attention[f"{key}.to_v_ip.weight"] = made["to_v_ip.0.weight"]
            key += 2
    projection = {
        "proj.weight": torch.randn(4 * across, WIDTH) / WIDTH**0.5,
        "proj.bias": torch.zeros(4 * across),
        "norm.weight": torch.ones(across),
        "norm.bias": torch.zeros(across),
    }
    return {"image_proj": projection, "ip_adapter": attention}


def prompted_by_images(pipe: Any) -> Any:
    pipe.unet._load_ip_adapter_weights(image_prompt(pipe.unet))
    pipe.set_ip_adapter_scale(0.8)
    return pipe


@built
def ip_adapter() -> Any:
    components = parts(unet(), ddim(), image_encoder=clip_image(), feature_extractor=clip_features())
    return prompted_by_images(diffusers.StableDiffusionPipeline(**components, requires_safety_checker=False))


@built
def ip_adapter_xl() -> Any:
    components = parts_xl(unet_xl(), image_encoder=clip_image(), feature_extractor=clip_features())
    return prompted_by_images(diffusers.StableDiffusionXLPipeline(**components))


@built
def freeu() -> Any:
    network = unet(down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2)
    pipe = diffusers.StableDiffusionPipeline(**parts(network, ddim()), requires_safety_checker=False)
    pipe.enable_freeu(s1=0.9, s2=0.2, b1=1.2, b2=1.4)
    return pipe


@built
def perturbed() -> Any:
    components = parts(unet(), ddim())
    return diffusers.StableDiffusionPAGPipeline(**components, requires_safety_checker=False, pag_applied_layers=["mid"])


@built
def perturbed_xl() -> Any:
    return diffusers.StableDiffusionXLPAGPipeline(**parts_xl(unet_xl()), pag_applied_layers=["mid"])


@built
def perturbed_sd3() -> Any:
    return diffusers.StableDiffusion3PAGPipeline(**parts_sd3(), pag_applied_layers=["blocks.1"])


@built
def blurred() -> Any:
    return diffusers.StableDiffusionSAGPipeline(**parts(unet(), ddim()), requires_safety_checker=False)


@built
def panorama() -> Any:
    network = unet(block_out_channels=(4, 8))
    components = parts(network, ddim(), vae=autoencoder(blocks=4))  # its views suppose 8 pixels a latent
    return diffusers.StableDiffusionPanoramaPipeline(**components, requires_safety_checker=False)


def shown(ask: Ask) -> dict[str, Any]:
    embeds = ask.normal(2 if ask.guidance else 1, 1, WIDTH)  # without the image, and with it
    return ask.text(ip_adapter_image_embeds=[embeds], height=SIZE, width=SIZE)


def wide(ask: Ask) -> dict[str, Any]:
    """Two views of 64 x 64 latents, overlapping."""
    return ask.text(height=512, width=576)


ENTRIES = (
    Entry("lora", lora, Ask.text),
    Entry("lora-flux", lora_flux, distilled, "transformer", guides=False),
    Entry("ip-adapter", ip_adapter, shown),
    Entry("ip-adapter-sdxl", ip_adapter_xl, shown),
    Entry("freeu", freeu, Ask.text),
    Entry("pag", perturbed, lambda ask: ask.text(pag_scale=1.5)),
    Entry("pag-adaptive", perturbed, lambda ask: ask.text(pag_scale=1.5, pag_adaptive_scale=0.002)),
    Entry("pag-sdxl", perturbed_xl, lambda ask: {**sized(ask), "pag_scale": 1.5}),
    Entry("pag-sd3", perturbed_sd3, lambda ask: {**t5(ask), "pag_scale": 1.5}, "transformer"),
    Entry("sag", blurred, lambda ask: ask.text(sag_scale=0.75)),
    Entry("panorama", panorama, wide, batches=False),
)
