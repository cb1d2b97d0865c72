"""Sculpture: a field that a prior pulls, step by step, to what a prompt says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from forerun.engine.numerics.noise import mix_seed
from forerun.optim.barriers import Barriers
from forerun.optim.distillation.prior import Prior
from forerun.optim.distillation.sds import SDS
from forerun.optim.distillation.timesteps import AnnealedRange
from forerun.optim.gradients import Batched
from forerun.optim.loop import Loop
from forerun.optim.text3d.camera import Cameras, held_out_cameras, join_cameras, spread_cameras
from forerun.optim.text3d.field import blob_field, render_fields, resize_field
from forerun.worlds.solids.prior.load import PRIOR_SIDE, load_prior
from forerun.worlds.solids.prompts import parse_prompt
from forerun.worlds.solids.render import render_solid

COARSE_SHARE = 0.25  # share of the steps that are taken on a grid of half the size
LAST_RATE = 0.1  # share of the rate that the last steps have
MEASURED = 96  # samples of a ray where a field is measured or shown


@final
@dataclass(frozen=True)
class SculptureOptions:
    """What decides the sculpture.

    Attributes:
        steps: of the optimiser, Adam.
        views: pictures a step, from all sides.
        size: voxels along a side of the field.
        guidance: of the prior.
        rate: of Adam at the beginning, in raw densities and colours; it falls to a tenth.
        seed: of cameras and noise.
    """

    steps: int = 160
    views: int = 1
    size: int = 32
    guidance: float = 1.5
    rate: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "views"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} makes nothing; pass 1 or more")
        if self.size < 8 or self.size % 2:
            raise ValueError(f"size={self.size} is no grid; pass an even number of voxels, 8 or more, such as 32")


@final
class Sculpture:
    """A voxel field, and the loop that shapes it by score distillation.

        sculpture = Sculpture("a yellow cone")
        solution = sculpture.build_loop(window=Sliding(8)).run(sculpture.options.steps).solution()
        sculpture.render_views(cameras_around(8), 64)

    Args:
        prompt: a colour and a shape that the prior knows.
        settings: of the sculpture.
        prior: another prior than the shipped one, for pictures of 32 x 32.

    Raises:
        ValueError: the prompt names no known thing.
        ImportError: diffusers is not installed.
    """

    def __init__(
        self, prompt: str, settings: SculptureOptions = SculptureOptions(), prior: Prior | None = None
    ) -> None:
        self.solid = parse_prompt(prompt)
        self.options = settings
        prior = load_prior(self.solid.prompt) if prior is None else prior
        timesteps = AnnealedRange(settings.steps)
        self._pull = SDS(prior, guidance=settings.guidance, timesteps=timesteps, seed=settings.seed)
        self._coarse = round(COARSE_SHARE * settings.steps)
        self.field = blob_field(
            settings.size // 2 if self._coarse else settings.size, seed=settings.seed
        ).requires_grad_()

    def build_loop(self, optimizer: Optimizer | None = None, **options: Any) -> Loop:
        """The loop that shapes the field.

        Args:
            optimizer: over `[sculpture.field]`, instead of Adam; its rate falls in the same way.
            options: of `Loop`.
        """
        optimizer = torch.optim.Adam([self.field], self.options.rate) if optimizer is None else optimizer
        given: dict[str, Any] = {
            "gradients": Batched(self.window_losses),
            "scheduler": self.rate_schedule(optimizer),
            "barriers": Barriers([self._coarse], self._refined),
            "seed": self.options.seed,
        }
        return Loop(self.field, optimizer, self.step_loss, **{**given, **options})

    def rate_schedule(self, optimizer: Optimizer) -> LambdaLR:
        """The schedule of its rate: down to a tenth, by half a cosine."""
        return LambdaLR(optimizer, self._fall)

    def step_loss(self, field: Tensor, step: int) -> Tensor:
        """Of one step."""
        return self.window_losses(field[None], torch.tensor([step]))[0]

    def window_losses(self, fields: Tensor, steps: Tensor) -> Tensor:
        """Of the steps `(W,)`, each of a field of its own `(W, 4, D, D, D)`: one call of the prior's network."""
        cameras = self.draw_cameras(steps)
        return self._pull(render_fields(fields, cameras, PRIOR_SIDE), steps, cameras)

    def draw_cameras(self, steps: Tensor) -> Cameras:
        """The cameras of the steps, `W * V` of them."""
        views = self.options.views
        draws = [torch.Generator().manual_seed(mix_seed(~self.options.seed, step)) for step in steps.tolist()]
        return join_cameras([spread_cameras(views, views, draw) for draw in draws])

    def render_views(self, cameras: Cameras, side: int) -> Tensor:
        """What cameras see of the field, `(N, 3, side, side)` in [0, 1]."""
        each = [cameras[at : at + 1] for at in range(len(cameras))]
        with torch.no_grad():
            return torch.cat([render_fields(self.field[None], one, side, samples=MEASURED)[0] for one in each])

    def measure_quality(self) -> float:
        """PSNR to the true thing, in decibels, over sixteen views that no step has seen."""
        return psnr(
            self.render_views(held_out_cameras(), PRIOR_SIDE), render_solid(self.solid, held_out_cameras(), PRIOR_SIDE)
        )

    def _fall(self, step: int) -> float:
        """The share of the rate that is left."""
        return LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * step / self.options.steps))

    def _refined(self, step: int, field: Tensor, moments: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """On the grid of full size; a voxel there meets an eighth of the gradient."""
        size = self.options.size
        carried = {name: resize_field(each, size) * SHRINK[name] for name, each in moments.items() if each is not None}
        return resize_field(field, size), {name: carried.get(name) for name in moments}


SHRINK = {"exp_avg": 1 / 8, "exp_avg_sq": 1 / 64}


def psnr(pictures: Tensor, others: Tensor) -> float:
    """Peak signal-to-noise ratio of pictures in [0, 1], in decibels."""
    return float(-10 * (pictures - others).square().mean().log10())
