"""Without text: DDPM, DDIM and their relatives, and DiT, which is given classes."""

from __future__ import annotations

from typing import Any

import diffusers
from diffusion.zoo.entry import Ask, Entry, built
from diffusion.zoo.parts import autoencoder, lively


def network(**more: Any) -> Any:
    options = {
        "sample_size": 8,
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": 8,
        "norm_num_groups": 4,
    }
    return lively(diffusers.UNet2DModel(**{**options, **more}))


@built
def ddpm() -> Any:
    return diffusers.DDPMPipeline(network(), diffusers.DDPMScheduler())


@built
def ddim() -> Any:
    return diffusers.DDIMPipeline(network(), diffusers.DDIMScheduler())


@built
def consistency() -> Any:
    scheduler = diffusers.CMStochasticIterativeScheduler(num_train_timesteps=200)
    return diffusers.ConsistencyModelPipeline(network(num_class_embeds=10), scheduler)


@built
def dit() -> Any:
    transformer = diffusers.DiTTransformer2DModel(
        sample_size=8,
        num_layers=2,
        patch_size=4,
        attention_head_dim=8,
        num_attention_heads=2,
        in_channels=4,
        out_channels=8,
        activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_zero",
        norm_elementwise_affine=False,
    )
    return diffusers.DiTPipeline(lively(transformer), autoencoder(), diffusers.DDIMScheduler())


def images(ask: Ask) -> dict[str, Any]:
    return {
        "batch_size": ask.batch,
        "num_inference_steps": ask.steps,
        "generator": ask.generator,
        "output_type": "np",
    }


def classes(ask: Ask) -> dict[str, Any]:
    return {
        "class_labels": [index + 3 for index in range(ask.batch)],
        "guidance_scale": ask.scale(),
        "num_inference_steps": ask.steps,
        "generator": ask.generator,
        "output_type": "np",
    }


def labelled(ask: Ask) -> dict[str, Any]:
    return {**images(ask), "class_labels": [1] * ask.batch, "output_type": "pt"}


PLAIN = {"several": False, "guides": False}
ENTRIES = (
    Entry("ddpm", ddpm, images, half=False, **PLAIN),  # numpy has no bfloat16
    Entry("ddim", ddim, images, half=False, **PLAIN),
    Entry("ddim-eta", ddim, lambda ask: {**images(ask), "eta": 1.0}, half=False, **PLAIN),
    Entry("dit", dit, classes, "transformer", several=False),
    Entry("consistency", consistency, labelled, **PLAIN),
)
