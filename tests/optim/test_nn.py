"""Snake: its formula, limits, gradients and variance; frequencies that are learnt; refusals."""

import math

import pytest
import torch
from torch import nn

from forerun.optim.nn import Snake, init_weights, snake_variance


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("frequency", [1e-3, 0.5, 1.0, 20.0])
def test_it_is_the_formula_and_rises_everywhere(frequency, dtype):
    inputs = torch.linspace(-5, 5, 501, dtype=dtype)
    snake = Snake(frequency).to(dtype)
    expected = inputs + torch.sin(frequency * inputs).square() / frequency
    torch.testing.assert_close(snake(inputs).detach(), expected, rtol=1e-4, atol=1e-5)
    slopes = torch.func.vmap(torch.func.grad(lambda x: snake(x).sum()))(inputs)
    assert (slopes >= -1e-3).all()
    torch.testing.assert_close(slopes.detach(), 1 + torch.sin(2 * frequency * inputs), rtol=0, atol=2e-3)


def test_a_frequency_of_zero_is_the_identity_and_has_gradients():
    snake, inputs = Snake(0.0), torch.randn(7)
    assert torch.equal(snake(inputs).detach(), inputs)
    snake(inputs).sum().backward()
    torch.testing.assert_close(snake.frequency.grad, inputs.square().sum().reshape(1))


def test_frequencies_of_features_are_learnt_each():
    torch.manual_seed(0)
    snake = Snake(features=3, spread=50.0)
    assert snake.frequency.shape == (3,)
    assert (snake.frequency >= 0).all()
    snake(torch.randn(4, 3)).sum().backward()
    assert snake.frequency.grad.abs().min() > 0
    assert not Snake(learnable=False).frequency.requires_grad
    assert "features=3" in repr(snake)


@pytest.mark.parametrize("frequency", [0.0, 0.3, 1.0, 20.0])
def test_the_variance_is_that_of_normal_numbers(frequency):
    inputs = torch.randn(400_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    variance = float(Snake(frequency).double()(inputs).detach().var())
    assert snake_variance(frequency) == pytest.approx(variance, rel=0.02)


def test_variances_stay_through_many_layers():
    torch.manual_seed(0)
    hidden = torch.randn(512, 256)
    for _ in range(6):
        layer = init_weights(nn.Linear(256, 256), 2.0)
        hidden = layer(Snake(2.0)(hidden) - (1 - math.exp(-8)) / 4).detach()
    assert 0.7 < float(hidden.var()) < 1.4


@pytest.mark.parametrize(
    "settings, says",
    [
        ({"frequency": -1.0}, "finite and not negative"),
        ({"frequency": float("nan")}, "finite and not negative"),
        ({"spread": 1.0}, "needs features"),
    ],
)
def test_bad_frequencies_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        Snake(**settings)
