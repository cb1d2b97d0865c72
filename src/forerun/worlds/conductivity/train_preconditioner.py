"""Train the preconditioner that ships: python -m forerun.worlds.conductivity.train_preconditioner, about a minute."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from forerun.limits.preconditioner import LearnedPreconditioner
from forerun.worlds.conductivity.load import PRECONDITIONER_WEIGHTS
from forerun.worlds.conductivity.matrices import draw_diffusion_matrix
from forerun.worlds.weights import command_line, dated_versions, write_facts

MATRICES = 40
LARGEST_CONTRAST = 2.0


def main(words: Sequence[str] | None = None) -> None:
    """Train, and write the weights and the facts of their training; `words` are the command line's unless passed."""
    arguments = _parse_options(sys.argv[1:] if words is None else words)
    torch.set_num_threads(1)
    contrasts = torch.rand(MATRICES, generator=torch.Generator().manual_seed(arguments.seed))
    matrices = [
        draw_diffusion_matrix(seed, contrast=LARGEST_CONTRAST * float(contrast))
        for seed, contrast in enumerate(contrasts)
    ]
    preconditioner = LearnedPreconditioner.train(matrices, steps=arguments.steps, seed=arguments.seed, progress=True)
    file = arguments.out / PRECONDITIONER_WEIGHTS
    arguments.out.mkdir(parents=True, exist_ok=True)
    preconditioner.save(file)
    options = ["--steps", str(arguments.steps), "--seed", str(arguments.seed)]
    facts = {
        "command": command_line("forerun.worlds.conductivity.train_preconditioner", options),
        "loss": preconditioner.losses[-1],
        "matrices": MATRICES,
        **dated_versions(),
    }
    write_facts(file.with_suffix(".json"), facts)


def _parse_options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "weights")
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
