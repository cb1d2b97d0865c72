"""Descent without gradients: unbiased estimates, saddles, black boxes in batches, modules in place, refusals."""

import pytest
import torch
from torch import nn

from forerun.optim.difference_estimators import CoordinateDifferences, OnePoint, TwoPoint
from forerun.optim.zeroth_order import ZerothOrder, descend_blackbox

DOUBLE = torch.float64


def saddle(points):
    """A saddle at zero, with minima of -1/4 on either side along the last coordinate."""
    last = points[..., -1]
    return points[..., :-1].square().sum(-1) / 2 + last.pow(4) / 4 - last.square() / 2


def quadratic(points):
    scales = torch.arange(1, points.shape[-1] + 1, dtype=points.dtype)
    return (scales * (points - 1).square()).sum(-1) / 2


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_coordinates_give_the_gradient():
    points = torch.randn(3, 5, dtype=DOUBLE, generator=generator())
    gradients, count = CoordinateDifferences().estimate_gradient(saddle, points, 1e-5, generator())
    exact = torch.func.vmap(torch.func.grad(saddle))(points)
    torch.testing.assert_close(gradients, exact, rtol=1e-6, atol=1e-8)
    assert count == 10


@pytest.mark.parametrize("estimator, count, slack", [(TwoPoint(4000), 8000, 0.15), (OnePoint(40000), 40000, 1.5)])
def test_estimates_are_right_in_the_mean(estimator, count, slack):
    points = torch.randn(2, 4, dtype=DOUBLE, generator=generator(1))
    gradients, taken = estimator.estimate_gradient(quadratic, points, 0.3, generator())
    exact = torch.func.vmap(torch.func.grad(quadratic))(points)
    assert taken == count
    assert (gradients - exact).norm() < slack * exact.norm()


def test_more_directions_spread_less():
    points = torch.zeros(200, 6, dtype=DOUBLE)
    spreads = [
        TwoPoint(count).estimate_gradient(quadratic, points, 1e-3, generator())[0].std(0).mean() for count in (1, 4, 16)
    ]
    assert spreads[1] / spreads[0] == pytest.approx(0.5, abs=0.15)
    assert spreads[2] / spreads[1] == pytest.approx(0.5, abs=0.15)


def test_a_saddle_is_left_by_the_perturbation_alone():
    start = torch.zeros(5, 10, dtype=DOUBLE)
    settings = {"rate": 0.03, "target": -0.24, "max_evaluations": 6000, "smoothing": 1e-3}
    still = descend_blackbox(saddle, start, **settings)
    left = descend_blackbox(saddle, start, perturbation=0.05, **settings)
    assert not still.reached.any()
    assert torch.equal(still.points, start)
    assert left.reached.all()
    assert (left.evaluations < 6000).all()
    assert (still.evaluations == 6000).all()


def test_one_descent_is_that_of_a_batch_of_one():
    start = torch.full((4,), 0.5, dtype=DOUBLE)
    settings = {"rate": 0.02, "max_evaluations": 200}
    alone, batch = descend_blackbox(quadratic, start, **settings), descend_blackbox(quadratic, start[None], **settings)
    assert torch.equal(alone.points, batch.points[0])
    assert alone.points.shape == (4,)
    again = descend_blackbox(quadratic, start, **settings, seed=1)
    assert not torch.equal(alone.points, again.points)


def test_rounds_fall_with_directions_and_evaluations_do_not():
    start = torch.zeros(7, 30, dtype=DOUBLE)
    runs = [
        descend_blackbox(saddle, start, rate=0.2 * m / (30 + m), estimator=TwoPoint(m), perturbation=0.05, target=-0.24)
        for m in (1, 10)
    ]
    medians = [float(run.evaluations.double().median()) for run in runs]
    assert 0.4 < medians[1] / medians[0] < 2.5
    assert runs[1].rounds < runs[0].rounds / 4


def module_and_loss(dtype=torch.float32):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)).to(dtype)
    inputs = torch.randn(32, 4, dtype=dtype)
    return model, lambda: (model(inputs) - inputs[:, :1]).square().mean()


@pytest.mark.parametrize("directions", [1, 4])
def test_a_module_learns_and_nothing_is_kept(directions):
    model, loss = module_and_loss()
    optimizer = ZerothOrder(model.parameters(), lr=0.01, directions=directions)
    begin = float(loss().detach())
    for _ in range(400):
        optimizer.step(loss)
    assert float(loss().detach()) < 0.5 * begin
    assert not optimizer.state
    assert all(tensor.grad is None for tensor in model.parameters())


def test_a_step_is_the_formula():
    """With one direction the step is along it, by its slope; a rate of zero brings the parameters back."""
    model, loss = module_and_loss(DOUBLE)
    before = [tensor.detach().clone() for tensor in model.parameters()]
    frozen = ZerothOrder(model.parameters(), lr=0.0, perturbation=1.0)
    frozen.step(loss)
    torch.testing.assert_close(list(model.parameters()), before, rtol=0, atol=1e-15)
    gradients = torch.autograd.grad(loss(), list(model.parameters()))
    optimizer = ZerothOrder(model.parameters(), lr=1.0, smoothing=1e-5)
    optimizer.step(loss)
    moves = torch.cat([(tensor - old).flatten() for tensor, old in zip(model.parameters(), before, strict=True)])
    moves = moves.detach()
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    z = moves / -moves.norm() * flat.numel() ** 0.5  # up to its length, the direction
    slope = flat @ z
    assert float(slope) > 0
    length = moves.norm() / flat.numel() ** 0.5  # |slope| |z| / sqrt(d), and |z| is near sqrt(d)
    assert float(length) == pytest.approx(abs(float(slope)), rel=0.6)


def test_a_checkpoint_goes_on_with_the_same_directions():
    model, loss = module_and_loss()
    optimizer = ZerothOrder(model.parameters(), lr=0.01, perturbation=0.1)
    optimizer.step(loss)
    other, other_loss = module_and_loss()
    again = ZerothOrder(other.parameters(), lr=0.01, perturbation=0.1)
    again.load_state_dict(optimizer.state_dict())
    other.load_state_dict(model.state_dict())
    optimizer.step(loss)
    again.step(other_loss)
    assert all(map(torch.equal, model.parameters(), other.parameters()))


def test_groups_of_the_same_shape_get_directions_of_their_own():
    first, second = torch.zeros(3), torch.zeros(3)
    optimizer = ZerothOrder([{"params": [first]}, {"params": [second], "lr": 0.1}], lr=0.1)
    optimizer.step(lambda: (first + second).sum())
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    "settings, says",
    [
        ({"smoothing": 0.0}, "above zero and finite"),
        ({"smoothing": float("nan")}, "above zero and finite"),
        ({"rate": -1.0}, "finite, not negative"),
        ({"perturbation": float("inf")}, "finite, not negative"),
    ],
)
def test_bad_settings_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        descend_blackbox(saddle, torch.zeros(3), **({"rate": 0.1} | settings))


def test_what_no_descent_can_go_on_from_is_refused():
    with pytest.raises(ValueError, match=r"returned \(\) for points \(1, 3\)"):
        descend_blackbox(torch.sum, torch.zeros(3), rate=0.1)
    with pytest.raises(ValueError, match="not finite where a descent"):
        descend_blackbox(lambda points: points.sum(-1) / 0, torch.ones(3), rate=0.1)
    with pytest.raises(ValueError, match=r"start must be real"):
        descend_blackbox(saddle, torch.zeros(3, dtype=torch.int64), rate=0.1)
    model, loss = module_and_loss()
    optimizer = ZerothOrder(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="pass the loss as a function"):
        optimizer.step()
    before = [tensor.detach().clone() for tensor in model.parameters()]
    with pytest.raises(ValueError, match="loss is not finite"):
        optimizer.step(lambda: loss() * float("nan"))
    torch.testing.assert_close(list(model.parameters()), before)
    with pytest.raises(ValueError, match="at least one direction"):
        ZerothOrder(model.parameters(), lr=0.1, directions=0)
    with pytest.raises(ValueError, match="parameters must be real"):
        ZerothOrder([torch.zeros(2, dtype=torch.complex64)], lr=0.1)
