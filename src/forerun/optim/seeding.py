"""Randomness that belongs to the step: what draws inside `seeded` draws the same for the same step, at every call."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from forerun.engine.numerics.noise import mix_seed

try:
    import numpy as np
except ImportError:  # then nobody draws from it
    np = None  # type: ignore[assignment]


@contextmanager
def seeded(seed: int | None, step: int, device: torch.device | None = None) -> Iterator[None]:
    """Seed torch, numpy and `random` from a seed and a step, and restore them afterwards.

    A plain loop that evaluates its loss inside `with seeded(seed, step):` meets the same batches, dropout and noise as
    `Loop(..., seed=seed)`.

    Args:
        seed: any whole number; None leaves all generators alone.
        step: of the loop.
        device: the device whose generator is seeded besides that of the CPU; None for the CPU alone.
    """
    if seed is None:
        yield
        return
    cuda = device if device is not None and device.type == "cuda" else None
    generator_states = _read_generators(cuda)
    _seed_generators(mix_seed(seed, step), cuda)
    try:
        yield
    finally:
        _restore_generators(generator_states, cuda)


def _read_generators(cuda: torch.device | None) -> tuple[Any, ...]:
    numpy_state = None if np is None else np.random.get_state()
    cuda_state = None if cuda is None else torch.cuda.get_rng_state(cuda)
    return torch.get_rng_state(), random.getstate(), numpy_state, cuda_state


def _seed_generators(number: int, cuda: torch.device | None) -> None:
    torch.default_generator.manual_seed(number)  # torch.manual_seed also asks for CUDA, slowly where there is none
    random.seed(number)
    if np is not None:
        np.random.seed(number)
    if cuda is not None:
        with torch.cuda.device(cuda):
            torch.cuda.manual_seed(number)


def _restore_generators(states: tuple[Any, ...], cuda: torch.device | None) -> None:
    cpu_state, python_state, numpy_state, cuda_state = states
    torch.set_rng_state(cpu_state)
    random.setstate(python_state)
    if np is not None:
        np.random.set_state(numpy_state)
    if cuda is not None:
        torch.cuda.set_rng_state(cuda_state, cuda)
