"""The digits of scikit-learn, and four networks that model them.

A diffusion model small enough to run on one core: `ExactDenoiser` is the best denoiser of a data set, by Bayes' rule,
and `load_digits_denoiser` gives a trained one of 0.3 million weights. Two autoregressive models draw the same images
pixel by pixel: `load_made` and `load_pixelcnn`.

What ships: the weights of the three trained networks (`weights/`, float16), each with the facts of its training, and
the commands that made them (`train_denoiser`, `train_autoregressive`). The images come with scikit-learn
(`pip install 'forerun[digits]'`).
"""

from forerun.worlds.digits.autoregressive import load_made, load_pixelcnn
from forerun.worlds.digits.data import load_digit_levels, load_digits
from forerun.worlds.digits.denoiser import DigitsDenoiser, ExactDenoiser, load_digits_denoiser

__all__ = [
    "DigitsDenoiser",
    "ExactDenoiser",
    "load_digit_levels",
    "load_digits",
    "load_digits_denoiser",
    "load_made",
    "load_pixelcnn",
]
