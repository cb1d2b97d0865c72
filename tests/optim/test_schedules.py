"""Refined schedules: closed forms, outliers, any loop and optimiser, ends, refusals."""

import pytest
import torch
from torch import nn

from forerun import Sliding
from forerun.optim import Loop, OneByOne
from forerun.optim.schedules import NormRecorder, RefinedSchedule, refine


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("steps", [2, 3, 100, 3001])
def test_norms_that_do_not_change_give_linear_decay(adaptive, steps):
    shares = refine(torch.full((steps,), 7.0), adaptive=adaptive)
    torch.testing.assert_close(shares, torch.linspace(1, 0, steps, dtype=torch.float64))


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("power", [-0.25, 0.5, 1.0])
def test_powers_of_time_give_the_integral(adaptive, power):
    """With w = t^k the schedule is t^k (1 - t^(k+1)) up to a factor."""
    steps = 20_000
    time = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
    exponent = power if adaptive else 2 * power
    expected = time**exponent * (1 - time ** (exponent + 1))
    norms = time**-power
    torch.testing.assert_close(
        refine(norms, adaptive=adaptive, smoothing=0), expected / expected.max(), rtol=0, atol=2e-3
    )


def test_large_norms_at_first_give_a_warm_up_and_growing_ones_annealing():
    time = torch.linspace(0, 1, 500, dtype=torch.float64)
    shares = refine(1 + 4 * torch.exp(-20 * time) + 3 * time**6)
    assert shares[0] < 0.15  # the median of the first 25 norms
    assert shares.argmax() > 20
    assert shares[400] < 0.8 * (1 - time[400])


def test_outliers_and_steps_that_are_not_finite_change_little():
    generator = torch.Generator().manual_seed(0)
    norms = 1 + 0.1 * torch.rand(1000, generator=generator, dtype=torch.float64)
    broken = norms.clone()
    broken[::97] = 1e6
    broken[5::131] = torch.nan
    broken[7::131] = torch.inf
    shares = refine(broken, steps=1000)
    assert (shares - refine(norms)).abs().max() < 0.05
    assert bool(torch.isfinite(shares).all())


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_shares_lie_between_zero_and_one(smoothing):
    for seed in range(20):
        norms = torch.rand(37, generator=torch.Generator().manual_seed(seed)).pow(4)
        norms[seed] = 0
        shares = refine(norms, smoothing=smoothing)
        assert shares.shape == (37,)
        assert float(shares.max()) == 1
        assert float(shares.min()) == 0 == float(shares[-1])


def test_norms_may_be_tiny_or_huge():
    norms = torch.linspace(1, 2, 50, dtype=torch.float64)
    for scale in (1e-200, 1e200):
        torch.testing.assert_close(refine(norms * scale), refine(norms))


@pytest.mark.parametrize("steps", [2, 50, 99, 1000])
def test_a_schedule_is_stretched(steps):
    norms = torch.linspace(2, 1, 100, dtype=torch.float64)
    shares, short = refine(norms), refine(norms, steps=steps)
    assert len(short) == steps
    torch.testing.assert_close(short[[0, -1]], shares[[0, -1]])


MAKES = {
    "SGD": (lambda ps: torch.optim.SGD(ps, 0.1), False),
    "Adam": (lambda ps: torch.optim.Adam(ps, 0.1), True),
    "groups": (lambda ps: torch.optim.SGD([{"params": ps[:1]}, {"params": ps[1:], "lr": 0.2}], 0.1), False),
}


def train(optimizer, parameters, steps, scheduler=None):
    rates = []
    for step in range(steps):
        optimizer.zero_grad()
        (parameters[0].square().sum() * (step + 1) + parameters[1].pow(4).sum()).backward()
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return rates


@pytest.mark.parametrize("name", MAKES)
def test_a_recorder_and_a_schedule_fit_any_optimiser(name):
    make, adaptive = MAKES[name]
    parameters = [torch.full((3,), 0.5, requires_grad=True), torch.ones(2, 2, requires_grad=True)]
    unused = torch.ones(1, requires_grad=True)
    optimizer = make([*parameters, unused])
    recorder = NormRecorder(optimizer, adaptive=adaptive)
    parameters[0].square().sum().add(parameters[1].pow(4).sum()).backward()
    gradients = torch.cat([tensor.grad.flatten() for tensor in parameters])
    optimizer.step()
    expected = gradients.abs().sum() if adaptive else gradients.norm()
    assert float(recorder.norms[0]) == pytest.approx(float(expected))
    train(optimizer, parameters, 9)
    recorder.stop()
    train(optimizer, parameters, 3)
    assert recorder.norms.shape == (10,)
    again = make([*parameters, unused])
    scheduler = RefinedSchedule(again, recorder)
    first = [0.1, 0.2] if name == "groups" else [0.1]
    rates = train(again, parameters, 10, scheduler)
    for share, at_step in zip(refine(recorder), rates, strict=True):
        assert at_step == pytest.approx([rate * float(share) for rate in first])


def test_a_run_beyond_the_end_is_refused_and_one_to_the_end_is_not():
    parameters = [torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)]
    optimizer = torch.optim.SGD(parameters, 0.1)
    scheduler = RefinedSchedule(optimizer, torch.ones(5))
    train(optimizer, parameters, 5, scheduler)
    assert optimizer.param_groups[0]["lr"] == 0
    with pytest.raises(ValueError, match=r"has 5 steps and was asked for step 6: .*steps=10"):
        scheduler.step()


def test_a_checkpoint_of_the_scheduler_goes_on():
    def parts():
        optimizer = torch.optim.SGD([torch.ones(2, requires_grad=True)], 0.1)
        return optimizer, RefinedSchedule(optimizer, torch.linspace(2, 1, 20))

    optimizer, scheduler = parts()
    for _ in range(7):
        optimizer.step()
        scheduler.step()
    other, again = parts()
    again.load_state_dict(scheduler.state_dict())
    other.load_state_dict(optimizer.state_dict())
    for one, two in ((optimizer, scheduler), (other, again)):
        one.step()
        two.step()
    assert scheduler.get_last_lr() == again.get_last_lr()


def test_a_loop_ahead_has_the_rates_of_the_plain_loop():
    inputs = torch.randn(32, 3, generator=torch.Generator().manual_seed(0))

    def run_loop(window):
        torch.manual_seed(0)
        model = nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        scheduler = RefinedSchedule(optimizer, torch.linspace(3, 1, 16))
        loss = lambda model, step: model(inputs[step::16]).sub(1).square().mean()  # noqa: E731
        loop = Loop(model, optimizer, loss, scheduler=scheduler, window=window, tolerance=0.0, gradients=OneByOne())
        rates = [event.rate for event in loop.run(16)]
        return rates, [tensor.detach().clone() for tensor in model.parameters()]

    ahead, in_order = run_loop(Sliding(6)), run_loop(Sliding(1))
    assert ahead[0] == in_order[0]
    assert all(map(torch.equal, ahead[1], in_order[1]))


@pytest.mark.parametrize(
    "norms, settings, says",
    [
        ([], {}, "at least two steps, got 0"),
        ([1.0, float("nan")], {}, "got 1 finite"),
        ([1.0, -1.0], {}, "must not be negative"),
        ([0.0, 0.0], {}, "not all zero"),
        (torch.ones(2, 3), {}, r"got shape \(2, 3\)"),
        ([1.0, 1.0], {"smoothing": 2.0}, "from 0 to 1"),
        ([1.0, 1.0], {"steps": 1}, "at least two steps"),
    ],
)
def test_bad_norms_are_refused(norms, settings, says):
    with pytest.raises(ValueError, match=says):
        refine(norms, **settings)


def test_a_step_without_gradients_is_refused():
    optimizer = torch.optim.SGD([torch.ones(2, requires_grad=True)], 0.1)
    NormRecorder(optimizer)
    with pytest.raises(ValueError, match="without a gradient"):
        optimizer.step()
