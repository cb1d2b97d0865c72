"""What cannot run ahead is refused before anything expensive, with the line to type; nothing is lost."""

import random

import numpy as np
import pytest
import torch
from optim.loops import XS, YS, Net, loss
from torch import nn
from torch.nn import functional
from torch.optim import LBFGS, SGD, Adam, Optimizer, lr_scheduler

from forerun import Absolute, NotConverged, Sequential, Sliding, Status
from forerun.optim import AutoGradients, Batched, Loop, OneByOne, Vmapped


def line(*tensors, **options):
    return [nn.Parameter(torch.ones(3, **options)) for _ in tensors]


def square(params, step):
    return sum(tensor.square().sum() for tensor in params)


def test_a_class_of_optimisers_is_no_optimiser():
    params = line(1)
    with pytest.raises(TypeError, match=r"build one over the parameters first: Loop\(params, torch.optim.Adam"):
        Loop(params, Adam, square)


def test_an_optimiser_that_needs_a_closure_is_refused():
    params = line(1)
    with pytest.raises(ValueError, match=r"LBFGS calls the loss itself, through a closure"):
        Loop(params, LBFGS(params), square)


def test_an_optimiser_over_other_parameters_is_refused():
    params = line(1, 2)
    with pytest.raises(ValueError, match=r"does not hold params\[1\]"):
        Loop(params, SGD(params[:1], 0.1), square)
    with pytest.raises(ValueError, match=r"holds 1 tensor\(s\) that are not among params, of shape \[3\]"):
        Loop(params[:1], SGD(params, 0.1), square)
    with pytest.raises(ValueError, match="holds no tensor of params"):
        Loop(Net(), SGD(Net().parameters(), 0.1), loss)


def test_two_optimisers_over_one_parameter_are_refused():
    params = line(1)
    with pytest.raises(ValueError, match="two optimisers hold the same tensor"):
        Loop(params, [SGD(params, 0.1), SGD(params, 0.1)], square)


def test_frozen_parameters_are_refused():
    params = line(1, 2)
    params[1].requires_grad_(False)
    with pytest.raises(ValueError, match=r"params\[1\] is frozen .*params\[1\].requires_grad_\(\)"):
        Loop(params, SGD(params, 0.1), square)


def test_computed_parameters_are_refused():
    base = nn.Parameter(torch.ones(3))
    params, optimizer = {"a": base * 2}, SGD([base], 0.1)
    optimizer.param_groups[0]["params"] = [params["a"]]
    with pytest.raises(ValueError, match=r"params\['a'\] was computed from other tensors"):
        Loop(params, optimizer, lambda params, step: params["a"].sum())


def test_shared_memory_is_refused():
    base = torch.zeros(4)
    params = [nn.Parameter(base[:3]), nn.Parameter(base[1:])]
    with pytest.raises(ValueError, match=r"params\[0\] and params\[1\] share their memory"):
        Loop(params, SGD(params, 0.1), square)
    apart = [nn.Parameter(base[:2]), nn.Parameter(base[2:])]
    assert Loop(apart, SGD(apart, 0.1), square).run(1).solution().status.done


def test_what_is_no_tensor_is_refused():
    params = {"a": nn.Parameter(torch.ones(3)), "size": 3}
    with pytest.raises(TypeError, match=r"params\['size'\] is 3, neither a tensor nor a module"):
        Loop(params, SGD([params["a"]], 0.1), square)


def test_complex_parameters_are_refused():
    params = line(1, dtype=torch.complex64)
    with pytest.raises(TypeError, match=r"view_as_real"):
        Loop(params, SGD(params, 0.1), square)


def test_a_schedule_that_wants_a_metric_is_refused():
    params = line(1)
    optimizer = SGD(params, 0.1)
    with pytest.raises(ValueError, match=r"ReduceLROnPlateau is stepped with a metric"):
        Loop(params, optimizer, square, scheduler=lr_scheduler.ReduceLROnPlateau(optimizer))


def test_a_schedule_of_another_optimiser_is_refused():
    params = line(1)
    other = lr_scheduler.StepLR(SGD(params, 0.1), 3)
    with pytest.raises(ValueError, match=r"StepLR drives another optimiser"):
        Loop(params, SGD(params, 0.1), square, scheduler=other)
    with pytest.raises(TypeError, match=r"scheduler must be one of torch.optim.lr_scheduler"):
        Loop(params, SGD(params, 0.1), square, scheduler="cosine")


def test_decays_and_lengths_that_are_none_are_refused():
    params = line(1)
    optimizer = SGD(params, 0.1)
    with pytest.raises(ValueError, match=r"ema must be a decay between 0 and 1, got 1.5"):
        Loop(params, optimizer, square, ema=1.5)
    with pytest.raises(ValueError, match=r"run takes a number of steps, 0 or more, got -1"):
        Loop(params, optimizer, square).run(-1)


@pytest.mark.parametrize(
    "wrong, error, words",
    [
        (lambda params, step: params[0], ValueError, r"shape \[3\], but must return a scalar"),
        (lambda params, step: params[0].sum().item(), TypeError, r"return loss, not loss.item\(\)"),
        (lambda params, step: torch.ones(()), ValueError, r"depends on none of the parameters"),
        (lambda params, step: (params[0].sum(), params[0].sum()), ValueError, r"2 losses for 1 optimiser"),
    ],
)
def test_a_loss_that_is_no_scalar_of_the_parameters_is_refused(wrong, error, words):
    params = line(1)
    with pytest.raises(error, match=words):
        Loop(params, SGD(params, 0.1), wrong).run(3)


def test_sparse_gradients_are_refused():
    model = nn.Embedding(5, 3, sparse=True)
    with pytest.raises(TypeError, match=r"sparse=False"):
        Loop(model, SGD(model.parameters(), 0.1), lambda model, step: model(torch.tensor([1, 2])).sum()).run(3)


GENERATOR = torch.Generator()
IMPURE = {
    "iterator": lambda: (lambda batches: lambda params, step: (params["b"] * next(batches)).sum())(iter(range(99))),
    "own generator": lambda: lambda params, step: (params["b"] * torch.rand(3, generator=GENERATOR)).sum(),
}


@pytest.mark.parametrize("make", IMPURE.values(), ids=IMPURE)
def test_a_loss_that_is_no_function_of_the_step_is_named_by_the_leaves_that_differ(make):
    params = {"a": nn.Parameter(torch.ones(3)), "b": nn.Parameter(torch.ones(3))}
    impure = make()
    before = {name: tensor.clone() for name, tensor in params.items()}
    with pytest.raises(ValueError, match=r"gave two gradients of params\['b'\]\. .*batches\[step % len\(batches\)\]"):
        Loop(params, SGD(params.values(), 0.1), lambda params, step: impure(params, step) + params["a"].sum()).run(3)
    assert all(torch.equal(before[name], params[name]) for name in params)


@pytest.mark.parametrize(
    "draw",
    [lambda: torch.rand(3), lambda: torch.tensor(np.random.rand(3)), lambda: random.random()],
    ids=["torch", "numpy", "python"],
)
def test_what_draws_from_a_global_generator_is_a_function_of_the_step(draw):
    params = line(1)
    seen = {}

    def drawn(params, step):
        value = torch.as_tensor(draw())
        assert torch.equal(seen.setdefault(int(step), value), value)
        return (params[0] * value).sum()

    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    state = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    Loop(params, SGD(params, 0.1), drawn, window=Sliding(4)).run(6).solution()
    assert len(seen) == 6
    assert len({float(value.sum()) for value in seen.values()}) == 6
    assert random.getstate() == state[0]
    assert (np.random.get_state()[1] == state[1]).all()
    assert torch.equal(torch.get_rng_state(), state[2])
    with pytest.raises(ValueError, match="not a function of parameters and step"):
        Loop(params, SGD(params, 0.1), lambda params, step: (params[0] * draw()).sum(), seed=None).run(6)


def test_a_module_whose_buffers_change_is_refused():
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    running = model[1].running_mean.clone()
    with pytest.raises(ValueError, match=r"buffer\(s\) .*1.running_mean.* and|track_running_stats=False"):
        Loop(model, SGD(model.parameters(), 0.1), loss).run(3)
    still = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.Linear(8, 3))
    assert Loop(still, SGD(still.parameters(), 0.1), loss).run(3).solution().status.done
    assert running.shape == (8,)


class Forgetful(Optimizer):
    """Keeps a count where no state shows it."""

    def __init__(self, params):
        super().__init__(params, {"lr": 0.1})
        self.count = 0

    def step(self, closure=None):
        self.count += 1
        for group in self.param_groups:
            for tensor in group["params"]:
                tensor.add_(tensor.grad, alpha=-0.1 * self.count)


def test_an_optimiser_that_keeps_something_on_the_side_is_refused():
    params = line(1)
    with pytest.raises(ValueError, match=r"a step of Forgetful, taken twice from one state, gave two results"):
        Loop(params, Forgetful(params), square).run(3)
    assert torch.equal(params[0], torch.ones(3))


def breaking(params, step):
    return square(params, step) * (float("nan") if step >= 5 else 1.0)


@pytest.mark.parametrize("options", [{"method": Sequential()}, {"window": Sliding(4)}], ids=["Sequential", "Picard"])
def test_gradients_that_are_not_finite_stop_the_run_with_what_is_accepted(options):
    params = line(1)
    loop = Loop(params, SGD(params, 0.1), breaking, gradients=OneByOne(), tolerance=Absolute(0.0), **options)
    seen = []
    with pytest.raises(NotConverged) as caught:
        seen.extend(event.step for event in loop.run(9))
    assert caught.value.solution.status is Status.NONFINITE
    assert seen == [0, 1, 2, 3, 4]
    assert caught.value.solution.step == loop.step == 5
    torch.testing.assert_close(params[0].detach(), torch.full((3,), 0.8**5))


def test_an_error_of_the_loss_leaves_what_is_accepted():
    def failing(params, step):
        if step == 5:
            raise RuntimeError("no more data")
        return square(params, step)

    params = line(1)
    loop = Loop(params, SGD(params, 0.1), failing, gradients=OneByOne(), window=Sliding(2), tolerance=Absolute(0.0))
    with pytest.raises(RuntimeError, match="no more data") as caught:
        loop.run(9).solution()
    assert caught.value.checkpoint.step == loop.step
    assert loop.step in {4, 5}
    torch.testing.assert_close(params[0].detach(), torch.full((3,), 0.8**loop.step))


def test_what_the_body_of_the_loop_changes_is_gone_on_from():
    params = line(1)
    running = iter(Loop(params, SGD(params, 0.1), square, window=Sliding(4)).run(9))
    assert [next(running).step for _ in range(3)] == [0, 1, 2]
    with torch.no_grad():
        params[0].clamp_(max=0.1)
    after = [event.params[0][0].item() for event in running]
    assert after == pytest.approx([0.1 * 0.8 ** (number + 1) for number in range(6)], rel=1e-2)


def test_a_projection_after_every_step_is_a_hook_of_the_optimiser():
    params = line(1)
    optimizer = SGD(params, 0.1)

    def project(optimizer, *arguments):
        with torch.no_grad():
            params[0].clamp_(min=0.5)

    optimizer.register_step_post_hook(project)
    events = list(Loop(params, optimizer, square, window=Sliding(4), tolerance=Absolute(0.0)).run(9))
    assert float(events[0].params[0][0]) == pytest.approx(0.8)
    assert torch.equal(params[0], torch.full((3,), 0.5))


def test_a_batched_loss_that_mixes_steps_is_refused():
    params = line(1)

    def mixed(params, steps):
        return (params[0] - params[0].mean(0)).square().sum(1) + params[0].sum(1) * steps

    with pytest.raises(ValueError, match=r"Batched and OneByOne disagree about the gradient of params\[0\]"):
        Loop(params, SGD(params, 0.1), square, gradients=Batched(mixed)).run(5)
    with pytest.raises(ValueError, match=r"return one loss a step, of shape \(2,\)"):
        Loop(params, SGD(params, 0.1), square, gradients=Batched(lambda params, steps: params[0].sum())).run(5)


def test_a_loss_that_python_branches_is_taken_one_by_one_and_said_so():
    def branching(params, step):
        return square(params, step) * (2.0 if step < 3 else 1.0)

    params = line(1)
    solution = Loop(params, SGD(params, 0.1), branching, gradients=AutoGradients()).run(5).solution()
    assert sum("one by one, as vmap refused the loss" in note for note in solution.notes) == 1
    with pytest.raises(RuntimeError):
        Loop(params, SGD(params, 0.1), branching, gradients=Vmapped()).run(5)


def test_a_loss_whose_draws_vmap_would_share_is_taken_one_by_one():
    def drawn(params, step):
        return square(params, step) * random.random()

    params = line(1)
    solution = Loop(params, SGD(params, 0.1), drawn).run(5).solution()
    assert any("vmap gave other gradients" in note for note in solution.notes)


def test_batches_of_the_tests_are_what_they_seem():
    assert functional.cross_entropy(Net(0.0)(XS), YS).isfinite()


def test_a_schedule_that_counts_its_calls_is_refused():
    model, calls = Net(), []
    optimizer = Adam(model.parameters(), 0.01)

    def decay(epoch):
        calls.append(epoch)
        return 0.95 ** len(calls)

    schedule = lr_scheduler.LambdaLR(optimizer, decay)
    with pytest.raises(ValueError, match=r"a step of Adam, LambdaLR, taken twice .* function of its epoch"):
        Loop(model, optimizer, loss, scheduler=schedule).run(9).solution()


def test_an_optimiser_that_asks_for_a_closure_raises_its_own_error_with_a_word():
    class Sharpness(SGD):
        def step(self, closure=None):
            assert closure is not None, "Sharpness requires a closure"

    model = Net()
    with pytest.raises(AssertionError, match="requires a closure") as caught:
        Loop(model, Sharpness(model.parameters(), 0.1), loss).run(9).solution()
    assert any("gives optimisers no closure" in note for note in caught.value.__notes__)


def test_gradients_together_in_half_precision_are_named():
    model = nn.Linear(6, 3).bfloat16()
    rows = XS.bfloat16()

    def cross_entropy(model, step):
        return functional.cross_entropy(model(rows), YS)

    solution = Loop(model, Adam(model.parameters(), 0.01), cross_entropy).run(9).solution()
    assert any("round otherwise together" in note for note in solution.notes)
    again = nn.Linear(6, 3).bfloat16()
    exact = Loop(again, Adam(again.parameters(), 0.01), cross_entropy, gradients=OneByOne()).run(9).solution()
    assert not any("round otherwise" in note for note in exact.notes)
