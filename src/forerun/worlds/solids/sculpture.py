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
FINAL_RATE_SHARE = 0.1  # share of the rate that the last steps have
MEASURING_SAMPLES = 96  # samples of a ray where a field is measured or shown
SMALLEST_FIELD = 8  # voxels along a side
MOMENT_FACTORS = {"exp_avg": 1 / 8, "exp_avg_sq": 1 / 64}  # a voxel of the finer grid meets an eighth of the gradient


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
        if self.size < SMALLEST_FIELD or self.size % 2:
            raise ValueError(
                f"size must be an even number of voxels, {SMALLEST_FIELD} or more, got size={self.size}; "
                "pass a number such as size=32"
            )


@final
class Sculpture:
    """A voxel field, and the loop that shapes it by score distillation.

        sculpture = Sculpture("a yellow cone")
        solution = sculpture.build_loop(window=Sliding(8)).run(sculpture.options.steps).solution()
        sculpture.render_views(cameras_around(8), 64)

    Args:
        prompt: a colour and a shape that the prior knows.
        options: of the sculpture.
        prior: another prior than the shipped one, for pictures of 32 x 32.

    Raises:
        ValueError: the prompt names no known solid.
        ImportError: diffusers is not installed.
    """

    def __init__(
        self,
        prompt: str,
        options: SculptureOptions = SculptureOptions(),
        prior: Prior | None = None,
    ) -> None:
        self.solid = parse_prompt(prompt)
        self.options = options
        if prior is None:
            prior = load_prior(self.solid.prompt)
        self._distillation = SDS(
            prior,
            guidance=options.guidance,
            timesteps=AnnealedRange(options.steps),
            seed=options.seed,
        )
        self._coarse_steps = round(COARSE_SHARE * options.steps)
        first_size = options.size // 2 if self._coarse_steps else options.size
        self.field = blob_field(first_size, seed=options.seed).requires_grad_()

    def build_loop(self, optimizer: Optimizer | None = None, **loop_options: Any) -> Loop:
        """Return the loop that shapes the field.

        Args:
            optimizer: over `[sculpture.field]`, instead of Adam; its rate falls in the same way.
            loop_options: of `Loop`.
        """
        if optimizer is None:
            optimizer = torch.optim.Adam([self.field], self.options.rate)
        own_options: dict[str, Any] = {
            "gradients": Batched(self.window_losses),
            "scheduler": self.rate_schedule(optimizer),
            "barriers": Barriers([self._coarse_steps], self._refine_grid),
            "seed": self.options.seed,
        }
        return Loop(
            self.field,
            optimizer,
            self.step_loss,
            **{**own_options, **loop_options},
        )

    def rate_schedule(self, optimizer: Optimizer) -> LambdaLR:
        """Return the schedule of the optimiser's rate: down to a tenth, by half a cosine."""
        return LambdaLR(optimizer, self._rate_share)

    def step_loss(self, field: Tensor, step: int) -> Tensor:
        """Return the loss of one step for a field `(4, D, D, D)`."""
        return self.window_losses(field[None], torch.tensor([step]))[0]

    def window_losses(self, fields: Tensor, steps: Tensor) -> Tensor:
        """Return the losses of steps by one call of the prior's network.

        Args:
            fields: a field for every step, `(W, 4, D, D, D)`.
            steps: `(W,)`.
        """
        cameras = self.draw_cameras(steps)
        pictures = render_fields(fields, cameras, PRIOR_SIDE)
        return self._distillation(pictures, steps, cameras)

    def draw_cameras(self, steps: Tensor) -> Cameras:
        """Return the cameras of steps `(W,)`: `W * V` of them, drawn from the seed and the step."""
        views = self.options.views
        cameras = []
        for step in steps.tolist():
            generator = torch.Generator().manual_seed(mix_seed(~self.options.seed, step))
            cameras.append(spread_cameras(views, views, generator))
        return join_cameras(cameras)

    @torch.no_grad()
    def render_views(self, cameras: Cameras, side: int) -> Tensor:
        """Return what cameras see of the field, `(N, 3, side, side)` in [0, 1]."""
        views = []
        for index in range(len(cameras)):
            camera = cameras[index : index + 1]
            views.append(
                render_fields(
                    self.field[None],
                    camera,
                    side,
                    samples=MEASURING_SAMPLES,
                )[0]
            )
        return torch.cat(views)

    def measure_quality(self) -> float:
        """Return the PSNR to the true solid, in decibels, over sixteen views that no step has seen."""
        cameras = held_out_cameras()
        views = self.render_views(cameras, PRIOR_SIDE)
        return psnr(views, render_solid(self.solid, cameras, PRIOR_SIDE))

    def _rate_share(self, step: int) -> float:
        """Return the share of the rate that is left at a step."""
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.options.steps))
        return FINAL_RATE_SHARE + (1 - FINAL_RATE_SHARE) * cosine

    def _refine_grid(
        self,
        step: int,
        field: Tensor,
        moments: dict[str, Any],
    ) -> tuple[Tensor, dict[str, Any]]:
        """Return the field and Adam's moments on the grid of full size."""
        size = self.options.size
        refined_moments: dict[str, Any] = {}
        for name, moment in moments.items():
            refined_moments[name] = None
            if moment is not None:
                refined_moments[name] = resize_field(moment, size) * MOMENT_FACTORS[name]
        return resize_field(field, size), refined_moments


def psnr(pictures: Tensor, others: Tensor) -> float:
    """Return the peak signal-to-noise ratio of pictures in [0, 1], in decibels."""
    return float(-10 * (pictures - others).square().mean().log10())
