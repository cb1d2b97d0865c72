"""Images drawn pixel by pixel from a masked network, many pixels a pass."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Unpack, final

import torch
from torch import Tensor, nn

from forerun.engine.methods import Picard, Sequential
from forerun.engine.options import SolveKeywords, SolveOptions
from forerun.engine.solution import Solution
from forerun.engine.solve import solve
from forerun.engine.windows import Full
from forerun.engine.witness import WitnessDisagrees, WitnessWarning
from forerun.sequence.autoregressive.image_witness import DrawPixels, witness_pixels
from forerun.sequence.autoregressive.logistic import draw_pixels
from forerun.sequence.autoregressive.pixelcnn import PixelCNN, RowPass
from forerun.sequence.autoregressive.probe import check_network
from forerun.sequence.causal import CausalFunction, CausalProcess
from forerun.sequence.eval_mode import check_eval_mode
from forerun.sequence.guess import Fill

IMAGE_DEFAULTS = SolveOptions(
    method=Picard(),
    window=Full(),
    tolerance=0.0,
    check=False,
    guess=Fill(),
)

UNWITNESSED_IMAGES = "The network was not called as a witness (witness=False)."


@dataclass(frozen=True, kw_only=True)
class ImageSolution(Solution):
    """Images, and the run that drew them: rounds are passes of the network, evaluations are pixels read off them.

    Attributes:
        images: `(N, D)`, equal to those of the ordinary loop with the same noise.
    """

    images: Tensor

    @property
    def value(self) -> Tensor:
        """The images."""
        return self.images


def sample(
    network: nn.Module,
    uniform: Tensor,
    *,
    draw: DrawPixels = draw_pixels,
    cached: bool = False,
    options: SolveOptions | None = None,
    **keywords: Unpack[SolveKeywords],
) -> ImageSolution:
    """Draw images from a network that predicts every pixel from those before it, equal to the ordinary loop's.

    The noise belongs to the pixel: `uniform[n, i]` decides pixel `i` of image `n`, whatever the method. `Picard()` is
    the Jacobi iteration of Song et al. (arXiv 2002.03629), `GaussSeidel(8, Picard())` their GS-Jacobi, and
    `PicardGaussSeidel(8)` their Jacobi-GS; `Sequential()` is the ordinary loop.

    Args:
        network: takes images `(N, D)` and returns `(N, D, *parameters)`; pixel `i` must not follow from the pixels
            from `i` on. In evaluation mode.
        uniform: `(N, D)` in [0, 1), in the dtype of the images.
        draw: the values `(N, W)` of pixels, from their parameters `(N, W, *parameters)` and their noise `(N, W)`.
        cached: keep the finished rows of each layer and compute only those from the window on; `PixelCNN` alone.
        options: how to solve, as one object.
        keywords: the options one by one, as for `forerun.solve`; by default `method=Picard()`, `window=Full()`,
            `tolerance=0.0`, `check=False` and `guess=Fill()`.

    At the end the network is called once more as the ordinary loop calls it, at another pixel of every image. Where it
    draws another value there, the ordinary loop draws the images, with one `WitnessWarning`.

    Raises:
        WitnessDisagrees: `strict=True`, and the network draws other pixels when it is called as in the ordinary loop.
        ValueError: the network looks ahead, is in training mode, or its output does not fit the noise.
        TypeError: `cached` for a network that cannot.
    """
    options = SolveOptions.gather(options, keywords).over(IMAGE_DEFAULTS)
    _check_noise(uniform)
    check_eval_mode(network, "network")
    check_network(network, uniform)
    function = _choose_function(network, uniform, draw, cached=cached)
    start = torch.zeros_like(uniform)
    solution = solve(CausalProcess(function), start, options=options)
    settings = options.settled()
    if not solution.status.done:
        return ImageSolution(**vars(solution), images=solution.state)
    if settings.witness is None:
        solution = replace(solution, notes=(*solution.notes, UNWITNESSED_IMAGES))
        return ImageSolution(**vars(solution), images=solution.state)
    count, difference = witness_pixels(
        network,
        solution.state,
        uniform,
        draw=draw,
        witness=settings.witness,
    )
    solution = replace(solution, witnessed=count)
    if difference is not None:
        solution = _take_ordinary_loop(
            PixelFunction(network, uniform, draw), start, options=options, difference=difference
        )
    return ImageSolution(**vars(solution), images=solution.state)


def _take_ordinary_loop(
    function: CausalFunction,
    start: Tensor,
    *,
    options: SolveOptions,
    difference: str,
) -> Solution:
    """Return the solution of the ordinary loop, one pixel after another, with a warning that says why it ran.

    Raises:
        WitnessDisagrees: `strict` is set.
    """
    sentence = (
        f"The network, called as the ordinary loop calls it, draws another pixel: {difference}; so the ordinary "
        "loop drew the images."
    )
    if options.strict:
        raise WitnessDisagrees(f"{sentence} Leave strict=True out for the ordinary loop and a warning")
    warnings.warn(sentence, WitnessWarning, stacklevel=3)
    in_order = replace(options, method=Sequential(), window=1)
    solution = solve(CausalProcess(function), start, options=in_order)
    return replace(solution, notes=(*solution.notes, sentence))


@final
class PixelFunction(CausalFunction):
    """One pass over the whole image answers for all pixels. See `sample` for the arguments."""

    def __init__(
        self,
        network: nn.Module,
        uniform: Tensor,
        draw: DrawPixels = draw_pixels,
    ) -> None:
        self.bounds = torch.arange(uniform.shape[-1] + 1)
        self._network = network
        self._uniform = uniform
        self._draw = draw

    def compute_slots(self, steps: Tensor, sequence: Tensor) -> Tensor:
        parameters = self._network(sequence)[:, steps]
        return self._draw(parameters, self._uniform[:, steps])


@final
class CachedPixelFunction(CausalFunction):
    """Only the rows of the window are computed; what the layers made of the rows above is looked up.

    The last pass is kept together with its image. It is used as far as both images agree, so that the answer is that of
    the whole pass, to rounding, whatever was computed before.
    """

    def __init__(
        self,
        network: PixelCNN,
        uniform: Tensor,
        draw: DrawPixels = draw_pixels,
    ) -> None:
        self.bounds = torch.arange(uniform.shape[-1] + 1)
        self._network = network
        self._uniform = uniform
        self._draw = draw
        self._last_pass = RowPass()
        self._last_image = torch.zeros_like(uniform)
        self._last_stop = 0

    def compute_slots(self, steps: Tensor, sequence: Tensor) -> Tensor:
        side = self._network.side
        stop = int(steps[-1]) // side + 1
        row_pass = self._begin_pass(sequence, int(steps[0]) // side)
        parameters = self._network.compute_rows(sequence[:, : stop * side], row_pass)
        self._last_pass = row_pass
        self._last_image = sequence.clone()
        self._last_stop = stop
        places = steps - row_pass.first * side
        return self._draw(parameters[:, places], self._uniform[:, steps])

    def _begin_pass(self, sequence: Tensor, row: int) -> RowPass:
        """Return a pass that begins at `row` of the image, or at an earlier row where the last pass is of no use."""
        side = self._network.side
        first = min(row, self._count_equal(sequence, row * side) // side)
        if first > 0 and self._last_pass.first <= first <= self._last_stop:
            return RowPass(first, self._last_pass.rows_above(first))
        return RowPass()

    def _count_equal(self, sequence: Tensor, size: int) -> int:
        """Return how many of the first `size` pixels lead up to the first that differs from the last pass."""
        is_equal = sequence[:, :size] == self._last_image[:, :size]
        return int(is_equal.all(0).cumprod(0).sum())


def _choose_function(
    network: nn.Module,
    uniform: Tensor,
    draw: DrawPixels,
    *,
    cached: bool,
) -> CausalFunction:
    if not cached:
        return PixelFunction(network, uniform, draw)
    if not isinstance(network, PixelCNN):
        raise TypeError(f"cached=True needs a PixelCNN, got {type(network).__name__}; write cached=False")
    return CachedPixelFunction(network, uniform, draw)


def _check_noise(uniform: Tensor) -> None:
    if uniform.dim() != 2 or not uniform.is_floating_point() or not uniform.shape[1]:
        raise ValueError(
            f"the noise is {uniform.dtype} {list(uniform.shape)}, but must be one number an image and pixel, (N, D); "
            "pass torch.rand(16, 64)"
        )
