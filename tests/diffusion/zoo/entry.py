"""What the zoo holds: one entry a pipeline family, built of tiny random networks in memory."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

PROMPTS = ("a red cat", "two old boats", "snow", "sad green robot")
THIRD_PARTY = (  # beginnings of warnings about others' code, which a user of a pipeline cannot act on
    "__array__ implementation doesn't accept a copy keyword",
    "`FluxPosEmbed` is deprecated",
    "Already found a `peft_config` attribute",
    "`LoraLoaderMixin` is deprecated",
    "The preprocess method is deprecated",
    "`torch.nn.utils.weight_norm` is deprecated",
    "In CPU autocast, but the target dtype is not supported",
)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of `THIRD_PARTY`."""
    with warnings.catch_warnings():
        for beginning in THIRD_PARTY:
            warnings.filterwarnings("ignore", beginning)
        yield


@dataclass(frozen=True)
class Ask:
    """What a call of a pipeline should do, the same words for every family."""

    steps: int = 10
    guidance: bool = True
    batch: int = 1
    images: int = 1
    seed: int = 0
    dtype: torch.dtype = torch.float32

    @property
    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    @property
    def prompt(self) -> str | list[str]:
        prompts = [PROMPTS[index % len(PROMPTS)] for index in range(self.batch)]
        return prompts[0] if self.batch == 1 else prompts

    def scale(self, guided: float = 3.0, plain: float = 1.0) -> float:
        return guided if self.guidance else plain

    def normal(self, *shape: int, seed: int = 11) -> Tensor:
        """Numbers that stand for embeddings; the same whatever the seed of the sample."""
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(self.dtype)

    def embeds(self, tokens: int, width: int) -> dict[str, Tensor]:
        """Embedded prompts, and what they are guided away from where guidance is asked for."""
        embeds = {"prompt_embeds": self.normal(self.batch, tokens, width)}
        if self.guidance:
            embeds["negative_prompt_embeds"] = self.normal(self.batch, tokens, width, seed=12)
        return embeds

    def masks(self, tokens: int, names: str = "{}prompt_attention_mask") -> dict[str, Tensor]:
        """Which tokens count: all of the first prompt, fewer of the second."""
        mask = torch.ones(self.batch, tokens, dtype=torch.long)
        mask[1::2, -3:] = 0
        kinds = ("", "negative_") if self.guidance else ("",)
        return {names.format(kind): mask.clone() for kind in kinds}

    def text(self, **more: Any) -> dict[str, Any]:
        """The arguments that nearly every text-to-image pipeline takes."""
        return {
            "prompt": self.prompt,
            "num_inference_steps": self.steps,
            "guidance_scale": self.scale(),
            "num_images_per_prompt": self.images,
            "generator": self.generator,
            "output_type": "latent",
            **more,
        }


@dataclass(frozen=True)
class Entry:
    """One family.

    Attributes:
        fresh: builds a new pipeline; `build` returns a cached one.
        arguments: from what is asked to the arguments of the pipeline.
        network: the component that predicts.
        batches: whether several prompts or labels may be asked.
        several: whether several images a prompt may be asked.
        guides: whether asking for guidance makes a difference.
        half: whether it runs after `.to(torch.bfloat16)`.
        slow: whether its tests take more than ten seconds.
    """

    name: str
    fresh: Callable[[], Any]
    arguments: Callable[[Ask], dict[str, Any]]
    network: str = "unet"
    batches: bool = True
    several: bool = True
    guides: bool = True
    half: bool = True
    slow: bool = False

    def __repr__(self) -> str:
        return self.name

    def build(self, dtype: torch.dtype = torch.float32) -> Any:
        """The pipeline, shared by all entries with this builder: leave it as it was."""
        return _built(self.fresh, dtype)

    def call(
        self,
        *,
        steps: int = 10,
        guidance: bool = True,
        batch: int = 1,
        images: int = 1,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        **more: Any,
    ) -> dict[str, Any]:
        """Arguments for the pipeline; `dtype` is what it was built in, `more` are its own and go last."""
        return {**self.arguments(Ask(steps, guidance, batch, images, seed, dtype)), **more}

    def run(self, pipe: Any = None, **request: Any) -> Tensor:
        """What the pipeline returns, as one tensor."""
        with quiet():
            return tensor((self.build() if pipe is None else pipe)(**self.call(**request)))


@functools.cache
def _built(fresh: Callable[[], Any], dtype: torch.dtype) -> Any:
    pipe = fresh()
    return pipe if dtype == torch.float32 else pipe.to(dtype)


def tensor(output: Any) -> Tensor:
    """The first field of a pipeline's output, or the output itself, as one tensor."""
    output = output if isinstance(output, Tensor | list) else output[0]
    while isinstance(output, list):
        output = torch.stack([torch.as_tensor(entry) for entry in output])
    return torch.as_tensor(output)


def built(make: Callable[[], Any]) -> Callable[[], Any]:
    """A builder that is seeded, leaves the global generator alone and shows no progress bar."""

    @functools.wraps(make)
    def seeded() -> Any:
        with quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            pipe = make()
        if hasattr(pipe, "set_progress_bar_config"):
            pipe.set_progress_bar_config(disable=True)
        return pipe

    return seeded
