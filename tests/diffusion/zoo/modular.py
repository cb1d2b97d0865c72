"""Modular pipelines: blocks that are put together, with a guider that calls the network once a branch."""

from __future__ import annotations

from typing import Any

import diffusers
from diffusion.zoo.entry import Ask, Entry, built
from diffusion.zoo.flow import parts_flux, parts_sd3
from diffusion.zoo.parts import TOKENS, WIDTH, lively
from diffusion.zoo.stable_diffusion import SIZE, with_image, with_mask
from diffusion.zoo.stable_diffusion_xl import parts_xl, unet_xl
from diffusion.zoo.video import FLOW_UNIPC, wan_network, wan_vae


def assembled(blocks: Any, components: dict[str, Any], guider: Any = None) -> Any:
    """A pipeline of blocks that returns latents: what decodes them is left out."""
    blocks.sub_blocks.pop("decode", None)
    silence(blocks)
    pipe = blocks.init_pipeline()
    accepted = {name: module for name, module in components.items() if name in pipe.components}
    pipe.update_components(**accepted, **({} if guider is None else {"guider": guider}))
    return pipe


def silence(block: Any) -> None:
    """No progress bar in any loop among the blocks; a pipeline's own method reaches only the first level."""
    for inner in getattr(block, "sub_blocks", {}).values():
        silence(inner)
    if isinstance(block, diffusers.modular_pipelines.LoopSequentialPipelineBlocks):
        block.set_progress_bar_config(disable=True)


def sdxl(guider: Any = None, channels: int = 4) -> Any:
    guider = diffusers.ClassifierFreeGuidance(guidance_scale=3.0) if guider is None else guider
    return assembled(diffusers.StableDiffusionXLAutoBlocks(), parts_xl(unet_xl(channels)), guider)


@built
def plain() -> Any:
    return sdxl()


@built
def projected() -> Any:
    """Guidance whose part along the prediction is damped, and which remembers its last direction."""
    return sdxl(diffusers.AdaptiveProjectedGuidance(guidance_scale=3.0, adaptive_projected_guidance_momentum=-0.5))


@built
def without() -> Any:
    return sdxl(diffusers.ClassifierFreeGuidance(guidance_scale=1.0))


@built
def flux() -> Any:
    return assembled(diffusers.FluxAutoBlocks(), parts_flux(guided=True))


@built
def sd3() -> Any:
    guider = diffusers.ClassifierFreeGuidance(guidance_scale=3.0)
    return assembled(diffusers.StableDiffusion3AutoBlocks(), parts_sd3(), guider)


@built
def wan() -> Any:
    guider = diffusers.ClassifierFreeGuidance(guidance_scale=3.0)
    components = {
        "transformer": lively(wan_network()),
        "scheduler": diffusers.UniPCMultistepScheduler(**FLOW_UNIPC),
        "vae": wan_vae(),
    }
    blocks = diffusers.WanBlocks()
    blocks.sub_blocks.pop("text_encoder")  # it calls ftfy whether it is installed or not
    return assembled(blocks, components, guider)


def latents(ask: Ask) -> dict[str, Any]:
    request = ask.text(height=SIZE, width=SIZE, output="latents")
    del request["guidance_scale"], request["output_type"]
    return request


def from_image(ask: Ask) -> dict[str, Any]:
    return {**latents(ask), "image": with_image(ask)["image"], "strength": 0.8}


def masked(ask: Ask) -> dict[str, Any]:
    arguments = with_mask(ask)
    return {**latents(ask), "image": arguments["image"], "mask_image": arguments["mask_image"], "strength": 0.99}


def t5(ask: Ask) -> dict[str, Any]:
    return {**latents(ask), "max_sequence_length": TOKENS}


def filmed(ask: Ask) -> dict[str, Any]:
    arguments = {"num_videos_per_prompt": ask.images, **ask.embeds(TOKENS, WIDTH)}
    request = {**latents(ask), "height": 32, "width": 32, "num_frames": 9, **arguments}
    del request["num_images_per_prompt"], request["prompt"]
    return request


ENTRIES = (
    Entry("modular-sdxl", plain, latents, guides=False),
    Entry("modular-sdxl-unguided", without, latents, guides=False),
    Entry("modular-sdxl-projected", projected, latents, guides=False),
    Entry("modular-sdxl-img2img", plain, from_image, guides=False),
    Entry("modular-sdxl-inpaint", plain, masked, guides=False),
    Entry("modular-flux", flux, lambda ask: {**t5(ask), "guidance_scale": ask.scale()}, "transformer"),
    Entry("modular-sd3", sd3, t5, "transformer", guides=False),
    Entry("modular-wan", wan, filmed, "transformer", guides=False),
)
