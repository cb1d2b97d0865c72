"""Networks that steer another: ControlNet, one or several, for all steps or for some; and T2I-Adapter."""

from __future__ import annotations

from typing import Any

import diffusers
from diffusion.zoo.entry import Ask, Entry, built
from diffusion.zoo.flow import SHIFTED, distilled, parts_flux, parts_sd3, t5
from diffusion.zoo.parts import WIDTH, autoencoder, lively, picture
from diffusion.zoo.stable_diffusion import SIZE, ddim, parts, unet, with_image, with_mask
from diffusion.zoo.stable_diffusion_xl import parts_xl, unet_xl


def controlnet(network: Any) -> Any:
    """One that fits a UNet, with an image as large as two by two of its latents."""
    control = diffusers.ControlNetModel.from_unet(network, conditioning_embedding_out_channels=(8, 8))
    return lively(control, gain=0.5)


def sd(control: Any = controlnet, kind: str = "StableDiffusionControlNetPipeline") -> Any:
    network = unet()
    components = parts(network, ddim(), controlnet=control(network))
    return getattr(diffusers, kind)(**components, requires_safety_checker=False)


@built
def one() -> Any:
    return sd()


@built
def two() -> Any:
    return sd(lambda network: [controlnet(network), controlnet(network)])


@built
def img2img() -> Any:
    return sd(kind="StableDiffusionControlNetImg2ImgPipeline")


@built
def inpaint() -> Any:
    return sd(kind="StableDiffusionControlNetInpaintPipeline")


@built
def xl() -> Any:
    network = unet_xl()
    return diffusers.StableDiffusionXLControlNetPipeline(**parts_xl(network, controlnet=controlnet(network)))


@built
def adapter() -> Any:
    steering = diffusers.T2IAdapter(
        in_channels=3, channels=[16, 32], num_res_blocks=1, downscale_factor=2, adapter_type="full_adapter"
    )
    network = unet(down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"))
    components = parts(network, ddim(), adapter=lively(steering))
    return diffusers.StableDiffusionAdapterPipeline(**components, requires_safety_checker=False)


@built
def sd3() -> Any:
    components = parts_sd3(vae=autoencoder(sure=True, use_quant_conv=False, use_post_quant_conv=False, **SHIFTED))
    control = diffusers.SD3ControlNetModel.from_transformer(
        components["transformer"], num_layers=1, num_extra_conditioning_channels=0
    )
    return diffusers.StableDiffusion3ControlNetPipeline(**components, controlnet=lively(control, gain=0.5))


@built
def flux() -> Any:
    control = diffusers.FluxControlNetModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        axes_dims_rope=[4, 4, 8],
    )
    return diffusers.FluxControlNetPipeline(**parts_flux(), controlnet=lively(control, gain=0.5))


def hinted(ask: Ask) -> dict[str, Any]:
    return ask.text(image=picture(SIZE).expand(ask.batch, -1, -1, -1))


def guessed(ask: Ask) -> dict[str, Any]:
    """The controlnet sees the prompted half only, and the other half gets zeros."""
    return {**hinted(ask), "guess_mode": True}


def ending(ask: Ask) -> dict[str, Any]:
    """From half of the steps on, the controlnet's outputs are multiplied by 0."""
    return {**hinted(ask), "control_guidance_end": 0.5}


def hinted_twice(ask: Ask) -> dict[str, Any]:
    hints = [picture(SIZE, seed=seed).expand(ask.batch, -1, -1, -1) for seed in (5, 6)]
    return ask.text(image=hints, controlnet_conditioning_scale=[1.0, 0.5])


def controlled(ask: Ask) -> dict[str, Any]:
    return {**t5(ask), "control_image": picture(SIZE).expand(ask.batch, -1, -1, -1)}


ENTRIES = (
    Entry("controlnet", one, hinted),
    Entry("controlnet-guess", one, guessed),
    Entry("controlnet-ending", one, ending),
    Entry("controlnet-two", two, hinted_twice),
    Entry("controlnet-img2img", img2img, lambda ask: {**with_image(ask), "control_image": hinted(ask)["image"]}),
    Entry("controlnet-inpaint", inpaint, lambda ask: {**with_mask(ask), "control_image": with_mask(ask)["image"]}),
    Entry("controlnet-sdxl", xl, lambda ask: {**hinted(ask), "height": SIZE, "width": SIZE}),
    Entry("controlnet-sd3", sd3, controlled, "transformer"),
    Entry("controlnet-flux", flux, lambda ask: {**controlled(ask), **distilled(ask)}, "transformer", guides=False),
    Entry("t2i-adapter", adapter, hinted),
)
