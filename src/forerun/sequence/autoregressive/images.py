"""Images drawn pixel by pixel from a masked network, many pixels a pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from forerun.engine.guesses import Guess
from forerun.engine.methods import Method, Picard
from forerun.engine.solution import Solution
from forerun.engine.solve import solve
from forerun.engine.tolerance import Absolute
from forerun.engine.windows import Full, Window
from forerun.sequence.autoregressive.logistic import draw
from forerun.sequence.autoregressive.pixelcnn import PixelCNN, Rows
from forerun.sequence.causal import CausalFunction, CausalProcess
from forerun.sequence.eval_mode import check_at_rest
from forerun.sequence.guess import Fill

PROBED = 32  # pixels at most whose followers are changed to see whether the network looks ahead


@dataclass(frozen=True)
class ImageSolution:
    """Images, and the run that drew them.

    Attributes:
        images: `(N, D)`, equal to those of the ordinary loop with the same noise.
        solution: rounds are passes of the network; evaluations are pixels that were read off them.
    """

    images: Tensor
    solution: Solution


def sample(
    network: nn.Module,
    uniform: Tensor,
    *,
    draw: Callable[[Tensor, Tensor], Tensor] = draw,
    method: Method = Picard(),
    window: Window = Full(),
    guess: Guess = Fill(),
    cached: bool = False,
) -> ImageSolution:
    """Images from a network that predicts every pixel from those before it, equal to the ordinary loop's.

    The noise belongs to the pixel: `uniform[n, i]` decides pixel `i` of image `n`, whatever the method. `Picard()` is
    the Jacobi iteration of Song et al. (arXiv 2002.03629), `GaussSeidel(8, Picard())` their GS-Jacobi, and
    `PicardGaussSeidel(8)` their Jacobi-GS; `Sequential()` is the ordinary loop.

    Args:
        network: takes images `(N, D)` and returns `(N, D, *parameters)`; pixel `i` must not follow from the pixels
            from `i` on. In evaluation mode.
        uniform: `(N, D)` in [0, 1), in the dtype of the images.
        draw: the values `(N, W)` of pixels, from their parameters `(N, W, *parameters)` and their noise `(N, W)`.
        method: how a round becomes the next guess.
        window: how many pixels are in flight.
        guess: what stands for a pixel that was never computed.
        cached: keep the finished rows of each layer and compute only those from the window on; `PixelCNN` alone.

    Raises:
        ValueError: the network looks ahead, is in training mode, or its output does not fit the noise.
        TypeError: `cached` for a network that cannot.
    """
    _check_noise(uniform)
    check_at_rest(network, "network")
    _check_causal(network, uniform)
    if cached and not isinstance(network, PixelCNN):
        raise TypeError(f"cached=True needs a PixelCNN, got {type(network).__name__}; write cached=False")
    filler: CausalFunction
    if cached and isinstance(network, PixelCNN):
        filler = CachedPixels(network, uniform, draw)
    else:
        filler = Pixels(network, uniform, draw)
    solution = solve(
        CausalProcess(filler), torch.zeros_like(uniform), method=method, window=window, guess=guess,
        tolerance=Absolute(0.0), check=False,
    )  # fmt: skip
    return ImageSolution(solution.state, solution)


@final
class Pixels(CausalFunction):
    """One pass over the whole image answers for all pixels. See `sample` for the arguments."""

    def __init__(self, network: nn.Module, uniform: Tensor, draw: Callable[[Tensor, Tensor], Tensor] = draw) -> None:
        self.bounds = torch.arange(uniform.shape[-1] + 1)
        self._network, self._uniform, self._draw = network, uniform, draw

    def values(self, steps: Tensor, sequence: Tensor) -> Tensor:
        return self._draw(self._network(sequence)[:, steps], self._uniform[:, steps])


@final
class CachedPixels(CausalFunction):
    """Only the rows of the window are computed; what the layers made of the rows above is looked up.

    What is kept is the last pass, together with its image. It is used as far as both images agree, so that the answer
    is that of the whole pass, to rounding, whatever was asked before.
    """

    def __init__(self, network: PixelCNN, uniform: Tensor, draw: Callable[[Tensor, Tensor], Tensor] = draw) -> None:
        self.bounds = torch.arange(uniform.shape[-1] + 1)
        self._network, self._uniform, self._draw = network, uniform, draw
        self._pass, self._image, self._stop = Rows(), torch.zeros_like(uniform), 0

    def values(self, steps: Tensor, sequence: Tensor) -> Tensor:
        side = self._network.side
        first, stop = int(steps[0]) // side, int(steps[-1]) // side + 1
        first = min(first, self._agreeing(sequence, first * side) // side)
        known = first > 0 and self._pass.first <= first <= self._stop
        rows = Rows(first, self._pass.kept(first)) if known else Rows()
        parameters = self._network.rows(sequence[:, : stop * side], rows)
        self._pass, self._image, self._stop = rows, sequence.clone(), stop
        return self._draw(parameters[:, steps - rows.first * side], self._uniform[:, steps])

    def _agreeing(self, sequence: Tensor, most: int) -> int:
        """How many leading pixels, of `most`, are those of the last pass."""
        same = (sequence[:, :most] == self._image[:, :most]).all(0)
        return int(same.cumprod(0).sum())


def _check_noise(uniform: Tensor) -> None:
    if uniform.dim() != 2 or not uniform.is_floating_point() or not uniform.shape[1]:
        raise ValueError(
            f"the noise is {uniform.dtype} {list(uniform.shape)}, but must be one number an image and pixel, (N, D); "
            "pass torch.rand(16, 64)"
        )


@torch.no_grad()
def _check_causal(network: nn.Module, uniform: Tensor) -> None:
    """Change all pixels from `i` on, for some `i`, and see whether the parameters of a pixel up to `i` change."""
    size = uniform.shape[1]
    places = torch.linspace(0, size - 1, min(size, PROBED)).long()
    generator = torch.Generator().manual_seed(0)
    image, other = (torch.rand(2, 1, size, generator=generator, dtype=uniform.dtype) * 2 - 1).to(uniform.device)
    changed = torch.where(torch.arange(size) < places.unsqueeze(-1), image.cpu(), other.cpu()).to(uniform.device)
    found = network(torch.cat([image, changed]))
    if found.shape[:2] != (len(places) + 1, size):
        raise ValueError(
            f"the network made {list(found.shape)} of images {[len(places) + 1, size]}; it must return (N, {size}, "
            "...), the parameters of every pixel"
        )
    moved = (found[1:] - found[:1]).abs().reshape(len(places), size, -1).amax(-1)  # (places, pixels)
    early = torch.arange(size) <= places.unsqueeze(-1)
    threshold = 1e-4 * float(found.abs().max())
    wrong = ~(moved.cpu() <= threshold) & early
    if bool(wrong.any()):
        place, pixel = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"the network looks ahead: pixel {pixel} changed with the pixels from {int(places[place])} on, but may "
            f"follow from pixels 0 .. {pixel - 1} only; mask its layers, as forerun.sequence.Made does"
        )
