"""Prior: a diffusion model of pictures, asked which noise it sees in them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from forerun.optim.distillation.conditioning import Arguments, Conditioning, stack_arguments


class PictureSpace(ABC):
    """Where the model of a prior lives."""

    @abstractmethod
    def encode_pictures(self, pictures: Tensor) -> Tensor:
        """What the model sees of pictures `(N, 3, H, W)` in [0, 1]; gradients pass."""


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
            pictures = torch.nn.functional.interpolate(pictures, self.side, mode="bilinear", align_corners=False)
        signed = (2 * pictures - 1).to(self.vae.dtype)
        mean = self.vae.encode(signed).latent_dist.mean.to(pictures.dtype)
        config = self.vae.config
        latents: Tensor = (mean - (config.get("shift_factor") or 0.0)) * config.scaling_factor
        return latents


@final
@dataclass(frozen=True)
class Prior:
    """A network of diffusers, the scheduler that it was trained with, and what it is told.

    Args:
        network: a UNet or transformer, called as `network(noisy, timesteps, **arguments)`.
        scheduler: tells the noise of a timestep and what the network predicts: noise, velocity, the sample or, for
            the Euler scheduler of flow matching, the flow.
        conditioning: the arguments.
        space: where the network lives.
    """

    network: Callable[..., Any]
    scheduler: Any
    conditioning: Conditioning
    space: PictureSpace = PixelSpace()

    def __post_init__(self) -> None:
        if _kind(self.scheduler) not in _NOISE:
            raise ValueError(
                f"{type(self.scheduler).__name__} has prediction_type {_kind(self.scheduler)!r}, but a prior needs one "
                f"of {', '.join(_NOISE)}; write DDPMScheduler.from_config(pipe.scheduler.config)"
            )

    def timesteps_at(self, shares: Tensor) -> Tensor:
        """The timesteps `(N,)` at shares of the schedule `(N,)`, in the scheduler's own numbers."""
        count = int(self.scheduler.config.num_train_timesteps)
        return (shares * count).long().clamp(0, count - 1)

    def signal_and_noise(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Signal and noise of the timesteps, `(N,)` each: a noisy picture is `signal x + noise z`."""
        if _kind(self.scheduler) == "flow":
            noise = timesteps.float() / int(self.scheduler.config.num_train_timesteps)
            return 1 - noise, noise
        kept = self.scheduler.alphas_cumprod.to(timesteps.device)[timesteps]
        return kept.sqrt(), (1 - kept).sqrt()

    def network_arguments(self, count: int, cameras: Any, *, guided: bool) -> Arguments:
        """What the network is told of `count` pictures; with `guided`, of the pictures without the prompt first."""
        wanted = self.conditioning.prompt_arguments(count, cameras)
        return stack_arguments([self.conditioning.negative_arguments(count, cameras), wanted]) if guided else wanted

    def guided_noise(self, noisy: Tensor, timesteps: Tensor, cameras: Any = None, *, guidance: float = 1.0) -> Tensor:
        """The noise that the network sees in noisy pictures `(N, C, h, w)`, in one call of it.

        Args:
            noisy: in the prior's space.
            timesteps: `(N,)`.
            cameras: of the pictures, for the conditioning.
            guidance: how far beyond the answer without the prompt; 1 asks with the prompt only.
        """
        guided = guidance != 1
        arguments = self.network_arguments(len(noisy), cameras, guided=guided)
        twice = 2 if guided else 1
        found = self.predict_noise(noisy.repeat(twice, 1, 1, 1), timesteps.repeat(twice), arguments)
        if not guided:
            return found
        without, with_prompt = found.chunk(2)
        return without + guidance * (with_prompt - without)

    def predict_noise(self, noisy: Tensor, timesteps: Tensor, arguments: Arguments) -> Tensor:
        """The noise that the network sees, told these arguments."""
        dtype = getattr(self.network, "dtype", noisy.dtype)
        answer = self.network(noisy.to(dtype), timesteps, **arguments)
        answer = getattr(answer, "sample", answer)
        # some models tell a variance too, in as many channels more
        predicted = (answer[0] if isinstance(answer, tuple) else answer)[:, : noisy.shape[1]].to(noisy.dtype)
        signal, noise = (each.to(noisy)[:, None, None, None] for each in self.signal_and_noise(timesteps))
        return _NOISE[_kind(self.scheduler)](predicted, noisy, signal, noise)


# The noise z in x = s D + n z, from what the network predicts.
_NOISE: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "epsilon": lambda predicted, x, s, n: predicted,
    "v_prediction": lambda predicted, x, s, n: s * predicted + n * x,  # v = s z - n D, s^2 + n^2 = 1
    "sample": lambda predicted, x, s, n: (x - s * predicted) / n,
    "flow": lambda predicted, x, s, n: x + s * predicted,  # v = z - D, s + n = 1
}


def _kind(scheduler: Any) -> str:
    if type(scheduler).__name__.startswith("FlowMatch"):
        return "flow"
    return str(scheduler.config.get("prediction_type", "unknown"))
