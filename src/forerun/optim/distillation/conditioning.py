"""Conditioning: how a prompt and cameras reach a network, as the named arguments of its call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
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
        """Return the arguments with the prompt for `count` pictures.

        Args:
            count: pictures.
            cameras: that the pictures are seen by; None where they do not matter.
        """

    @abstractmethod
    def negative_arguments(self, count: int, cameras: Any) -> Arguments:
        """Return the arguments for the same pictures without the prompt, or with what not to show."""


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
        """Encode prompts by a pipeline of diffusers that has `encode_prompt`: `StableDiffusionPipeline`, `IFPipeline`.

        Raises:
            TypeError: the pipeline encodes prompts in another way.
        """
        return FixedPrompt(_encode_prompt(pipe, prompt), _encode_prompt(pipe, negative))

    def prompt_arguments(self, count: int, cameras: Any) -> Arguments:
        return _expand_rows(self.prompt, count)

    def negative_arguments(self, count: int, cameras: Any) -> Arguments:
        return _expand_rows(self.negative, count)


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
        return stack_arguments([self.views[row] for row in rows])

    def negative_arguments(self, count: int, cameras: Any) -> Arguments:
        return _expand_rows(self.negative, count)


@final
@dataclass(frozen=True)
class CameraConditioning(Conditioning):
    """Another conditioning, and the camera as one more argument.

    Args:
        prompt: the conditioning of the prompt.
        camera: the value of the argument, `(N, ...)`, for cameras.
        name: of the argument.
    """

    prompt: Conditioning
    camera: Callable[[Any], Tensor]
    name: str = field(default="class_labels")

    def prompt_arguments(self, count: int, cameras: Any) -> Arguments:
        arguments = self.prompt.prompt_arguments(count, cameras)
        return {**arguments, self.name: self.camera(cameras)}

    def negative_arguments(self, count: int, cameras: Any) -> Arguments:
        arguments = self.prompt.negative_arguments(count, cameras)
        return {**arguments, self.name: self.camera(cameras)}


def stack_arguments(groups: Sequence[Arguments]) -> Arguments:
    """Return the arguments of several groups of pictures, one group after the other."""
    stacked: dict[str, Any] = {}
    for name, first in groups[0].items():
        values = [arguments[name] for arguments in groups]
        stacked[name] = stack_arguments(values) if isinstance(first, Mapping) else torch.cat(values)
    return stacked


def _expand_rows(arguments: Arguments, count: int) -> Arguments:
    """Return the arguments of one picture for `count` of them."""
    expanded: dict[str, Any] = {}
    for name, value in arguments.items():
        if isinstance(value, Mapping):
            expanded[name] = _expand_rows(value, count)
        else:
            expanded[name] = value.expand(count, *value.shape[1:])
    return expanded


def _encode_prompt(pipe: Any, prompt: str) -> Arguments:
    if not hasattr(pipe, "encode_prompt"):
        raise TypeError(
            f"{type(pipe).__name__} has no encode_prompt; write "
            "FixedPrompt({'encoder_hidden_states': embeddings}, ...) with what its network takes"
        )
    # the names that pipelines have for these differ, but the first of what they return is the prompt
    with torch.no_grad():
        encoded = pipe.encode_prompt(
            prompt,
            device=pipe.device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=False,
        )
    if isinstance(encoded, tuple):
        encoded = encoded[0]
    return {"encoder_hidden_states": encoded}
