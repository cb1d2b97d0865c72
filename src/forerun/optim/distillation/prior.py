"""Prior: a diffusion model of pictures, and the noise that it sees in them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from forerun.optim.distillation.conditioning import Arguments, Conditioning, stack_arguments


class PictureSpace(ABC):
    """The space that the model of a prior works in."""

    @abstractmethod
    def encode_pictures(self, pictures: Tensor) -> Tensor:
        """Return pictures `(N, 3, H, W)` in [0, 1] in the model's space; gradients pass."""


@final
@dataclass(frozen=True)
class PixelSpace(PictureSpace):
    """Pictures themselves, in [-1, 1]."""

    def encode_pictures(self, pictures: Tensor) -> Tensor:
        return 2 * pictures - 1


@final
@dataclass(frozen=True)
class LatentSpace(PictureSpace):
    """The latents of an autoencoder of diffusers (their mean: the draw of the encoder is left out).

    Args:
        vae: an `AutoencoderKL`.
        side: pixels to which pictures are enlarged first, such as 512 for Stable Diffusion; None leaves them.
    """

    vae: Any
    side: int | None = None

    def encode_pictures(self, pictures: Tensor) -> Tensor:
        if self.side is not None:
            pictures = torch.nn.functional.interpolate(
                pictures,
                self.side,
                mode="bilinear",
                align_corners=False,
            )
        signed = (2 * pictures - 1).to(self.vae.dtype)
        mean = self.vae.encode(signed).latent_dist.mean.to(pictures.dtype)
        config = self.vae.config
        shift = config.get("shift_factor") or 0.0
        latents: Tensor = (mean - shift) * config.scaling_factor
        return latents


@final
@dataclass(frozen=True)
class Prior:
    """A network of diffusers, the scheduler that it was trained with, and its conditioning.

    Args:
        network: a UNet or transformer, called as `network(noisy, timesteps, **arguments)`.
        scheduler: knows the noise of a timestep and what the network predicts: noise, velocity, the sample or, for
            the Euler scheduler of flow matching, the flow.
        conditioning: the arguments.
        space: the space that the network works in.
    """

    network: Callable[..., Any]
    scheduler: Any
    conditioning: Conditioning
    space: PictureSpace = PixelSpace()

    def __post_init__(self) -> None:
        kind = _prediction_type(self.scheduler)
        if kind not in _NOISE_FROM_PREDICTION:
            raise ValueError(
                f"{type(self.scheduler).__name__} has prediction_type {kind!r}, but a prior needs one of "
                f"{', '.join(_NOISE_FROM_PREDICTION)}; write DDPMScheduler.from_config(pipe.scheduler.config)"
            )

    def timesteps_at(self, shares: Tensor) -> Tensor:
        """Return the timesteps `(N,)` at shares of the schedule `(N,)`, in the scheduler's own numbers."""
        count = self._timestep_count()
        return (shares * count).long().clamp(0, count - 1)

    def signal_and_noise(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Return signal and noise of the timesteps, `(N,)` each: a noisy picture is `signal x + noise z`."""
        if _prediction_type(self.scheduler) == "flow":
            noise = timesteps.float() / self._timestep_count()
            return 1 - noise, noise
        squared_signal = self.scheduler.alphas_cumprod.to(timesteps.device)[timesteps]
        return squared_signal.sqrt(), (1 - squared_signal).sqrt()

    def network_arguments(
        self,
        count: int,
        cameras: Any,
        *,
        guided: bool,
    ) -> Arguments:
        """Return the arguments for `count` pictures; with `guided`, of the pictures without the prompt first."""
        with_prompt = self.conditioning.prompt_arguments(count, cameras)
        if not guided:
            return with_prompt
        without_prompt = self.conditioning.negative_arguments(count, cameras)
        return stack_arguments([without_prompt, with_prompt])

    def guided_noise(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        cameras: Any = None,
        *,
        guidance: float = 1.0,
    ) -> Tensor:
        """Return the noise that the network sees in noisy pictures `(N, C, h, w)`, in one call of it.

        Args:
            noisy: in the prior's space.
            timesteps: `(N,)`.
            cameras: of the pictures, for the conditioning.
            guidance: how far to go from the answer without the prompt to that with it; 1 asks with the prompt only.
        """
        guided = guidance != 1
        arguments = self.network_arguments(len(noisy), cameras, guided=guided)
        copies = 2 if guided else 1
        noise = self.predict_noise(noisy.repeat(copies, 1, 1, 1), timesteps.repeat(copies), arguments)
        if not guided:
            return noise
        without_prompt, with_prompt = noise.chunk(2)
        return without_prompt + guidance * (with_prompt - without_prompt)

    def predict_noise(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        arguments: Arguments,
    ) -> Tensor:
        """Return the noise that the network sees, called with these arguments."""
        dtype = getattr(self.network, "dtype", noisy.dtype)
        answer = self.network(noisy.to(dtype), timesteps, **arguments)
        answer = getattr(answer, "sample", answer)
        if isinstance(answer, tuple):
            answer = answer[0]
        # some models predict a variance too, in as many channels more
        predicted = answer[:, : noisy.shape[1]].to(noisy.dtype)
        signal, noise = (over_pixels(rate, noisy) for rate in self.signal_and_noise(timesteps))
        noise_from_prediction = _NOISE_FROM_PREDICTION[_prediction_type(self.scheduler)]
        return noise_from_prediction(predicted, noisy, signal, noise)

    def _timestep_count(self) -> int:
        return int(self.scheduler.config.num_train_timesteps)


def over_pixels(values: Tensor, pictures: Tensor) -> Tensor:
    """Return one value a picture `(N,)` as `(N, 1, 1, 1)`, in the dtype and on the device of the pictures."""
    return values.to(pictures)[:, None, None, None]


# The noise z in x = s D + n z, from what the network predicts.
_NOISE_FROM_PREDICTION: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "epsilon": lambda predicted, x, s, n: predicted,
    "v_prediction": lambda predicted, x, s, n: s * predicted + n * x,  # v = s z - n D, s^2 + n^2 = 1
    "sample": lambda predicted, x, s, n: (x - s * predicted) / n,
    "flow": lambda predicted, x, s, n: x + s * predicted,  # v = z - D, s + n = 1
}


def _prediction_type(scheduler: Any) -> str:
    if type(scheduler).__name__.startswith("FlowMatch"):
        return "flow"
    return str(scheduler.config.get("prediction_type", "unknown"))
