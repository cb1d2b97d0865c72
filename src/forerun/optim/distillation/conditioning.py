"""Conditioning: what a network is told of a prompt and a camera, as the named arguments of its call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

Arguments = Mapping[str, Any]
"""Named arguments of a network: tensors with a row a picture, or mappings of such."""


class Conditioning(ABC):
    """The arguments with the prompt, and those without it, for classifier-free guidance (Ho and Salimans 2022)."""

    @abstractmethod
    def prompt_arguments(self, count: int, cameras: Any) -> Arguments:
        """For `count` pictures, seen by `cameras` (None where they do not matter): told what to show."""

    @abstractmethod
    def negative_arguments(self, count: int, cameras: Any) -> Arguments:
        """The same pictures, told nothing, or what not to show."""


@final
@dataclass(frozen=True)
class FixedPrompt(Conditioning):
    """The same arguments for every picture and camera.

    Args:
        prompt: arguments of one picture; tensors have one row.
        negative: the same without the prompt.
    """

    prompt: Arguments
    negative: Arguments

    @staticmethod
    def from_pipeline(pipe: Any, prompt: str, negative: str = "") -> FixedPrompt:
        """From a pipeline of diffusers with `encode_prompt`, such as `StableDiffusionPipeline` or `IFPipeline`.

        Raises:
            TypeError: the pipeline encodes prompts in another way.
        """
        return FixedPrompt(_encoded(pipe, prompt), _encoded(pipe, negative))

    def prompt_arguments(self, count: int, cameras: Any) -> Arguments:
        return _expanded(self.prompt, count)

    def negative_arguments(self, count: int, cameras: Any) -> Arguments:
        return _expanded(self.negative, count)


@final
@dataclass(frozen=True)
class DirectionalPrompts(Conditioning):
    """Prompts that say from where the thing is seen (DreamFusion, arXiv 2209.14988, section 3.2).

    Args:
        views: prompts by name, each one row, such as those of "a chair, front view" and "a chair, back view".
        which: the position in `views` for every camera, int64 `(N,)`.
        negative: without the prompt.
    """

    views: tuple[Arguments, ...]
    which: Callable[[Any], Tensor]
    negative: Arguments

    def prompt_arguments(self, count: int, cameras: Any) -> Arguments:
        rows = self.which(cameras).tolist()
        return _joined([self.views[row] for row in rows])

    def negative_arguments(self, count: int, cameras: Any) -> Arguments:
        return _expanded(self.negative, count)


@final
@dataclass(frozen=True)
class CameraConditioning(Conditioning):
    """Another conditioning, with the camera told as one more argument.

    Args:
        words: the conditioning of the prompt.
        camera: the argument of the network and its value `(N, ...)` for cameras.
    """

    words: Conditioning
    camera: Callable[[Any], Tensor]
    name: str = field(default="class_labels")

    def prompt_arguments(self, count: int, cameras: Any) -> Arguments:
        return {**self.words.prompt_arguments(count, cameras), self.name: self.camera(cameras)}

    def negative_arguments(self, count: int, cameras: Any) -> Arguments:
        return {**self.words.negative_arguments(count, cameras), self.name: self.camera(cameras)}


def stack_arguments(parts: list[Arguments]) -> Arguments:
    """Arguments of several sets of pictures, one set after the other."""
    return _joined(parts)


def _encoded(pipe: Any, prompt: str) -> Arguments:
    if not hasattr(pipe, "encode_prompt"):
        raise TypeError(
            f"{type(pipe).__name__} has no encode_prompt; write "
            "FixedPrompt({'encoder_hidden_states': embeddings}, ...) with what its network takes"
        )
    # the names that pipelines have for these differ, but the first of what they return is the prompt
    with torch.no_grad():
        encoded = pipe.encode_prompt(
            prompt, device=pipe.device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
    return {"encoder_hidden_states": encoded[0] if isinstance(encoded, tuple) else encoded}


def _expanded(arguments: Arguments, count: int) -> Arguments:
    return {
        name: _expanded(value, count) if isinstance(value, Mapping) else value.expand(count, *value.shape[1:])
        for name, value in arguments.items()
    }


def _joined(parts: list[Arguments]) -> Arguments:
    return {
        name: _joined([part[name] for part in parts])
        if isinstance(value, Mapping)
        else torch.cat([part[name] for part in parts])
        for name, value in parts[0].items()
    }
