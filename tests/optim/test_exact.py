"""With the tolerance at zero, a loop has the bits of the plain one: parameters, optimiser states, schedules."""

from functools import partial

import pytest
import schedulefree
import torch
from optim.loops import EXACT, SEED, Net, ahead, loss, plain, same
from torch import optim
from torch.optim import lr_scheduler as lrs
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, get_swa_avg_fn

from forerun import Secant, Sequential, Sliding, Status
from forerun.engine.testing import check_process
from forerun.optim import Loop, OneByOne

STEPS = 14

OPTIMIZERS = {
    "SGD": partial(optim.SGD, lr=0.1),
    "momentum": partial(optim.SGD, lr=0.1, momentum=0.9, dampening=0.1),
    "Nesterov": partial(optim.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2),
    "SGD maximize": partial(optim.SGD, lr=0.01, momentum=0.5, maximize=True),
    "SGD fused": partial(optim.SGD, lr=0.1, momentum=0.9, fused=True),
    "Adam": partial(optim.Adam, lr=0.02),
    "Adam weight decay": partial(optim.Adam, lr=0.02, weight_decay=0.1),
    "AMSGrad": partial(optim.Adam, lr=0.02, amsgrad=True),
    "Adam foreach": partial(optim.Adam, lr=0.02, foreach=True),
    "Adam for loop": partial(optim.Adam, lr=0.02, foreach=False),
    "Adam fused": partial(optim.Adam, lr=0.02, fused=True),
    "Adam with a tensor as rate": lambda params: optim.Adam(params, lr=torch.tensor(0.02), foreach=False),
    "AdamW": partial(optim.AdamW, lr=0.02, weight_decay=0.1),
    "Adagrad": partial(optim.Adagrad, lr=0.1, lr_decay=0.01),
    "RMSprop": partial(optim.RMSprop, lr=0.01, centered=True, momentum=0.5),
    "NAdam": partial(optim.NAdam, lr=0.02),
    "RAdam": partial(optim.RAdam, lr=0.05),
    "Adafactor": partial(optim.Adafactor, lr=0.05),
    "Adadelta": partial(optim.Adadelta, lr=1.0),
    "Adamax": partial(optim.Adamax, lr=0.02),
    "ASGD": partial(optim.ASGD, lr=0.1, t0=3),
    "Rprop": partial(optim.Rprop, lr=0.01),
}
SCHEDULES = {
    "StepLR": lambda optimizer: [lrs.StepLR(optimizer, 3, 0.5)],
    "MultiStepLR": lambda optimizer: [lrs.MultiStepLR(optimizer, [2, 7], 0.3)],
    "CosineAnnealingLR": lambda optimizer: [lrs.CosineAnnealingLR(optimizer, STEPS)],
    "CosineAnnealingWarmRestarts": lambda optimizer: [lrs.CosineAnnealingWarmRestarts(optimizer, 4)],
    "OneCycleLR": lambda optimizer: [lrs.OneCycleLR(optimizer, 0.1, total_steps=STEPS + 1)],
    "CyclicLR": lambda optimizer: [lrs.CyclicLR(optimizer, 0.01, 0.1, step_size_up=4)],
    "LambdaLR": lambda optimizer: [lrs.LambdaLR(optimizer, lambda step: 1 / (1 + step))],
    "SequentialLR": lambda optimizer: [
        lrs.SequentialLR(
            optimizer, [lrs.LinearLR(optimizer, 0.1, total_iters=4), lrs.ExponentialLR(optimizer, 0.9)], [4]
        )
    ],
    "ChainedScheduler": lambda optimizer: [
        lrs.ChainedScheduler([lrs.ConstantLR(optimizer, 0.5, 4), lrs.ExponentialLR(optimizer, 0.9)])
    ],
    "two in order": lambda optimizer: [lrs.LinearLR(optimizer, 0.2, total_iters=5), lrs.StepLR(optimizer, 4, 0.5)],
}
CLIPS = {
    "norm": lambda tensors: torch.nn.utils.clip_grad_norm_(tensors, 0.05),
    "value": lambda tensors: torch.nn.utils.clip_grad_value_(tensors, 0.01),
}


def pair(build):
    """Two models alike, with an optimiser each."""
    models = Net(), Net()
    return [(model, build(list(model.parameters()))) for model in models]


def assert_same(first, second):
    (model, optimizer), (other, other_optimizer) = first, second
    assert same(model.state_dict(), other.state_dict())
    assert same(optimizer.state_dict(), other_optimizer.state_dict())


@pytest.mark.parametrize("build", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_any_optimiser_has_the_bits_of_the_plain_loop(build):
    first, second = pair(build)
    losses, rates = plain(*first, STEPS)
    events, solution = ahead(*second, STEPS)
    assert_same(first, second)
    assert [event.step for event in events] == list(range(STEPS))
    assert [event.loss for event in events] == losses
    assert [event.rate for event in events] == pytest.approx(rates)
    assert solution.status is Status.SEQUENTIAL
    assert solution.rounds <= STEPS
    assert solution.evaluations > STEPS


def test_the_tests_would_see_a_step_without_its_randomness():
    first, second = pair(OPTIMIZERS["Adam"])
    plain(*first, STEPS)
    ahead(*second, STEPS, seed=SEED + 1)
    assert not same(first[0].state_dict(), second[0].state_dict())


@pytest.mark.parametrize("method", [Sequential(), Secant()], ids=["Sequential", "Secant"])
def test_any_method_has_them(method):
    first, second = pair(OPTIMIZERS["AdamW"])
    plain(*first, STEPS)
    ahead(*second, STEPS, method=method)
    assert_same(first, second)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_any_schedule_has_them(schedule):
    first, second = pair(OPTIMIZERS["momentum"])
    schedules = schedule(first[1]), schedule(second[1])
    _, rates = plain(*first, STEPS, schedulers=schedules[0])
    events, _ = ahead(*second, STEPS, scheduler=schedules[1])
    assert_same(first, second)
    assert [event.rate for event in events] == rates
    for one, other in zip(*schedules, strict=True):
        assert one.get_last_lr() == other.get_last_lr()
        assert getattr(one, "last_epoch", None) == getattr(other, "last_epoch", None)


def test_a_rate_that_is_a_tensor_is_not_shared_between_steps():
    first, second = pair(OPTIMIZERS["Adam with a tensor as rate"])
    schedules = [lrs.ExponentialLR(each[1], 0.8) for each in (first, second)]
    _, rates = plain(*first, STEPS, schedulers=[schedules[0]])
    events, _ = ahead(*second, STEPS, scheduler=schedules[1])
    assert_same(first, second)
    assert [event.rate for event in events] == rates


@pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS)
def test_clipped_gradients_have_them(clip):
    first, second = pair(OPTIMIZERS["momentum"])
    plain(*first, STEPS, clip=clip)
    ahead(*second, STEPS, clip=clip)
    assert_same(first, second)
    unclipped = Net()
    plain(unclipped, OPTIMIZERS["momentum"](unclipped.parameters()), STEPS)
    assert not same(unclipped.state_dict(), first[0].state_dict())


@pytest.mark.parametrize(
    "given, averaging", [(0.9, get_ema_avg_fn(0.9)), (get_swa_avg_fn(), get_swa_avg_fn())], ids=["EMA", "SWA"]
)
def test_averaged_parameters_have_them(given, averaging):
    first, second = pair(OPTIMIZERS["Adam"])
    averaged = AveragedModel(first[0], avg_fn=averaging)
    plain(*first, STEPS, each=lambda step: averaged.update_parameters(first[0]))
    loop = Loop(second[0], second[1], loss, **EXACT, ema=given)
    events = list(loop.run(STEPS))
    assert same(loop.average, dict(averaged.module.named_parameters()))
    assert same(events[-1].average, loop.average)
    assert not same(loop.average, dict(second[0].named_parameters()))


@pytest.mark.parametrize(
    "build",
    [schedulefree.AdamWScheduleFree, schedulefree.SGDScheduleFree, schedulefree.RAdamScheduleFree],
    ids=lambda build: build.__name__,
)
def test_an_optimiser_from_elsewhere_has_them(build):
    rate = {"lr": 0.02} if "SGD" not in build.__name__ else {"lr": 0.5}
    first, second = pair(partial(build, **rate))
    for _, optimizer in (first, second):
        optimizer.train()
    plain(*first, STEPS)
    ahead(*second, STEPS)
    assert_same(first, second)
    for _, optimizer in (first, second):
        optimizer.eval()
    assert_same(first, second)


def test_groups_of_parameters_keep_their_own_settings():
    def build(model):
        groups = [
            {"params": model.first.parameters(), "lr": 0.1},
            {"params": model.last.parameters(), "betas": (0.5, 0.9)},
        ]
        return optim.AdamW(groups, lr=0.02, weight_decay=0.1)

    models = Net(), Net()
    first, second = [(model, build(model)) for model in models]
    plain(*first, STEPS)
    events, _ = ahead(*second, STEPS)
    assert_same(first, second)
    assert events[-1].rates == [[0.1, 0.02]]


def test_what_the_optimisers_hold_already_is_gone_on_from():
    first, second = pair(OPTIMIZERS["Adam"])
    plain(*first, 2 * STEPS)
    plain(*second, STEPS)
    loop = Loop(*second, loss, **EXACT)
    loop.step = STEPS
    loop.run(STEPS).solution()
    assert_same(first, second)


def test_runs_go_on_where_the_last_one_ended():
    first, second = pair(OPTIMIZERS["Adam"])
    plain(*first, 9)
    loop = Loop(*second, loss, **EXACT)
    assert [event.step for event in loop.run(5)] == [0, 1, 2, 3, 4]
    assert [event.step for event in loop.run(4)] == [5, 6, 7, 8]
    assert_same(first, second)


def test_a_tensor_that_a_step_leaves_out_meets_no_gradient_there():
    def either(model, step):
        x = torch.randn(4, 6)
        return model.first(x).square().mean() if step % 3 else model(x).square().mean()

    first, second = pair(partial(optim.AdamW, lr=0.05, weight_decay=0.5))
    plain(*first, STEPS, loss=either)
    ahead(*second, STEPS, loss=either)
    assert_same(first, second)


def test_a_frozen_tensor_of_a_module_stays():
    first, second = pair(OPTIMIZERS["AdamW"])
    for model, _ in (first, second):
        model.first.weight.requires_grad_(False)
    plain(*first, STEPS)
    ahead(*second, STEPS)
    assert_same(first, second)
    assert torch.equal(second[0].first.weight, Net().first.weight)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_dtypes_have_them(dtype):
    models = Net().to(dtype), Net().to(dtype)
    first, second = [(model, optim.Adam(model.parameters(), 0.02)) for model in models]

    def own(model, step):
        return model(torch.randn(5, 6).to(dtype)).square().mean()

    plain(*first, STEPS, loss=own)
    ahead(*second, STEPS, loss=own)
    assert_same(first, second)


def test_convolutions_in_another_layout_have_them():
    def build():
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 3))
        return net.to(memory_format=torch.channels_last)

    def own(model, step):
        return model(torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last)).square().mean()

    def clip(tensors):
        torch.nn.utils.clip_grad_norm_(tensors, 0.1)

    models = build(), build()
    first, second = [(model, optim.Adam(model.parameters(), 0.02)) for model in models]
    plain(*first, STEPS, loss=own, clip=clip)
    ahead(*second, STEPS, loss=own, clip=clip)
    assert_same(first, second)
    assert second[0][0].weight.stride() == first[0][0].weight.stride()


def test_the_memory_of_the_parameters_stays_where_it_was():
    model = Net()
    before = [tensor.data_ptr() for tensor in model.parameters()]
    views = [tensor.detach() for tensor in model.parameters()]
    ahead(model, OPTIMIZERS["Adam"](model.parameters()), STEPS)
    assert [tensor.data_ptr() for tensor in model.parameters()] == before
    assert all(torch.equal(view, tensor) for view, tensor in zip(views, model.parameters(), strict=True))
    assert all(tensor.grad is None for tensor in model.parameters())


def test_while_a_step_is_looked_at_the_users_objects_hold_it():
    first, second = pair(OPTIMIZERS["Adam"])
    schedulers = [lrs.StepLR(each[1], 2, 0.5) for each in (first, second)]
    seen = []
    plain(*first, STEPS, schedulers=[schedulers[0]], each=lambda step: seen.append(_copy(*first)))
    for event in Loop(*second, loss, **EXACT, scheduler=schedulers[1]).run(STEPS):
        assert same(_copy(*second), seen[event.step])
        assert same(event.params, seen[event.step][0])


def _copy(model, optimizer):
    named = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    rates = [group["lr"] for group in optimizer.param_groups]
    return named, [entry["exp_avg_sq"].clone() for entry in optimizer.state.values()], rates


def test_a_window_of_one_step_with_vmap_has_them_too():
    first, second = pair(OPTIMIZERS["Adam"])
    plain(*first, STEPS)
    ahead(*second, STEPS, window=Sliding(1), gradients=OneByOne())
    assert_same(first, second)


def test_a_loop_keeps_the_contract_of_a_process():
    model = Net()
    loop = Loop(model, optim.AdamW(model.parameters(), 0.02), loss, gradients=OneByOne(), ema=0.9)
    events = list(loop.run(3))
    check_process(loop.build_process(8), events[-1].state)
