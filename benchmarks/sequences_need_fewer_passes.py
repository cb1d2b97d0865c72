"""Claim: pixels and layers computed in parallel need fewer passes than there are, and give what the loop gives.

The experiments of Song et al. (arXiv 2002.03629) at the size of scikit-learn's digits: sampling from MADE and from a
PixelCNN, and a network whose layers read all earlier ones. Their names for the methods: Jacobi is `Picard()`, GS-Jacobi
`GaussSeidel(8, Picard())`, Jacobi-GS `PicardGaussSeidel(8)`.

`passes` are calls of the network one after another (rounds); `evaluations` the pixels or layers that they answered for.
`images` counts images that went through the network: one a sample and pass, but one a sample and block in
`PicardGaussSeidel`, whose blocks do not share their image. `differ` counts pixels unlike those of the plain loop. The
plain loop has no engine around it, and asks the network for one pixel at a time; `kept rows` computes one row of the
PixelCNN a pixel. Time is the median of three to nine runs in turn, all overheads counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from harness import medians_in_turn, table, write_result
from torch import Tensor, nn

from forerun import Absolute, Picard, Sequential
from forerun.engine.methods import GaussSeidel, Jacobi, JacobiGaussSeidel, PicardGaussSeidel
from forerun.sequence import Fill, PixelCNN, Repeat, StackedLayers, feedforward, sample
from forerun.sequence.autoregressive import logistic
from forerun.sequence.autoregressive.pixelcnn import RowPass
from forerun.worlds.digits import load_digit_levels, load_made, load_pixelcnn

PIXELS, SIDE, DEPTH, GROWTH = 64, 8, 48, 8
METHODS = {
    "Picard, black": (Picard(), Fill(-1.0)),
    "Picard, row above": (Picard(), Repeat(SIDE)),
    "GaussSeidel(8, Picard)": (GaussSeidel(8, Picard()), Fill(-1.0)),
    "GaussSeidel(32, Picard)": (GaussSeidel(32, Picard()), Fill(-1.0)),
    "PicardGaussSeidel(8)": (PicardGaussSeidel(8), Fill(-1.0)),
    "JacobiGaussSeidel(8)": (JacobiGaussSeidel(8), Fill(-1.0)),
    "Sequential": (Sequential(), Fill(-1.0)),
}
SETTINGS = [(Picard(), tolerance) for tolerance in (0.0, 1e-6, 1e-4, 1e-2, 1e-1)]
SETTINGS += [(method, 0.0) for method in (GaussSeidel(8, Picard()), PicardGaussSeidel(8), Jacobi(), Sequential())]
BLOCKS = (PicardGaussSeidel, JacobiGaussSeidel)


@torch.no_grad()
def plain(network: nn.Module, uniform: Tensor) -> Tensor:
    """The ordinary loop."""
    images = torch.zeros_like(uniform)
    for pixel in range(PIXELS):
        images[:, pixel] = logistic.draw_pixels(network(images)[:, pixel], uniform[:, pixel])
    return images


@torch.no_grad()
def plain_kept(network: PixelCNN, uniform: Tensor) -> Tensor:
    """The ordinary loop that computes the row of each pixel alone."""
    images, above = torch.zeros_like(uniform), None
    for pixel in range(PIXELS):
        row = pixel // SIDE
        fresh = pixel % SIDE == 0 and row > 0  # the row above has just been finished: once more, to keep it
        rows = RowPass(row - fresh, above)
        parameters = network.compute_rows(images[:, : (row + 1) * SIDE], rows)[:, pixel - rows.first * SIDE]
        if fresh:
            above = rows.rows_above(row)
        images[:, pixel] = logistic.draw_pixels(parameters, uniform[:, pixel])
    return images


def images(network: nn.Module, count: int, *, kept: bool, repeats: int) -> str:
    """One table: all methods on a batch of images."""
    uniform = torch.rand(count, PIXELS, generator=torch.Generator().manual_seed(0))
    truth = plain(network, uniform)
    loops: dict[str, Callable[[], Tensor]] = {"plain loop": lambda: plain(network, uniform)}
    if isinstance(network, PixelCNN):
        loops["plain loop, kept rows"] = lambda: plain_kept(network, uniform)
    runs = {}
    for name, (method, guess) in METHODS.items():
        for cached in (False, True) if kept else (False,):
            run = partial(sample, network, uniform, method=method, guess=guess, cached=cached)
            runs[f"{name}, kept rows" if cached else name] = run
    seconds = medians_in_turn({**loops, **runs}, repeats)
    best = min(seconds[name] for name in loops)
    rows: list[dict[str, object]] = [
        {
            "method": name, "passes": PIXELS, "evaluations": PIXELS, "images": PIXELS * count,
            "differ": int((loop() != truth).sum()), "ms": seconds[name] * 1e3,
        }
        for name, loop in loops.items()
    ]  # fmt: skip
    for name, run in runs.items():
        found = run()
        apart = isinstance(run.keywords["method"], BLOCKS)
        rows.append({
            "method": name, "passes": found.rounds, "evaluations": found.evaluations,
            "images": count * (found.evaluations if apart else found.rounds),
            "differ": int((found.images != truth).sum()), "ms": seconds[name] * 1e3,
            "times as fast as the best loop": best / seconds[name],
        })  # fmt: skip
        print(rows[-1], flush=True)
    return table(rows)


def trained_layers(steps: int = 600) -> tuple[list[nn.Linear], nn.Linear, float]:
    """A network of 48 layers of 8 features, each reading all before it, trained to tell digits; and its accuracy."""
    torch.manual_seed(0)
    layers = [nn.Linear(PIXELS + GROWTH * k, GROWTH) for k in range(DEPTH)]
    reader = nn.Linear(PIXELS + GROWTH * DEPTH, 10)
    x, y = logistic.to_values(load_digit_levels()), digit_labels()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    test, fit = order[:297], order[297:]
    optimizer = torch.optim.AdamW([p for m in (*layers, reader) for p in m.parameters()], lr=2e-3)
    for step in range(steps):
        batch = fit[torch.randint(len(fit), (64,))]
        loss = nn.functional.cross_entropy(reader(in_order(layers, x[batch])), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        accuracy = (reader(in_order(layers, x[test])).argmax(-1) == y[test]).float().mean().item()
    return layers, reader.requires_grad_(False), accuracy


def digit_labels() -> Tensor:
    """int64 `(1797,)`."""
    from sklearn import datasets

    return torch.from_numpy(datasets.load_digits().target).long()


def in_order(layers: Sequence[nn.Linear], entry: Tensor) -> Tensor:
    """The ordinary pass."""
    for layer in layers:
        entry = torch.cat([entry, nn.functional.silu(layer(entry))], 1)
    return entry


def in_place(layers: Sequence[nn.Linear], entry: Tensor) -> Tensor:
    """The ordinary pass into memory that is there already, which is faster."""
    features = entry.new_zeros(len(entry), PIXELS + GROWTH * DEPTH)
    features[:, :PIXELS] = entry
    for place, layer in enumerate(layers):
        begin = PIXELS + GROWTH * place
        features[:, begin : begin + GROWTH] = nn.functional.silu(layer(features[:, :begin]))
    return features


@torch.no_grad()
def depth(layers: Sequence[nn.Linear], reader: nn.Linear, count: int) -> str:
    """One table: all methods on a batch of digits, exactly and to tolerances."""
    entry = logistic.to_values(load_digit_levels()[:count])
    truth = in_order(layers, entry)
    loops = {"plain pass": lambda: in_order(layers, entry), "plain pass, in place": lambda: in_place(layers, entry)}
    stacked = StackedLayers(layers, nn.functional.silu)
    runs = {}
    for method, tolerance in SETTINGS:
        run = partial(feedforward, stacked, entry, method=method, tolerance=Absolute(tolerance))
        runs[f"{method}, {tolerance}"] = run
    seconds = medians_in_turn({**loops, **runs}, 9)
    best = min(seconds[name] for name in loops)
    rows: list[dict[str, object]] = [
        {"method": name, "rounds": DEPTH, "evaluations": DEPTH, "ms": seconds[name] * 1e3} for name in loops
    ]
    for (method, tolerance), (name, run) in zip(SETTINGS, runs.items(), strict=True):
        found = run()
        same = (reader(found.features).argmax(-1) == reader(truth).argmax(-1)).float().mean().item()
        rows.append({
            "method": repr(method), "tolerance": tolerance,
            "rounds": found.rounds, "evaluations": found.evaluations,
            "largest deviation": float((found.features - truth).abs().max()), "same digit": same,
            "ms": seconds[name] * 1e3, "times as fast as the best pass": best / seconds[name],
        })  # fmt: skip
        print(rows[-1], flush=True)
    return table(rows)


def main() -> None:
    """All tables."""
    sections = {"What is measured": __doc__ or ""}
    for count in (1, 16, 100):
        sections[f"MADE, {count} image(s)"] = images(load_made(), count, kept=False, repeats=5)
    for count in (1, 16):
        sections[f"PixelCNN, {count} image(s)"] = images(load_pixelcnn(), count, kept=True, repeats=3)
    layers, reader, accuracy = trained_layers()
    for count in (1, 64):
        heading = f"{DEPTH} layers, each reading all before it, {count} digit(s); accuracy {accuracy:.3f} held out"
        sections[heading] = depth(layers, reader, count)
    write_result("sequences_need_fewer_passes", sections)


if __name__ == "__main__":
    main()
