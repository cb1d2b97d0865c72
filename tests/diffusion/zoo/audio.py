"""Sound: Stable Audio, AudioLDM 2, AudioLDM, Dance Diffusion."""

from __future__ import annotations

from typing import Any

import diffusers
import transformers
from diffusers.pipelines.stable_audio import StableAudioProjectionModel
from diffusion.zoo.entry import Ask, Entry, built
from diffusion.zoo.parts import TOKENS, WIDTH, autoencoder, lively, t5_text, t5_tokenizer
from diffusion.zoo.stable_diffusion import ddim


@built
def stable_audio() -> Any:
    network = diffusers.StableAudioDiTModel(
        sample_size=32,
        in_channels=3,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        num_key_value_attention_heads=2,
        out_channels=3,
        cross_attention_dim=16,
        time_proj_dim=8,
        global_states_input_dim=32,
        cross_attention_input_dim=16,
    )
    return diffusers.StableAudioPipeline(
        transformer=lively(network),
        scheduler=diffusers.EDMDPMSolverMultistepScheduler(  # its own needs torchsde
            prediction_type="v_prediction", sigma_min=0.3, sigma_max=80.0, sigma_data=1.0, sigma_schedule="exponential"
        ),
        vae=diffusers.AutoencoderOobleck(
            encoder_hidden_size=6,
            downsampling_ratios=[1, 2],
            decoder_channels=3,
            decoder_input_channels=3,
            channel_multiples=[2, 4],
            sampling_rate=4,
        ).eval(),
        text_encoder=t5_text(),
        tokenizer=t5_tokenizer(),
        projection_model=StableAudioProjectionModel(
            text_encoder_dim=WIDTH, conditioning_dim=16, min_value=0, max_value=32
        ).eval(),
    )


def vocoder() -> Any:
    config = transformers.SpeechT5HifiGanConfig(
        model_in_dim=8,
        upsample_initial_channel=16,
        upsample_rates=[2, 2],
        upsample_kernel_sizes=[4, 4],
        resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1, 3]],
        normalize_before=False,
    )
    return transformers.SpeechT5HifiGan(config).eval()


@built
def audioldm_2() -> Any:
    network = diffusers.AudioLDM2UNet2DConditionModel(
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=((None, 16, WIDTH),) * 2,  # itself, the generated tokens, the words
    )
    language = transformers.GPT2Config(n_embd=16, n_head=1, n_layer=1, vocab_size=32, n_positions=32)
    return diffusers.AudioLDM2Pipeline(
        unet=lively(network),
        scheduler=ddim(),
        vae=autoencoder(in_channels=1, out_channels=1),
        text_encoder=None,
        text_encoder_2=t5_text(),
        tokenizer=None,
        tokenizer_2=None,
        feature_extractor=None,
        language_model=transformers.GPT2LMHeadModel(language).eval(),
        projection_model=None,
        vocoder=vocoder(),
    )


@built
def dance() -> Any:
    network = diffusers.UNet1DModel(
        block_out_channels=(8, 32, 32),
        extra_in_channels=16,
        sample_size=64,
        sample_rate=64,
        in_channels=2,
        out_channels=2,
        flip_sin_to_cos=True,
        use_timestep_embedding=False,
        time_embedding_type="fourier",
        mid_block_type="UNetMidBlock1D",
        down_block_types=("DownBlock1DNoSkip", "DownBlock1D", "AttnDownBlock1D"),
        up_block_types=("AttnUpBlock1D", "UpBlock1D", "UpBlock1DNoSkip"),
    )
    return diffusers.DanceDiffusionPipeline(unet=lively(network), scheduler=diffusers.IPNDMScheduler())


def waves(ask: Ask) -> dict[str, Any]:
    request = ask.text(num_waveforms_per_prompt=ask.images)
    del request["num_images_per_prompt"]
    return request


def heard(ask: Ask) -> dict[str, Any]:
    """Embeddings of two text encoders: the pipeline's own need a tokenizer and a generation from a hub."""
    embeds = ask.embeds(TOKENS, WIDTH) | ask.masks(TOKENS, "{}attention_mask")
    generated = {"generated_prompt_embeds": ask.normal(ask.batch, 8, 16, seed=13)}
    if ask.guidance:
        generated["negative_generated_prompt_embeds"] = ask.normal(ask.batch, 8, 16, seed=14)
    return {**waves(ask), "prompt": None, **embeds, **generated, "audio_length_in_s": 0.004}


def unprompted(ask: Ask) -> dict[str, Any]:
    return {"batch_size": ask.batch, "num_inference_steps": ask.steps, "generator": ask.generator}


ENTRIES = (
    Entry("stable-audio", stable_audio, waves, "transformer"),
    Entry("audioldm2", audioldm_2, heard),
    Entry("dance-diffusion", dance, unprompted, several=False, guides=False),
)
