"""The digits of scikit-learn: denoisers, exact and trained, and two autoregressive models of them."""

from forerun.worlds.digits.autoregressive import load_made, load_pixelcnn
from forerun.worlds.digits.denoiser import DigitsDenoiser, ExactDenoiser, load_digits, load_digits_denoiser

__all__ = ["DigitsDenoiser", "ExactDenoiser", "load_digits", "load_digits_denoiser", "load_made", "load_pixelcnn"]
