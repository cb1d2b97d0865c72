"""The policy's own network is called for steps alone: what looks at other rows, or counts, is taken in order."""

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler
from policy.problems import ddpm, network, own_loop, seen
from torch import nn

from forerun.engine.witness import WitnessDisagrees, WitnessWarning
from forerun.policy import RTI, Deadline, Exact, Sampler, Warm

SHAPE = (8, 3)
OPTIONS = {"steps": 20, "executed": 3, "dtype": torch.float64, "tolerance": 1e-6}


def first_timestep_only(x, t, observation):
    """Takes one timestep for a batch, as a loop has it."""
    return network(x, t[:1].expand(len(x)), observation)


def mean_of_rows(x, t, observation):
    return network(x, t, observation) + 0.1 * x.mean(0, keepdim=True)


def sharpest_row(x, t, observation):
    return network(x - 0.1 * x.amax(0, keepdim=True), t, observation)


class Normalised(nn.Module):
    """Left in training mode."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(8).double()

    def forward(self, x, t, observation):
        return network(self.norm(x), t, observation)


MIXING = [first_timestep_only, mean_of_rows, sharpest_row, Normalised()]


@pytest.mark.parametrize("environments", [1, 3])
@pytest.mark.parametrize("denoiser", MIXING, ids=lambda denoiser: getattr(denoiser, "__name__", "batch norm"))
def test_a_network_that_looks_at_other_rows_is_called_as_its_loop_calls_it(denoiser, environments):
    sampler = Sampler(denoiser, ddpm(), SHAPE, environments=environments, mode=Exact(), **OPTIONS)
    sampler.reset()
    observations = seen(0, *[environments] * (environments > 1))
    with pytest.warns(WitnessWarning, match=r"for step \d+ alone, gives something else .*network.eval"):
        chunk = sampler.act(observations)
    batch = observations.reshape(environments, -1)
    truth = own_loop(ddpm(), 20, sampler.noise, batch, denoiser=denoiser)
    torch.testing.assert_close(chunk.reshape(truth.shape), truth, rtol=0, atol=1e-5)
    assert any("one a call" in note for note in sampler.solution.notes)
    again = sampler.act(observations)  # no second warning, and still in order
    truth = own_loop(ddpm(), 20, sampler.noise, batch, denoiser=denoiser)
    torch.testing.assert_close(again.reshape(truth.shape), truth, rtol=0, atol=1e-5)
    assert sampler.report.rounds == 20


def test_strict_raises_and_without_a_witness_nothing_is_called():
    with pytest.raises(WitnessDisagrees, match="gives something else"):
        Sampler(mean_of_rows, ddpm(), SHAPE, strict=True, **OPTIONS).act(seen(0))
    sampler = Sampler(mean_of_rows, ddpm(), SHAPE, witness=False, **OPTIONS)
    sampler.act(seen(0))
    assert sampler.solution.witnessed == 0


@pytest.mark.parametrize(
    "mode", [Exact(), Warm(), Deadline(1e4), RTI(steps=(2, 1, 0))], ids=lambda mode: type(mode).__name__
)
def test_a_network_that_treats_rows_by_themselves_is_witnessed_once_and_then_seldom(mode):
    calls = []

    def denoiser(x, t, observation):
        calls.append(len(x))
        return network(x, t, observation)

    steps = 100 if isinstance(mode, RTI) else 20
    sampler = Sampler(denoiser, ddpm(), SHAPE, mode=mode, **(OPTIONS | {"steps": steps}))
    witnessed = []
    for tick in range(18):
        sampler.act(seen(tick))
        witnessed.append(sampler.solution.witnessed)
    assert witnessed[0] == 4
    late = sum(witnessed[1:])
    assert late == (0 if isinstance(mode, Deadline | RTI) else 1)


def test_the_network_is_called_as_the_loop_calls_it():
    shapes = set()

    def denoiser(x, t, observation):
        if len(x) == 3:
            shapes.add((tuple(x.shape), tuple(t.shape), tuple(observation.shape)))
        return network(x, t, observation)

    sampler = Sampler(denoiser, ddpm(), SHAPE, environments=3, mode=Exact(), **OPTIONS)
    sampler.reset()
    sampler.act(seen(0, 3))
    assert shapes == {((3, 8, 3), (3,), (3, 5))}


def test_a_network_in_half_precision_is_not_taken_for_a_mixing_one():
    def denoiser(x, t, observation):
        rounding = 2e-3 * torch.sin(1e4 * x)  # of kernels that depend on the size of the batch
        return network(x, t, observation) + (rounding if len(x) > 1 else 0)

    sampler = Sampler(denoiser, ddpm(), SHAPE, mode=Exact(), **(OPTIONS | {"tolerance": 0.05}))
    sampler.act(seen(0))
    assert sampler.solution.witnessed == 4


def test_a_network_for_one_batch_alone_is_called_as_its_loop_calls_it():
    context = torch.randn(3, 8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def denoiser(x, t, observation):
        return network(x + 0.2 * context, t, observation)

    sampler = Sampler(denoiser, ddpm(), SHAPE, environments=3, mode=Exact(), **OPTIONS)
    sampler.reset()
    with pytest.warns(WitnessWarning, match=r"cannot take 60 chunks, those of 20 steps, together \(RuntimeError"):
        chunk = sampler.act(seen(0, 3))
    truth = own_loop(ddpm(), 20, sampler.noise, seen(0, 3), denoiser=denoiser)
    torch.testing.assert_close(chunk, truth, rtol=0, atol=1e-5)


def test_an_error_of_the_network_itself_comes_out():
    def denoiser(x, t, observation):
        raise ZeroDivisionError("mine")

    with pytest.warns(WitnessWarning, match="mine"), pytest.raises(ZeroDivisionError, match="mine"):
        Sampler(denoiser, ddpm(), SHAPE, **OPTIONS).act(seen(0))


@pytest.mark.parametrize("base", [DDIMScheduler, EulerDiscreteScheduler])
def test_a_scheduler_that_mixes_environments_or_actions_is_taken_as_it_is(base):
    class Mixes(base):
        def step(self, model_output, timestep, sample, **keywords):
            result = super().step(model_output, timestep, sample, **keywords)
            mixed = 0.5 * (result.prev_sample + result.prev_sample.roll(1, 1))
            result.prev_sample = mixed - 0.2 * mixed.mean(0, keepdim=True)
            return result

    scheduler = Mixes(num_train_timesteps=100)
    sampler = Sampler(network, scheduler, SHAPE, environments=3, mode=Exact(), **OPTIONS)
    sampler.reset()
    chunk = sampler.act(seen(0, 3))
    truth = own_loop(scheduler, 20, sampler.noise, seen(0, 3))
    torch.testing.assert_close(chunk, truth, rtol=0, atol=1e-4)


def test_a_step_that_was_set_on_the_scheduler_itself_is_refused():
    scheduler = ddpm()
    own_step = scheduler.step
    scheduler.step = lambda *arguments, **keywords: own_step(*arguments, **keywords)
    with pytest.raises(ValueError, match="step was set on this DDPMScheduler itself"):
        Sampler(network, scheduler, SHAPE, **OPTIONS)
