"""The preconditioner that ships."""

from __future__ import annotations

from importlib.resources import as_file, files

from forerun.limits.preconditioner import LearnedPreconditioner

PRECONDITIONER_WEIGHTS = "preconditioner.safetensors"


def load_preconditioner() -> LearnedPreconditioner:
    """Return a preconditioner for five-point diffusion, trained on squares of 32 points and contrasts from 0 to 2."""
    with as_file(files("forerun.worlds.conductivity") / "weights" / PRECONDITIONER_WEIGHTS) as path:
        return LearnedPreconditioner.load(path)
