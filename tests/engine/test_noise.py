"""Noise belongs to the step."""

import pytest
import torch

from forerun.engine.numerics.noise import REMEMBERED_DRAWS, DrawnInOrder, StepNoise, mix_seed


def normal(generator):
    return torch.randn(3, generator=generator)


def test_drawn_in_order_is_the_loop_whoever_asks_first():
    generator = torch.Generator().manual_seed(7)
    loop = [normal(generator) for _ in range(1000)]
    noise = DrawnInOrder(torch.Generator().manual_seed(7), normal)
    for step in [5, 0, 5, 40, 39, 999, 3, 500, 31, 32, 998]:
        assert torch.equal(noise(step), loop[step])
    assert len(noise._draws) <= REMEMBERED_DRAWS


def test_the_generator_stands_where_the_loop_leaves_it():
    mine, loop = (torch.Generator().manual_seed(3) for _ in range(2))
    noise = DrawnInOrder(mine, normal)
    noise(99)
    noise(2)
    for _ in range(100):
        normal(loop)
    assert torch.equal(normal(mine), normal(loop))


def test_no_two_steps_of_a_seed_share_their_noise():
    assert len({mix_seed(5, step) for step in range(300_000)}) == 300_000


def test_negative_steps_are_refused():
    with pytest.raises(IndexError, match="before the first"):
        DrawnInOrder(torch.Generator(), normal)(-1)


def test_step_noise_is_a_function_of_seed_and_step():
    noise, same, other = (
        StepNoise(0, torch.zeros(10_000)),
        StepNoise(0, torch.zeros(10_000)),
        StepNoise(1, torch.zeros(4)),
    )
    first = noise(3)
    noise(8)
    assert torch.equal(noise(3), first)
    assert torch.equal(same(3), first)
    assert not torch.equal(other(3), first[:4])
    assert abs(torch.dot(noise(3), noise(4)) / 10_000) < 0.05
    assert abs(first.std() - 1) < 0.05
