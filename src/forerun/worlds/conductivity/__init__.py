"""Diffusion through media of uneven conductivity, and a preconditioner that was trained on them."""

from forerun.worlds.conductivity.load import load_preconditioner
from forerun.worlds.conductivity.matrices import draw_diffusion_matrix

__all__ = ["draw_diffusion_matrix", "load_preconditioner"]
