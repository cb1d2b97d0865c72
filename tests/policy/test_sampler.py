"""A sampler of action chunks gives what the scheduler's own loop gives with the same noise."""

from typing import Any

import diffusers
import pytest
import torch
from policy.problems import OBS, SHAPE, ddpm, network, on_the_way, own_loop, seen, walker

from forerun import Full
from forerun.policy import Deadline, Exact, Sampler, Warm

FLOAT = torch.float64
SCHEDULERS: dict[str, tuple[Any, int, dict[str, Any]]] = {
    "ddpm": (ddpm(), 100, {}),
    "ddpm, not clipped": (ddpm(clip_sample=False, prediction_type="sample"), 50, {}),
    "ddpm, thresholding": (ddpm(thresholding=True), 20, {}),
    "ddim": (diffusers.DDIMScheduler(num_train_timesteps=100, beta_schedule="squaredcos_cap_v2"), 30, {}),
    "ddim, eta": (diffusers.DDIMScheduler(num_train_timesteps=100), 30, {"eta": 1.0, "use_clipped_model_output": True}),
    "dpm-solver": (diffusers.DPMSolverMultistepScheduler(num_train_timesteps=100), 20, {}),
    "euler ancestral": (diffusers.EulerAncestralDiscreteScheduler(num_train_timesteps=100), 30, {}),
    "flow matching": (diffusers.FlowMatchEulerDiscreteScheduler(), 20, {}),
}


def sampler(scheduler: Any, steps: int, **options: Any) -> Sampler:
    chosen = {"executed": 3, "tolerance": 1e-7, "dtype": FLOAT, "observation": (OBS,), **options}
    return Sampler(network, scheduler, SHAPE, steps=steps, **chosen)


@pytest.mark.parametrize("mode", [Exact(), Warm()], ids=repr)
@pytest.mark.parametrize("name", SCHEDULERS)
def test_equals_the_schedulers_own_loop_with_the_same_noise(name: str, mode: Any) -> None:
    scheduler, steps, options = SCHEDULERS[name]
    policy = sampler(scheduler, steps, step_options=options, environments=2, mode=mode)
    policy.reset()
    for tick in range(3):
        observation = seen(0, 2) + 0.1 * tick
        chunk = policy.act(observation)
        own = own_loop(scheduler, steps, policy.noise, observation, **options)
        assert float((chunk - own).abs().max()) < 1e-5, tick
        assert policy.report.rounds <= policy.plan.length
        assert name == "ddim" or policy.report.rounds < policy.plan.length  # what is clipped there comes back as noise


@pytest.mark.parametrize("mode", [Exact(), Warm()], ids=repr)
def test_few_steps_are_taken_in_order(mode: Any) -> None:
    """A round of DDIM 10 costs more on a processor than the steps that it saves."""
    scheduler = SCHEDULERS["ddim"][0]
    declined, insisting = sampler(scheduler, 10, mode=mode), sampler(scheduler, 10, mode=mode, window=Full())
    for tick in range(2):
        observation = seen(tick, 1)[0]
        chunks = [policy.act(observation) for policy in (declined, insisting)]
        assert (declined.report.rounds, declined.report.evaluations) == (10, 10)
        assert declined.solution.notes[0].startswith("Sequential: 10 steps are too few")
        assert float((chunks[0] - chunks[1]).abs().max()) < 1e-5
    assert insisting.report.evaluations > 10


def test_a_deadline_is_looked_at_between_few_steps_too() -> None:
    policy = sampler(SCHEDULERS["ddim"][0], 10, mode=Deadline(1e-3))
    policy.act(seen(0, 1)[0])
    assert policy.report.rounds < 10


def test_warm_noise_moves_along_the_horizon_and_stays_standard_normal() -> None:
    policy = sampler(ddpm(), 4, environments=16, mode=Warm())
    policy.reset()
    found = []
    for tick in range(60):
        before = policy.noise
        policy.act(seen(tick, 16))
        if before is not None:
            assert torch.equal(policy.noise[:, :, :-3], before[:, :, 3:])
        found.append(policy.noise)
    rows = torch.stack(found)  # (ticks, 5, environments, 8, 3)
    assert abs(float(rows.mean())) < 0.02
    assert abs(float(rows.std()) - 1) < 0.01
    assert abs(float(rows.pow(4).mean()) - 3) < 0.1
    within = rows.transpose(1, 2).flatten(0, 1).flatten(1)  # a row for every tick of every environment
    assert float((within.T @ within / len(within) - torch.eye(within.shape[1])).abs().max()) < 0.25


def test_exact_noise_is_new_in_every_tick_and_each_environments_own() -> None:
    policy = sampler(ddpm(), 4, environments=2)
    policy.reset()
    policy.act(seen(0, 2))
    first = policy.noise
    policy.act(seen(0, 2))
    assert not torch.equal(policy.noise[:, :, :-3], first[:, :, 3:])
    assert not torch.equal(first[:, 0], first[:, 1])
    again = sampler(ddpm(), 4, environments=2)
    again.reset()
    again.act(seen(5, 2))
    assert torch.equal(again.noise, first)


def walking(mode: Any, **options: Any) -> Sampler:
    chosen = {"executed": 3, "steps": 50, "dtype": FLOAT, "mode": mode, **options}
    return Sampler(walker, ddpm(prediction_type="sample", clip_sample=False), SHAPE, **chosen)


def test_a_warm_tick_takes_fewer_rounds_where_little_changed() -> None:
    warm, cold = (walking(mode, tolerance=1e-3, executed=1) for mode in (Warm(), Exact()))
    rounds = {"warm": 0, "cold": 0}
    for tick in range(6):
        warm.act(on_the_way(tick, 1))
        cold.act(on_the_way(tick, 1))
        if tick:
            assert warm.report.stale == (False,)
            rounds["warm"] += warm.report.rounds
            rounds["cold"] += cold.report.rounds
    assert rounds["warm"] < rounds["cold"]


def test_a_jump_of_the_observation_is_noticed_and_costs_a_round_not_the_answer() -> None:
    warm, cold = walking(Warm(), tolerance=1e-6), walking(Exact(), tolerance=1e-6)
    for tick in range(2):
        warm.act(on_the_way(tick))
    assert warm.report.stale == (False,)
    far = on_the_way(2) + 1.6  # half a period in all
    chunk = warm.act(far)
    assert warm.report.stale == (True,)
    assert "dropped" in warm.report.sentence
    scheduler = ddpm(prediction_type="sample", clip_sample=False)
    own = own_loop(scheduler, 50, warm.noise, far[None], denoiser=walker)
    assert float((chunk - own[0]).abs().max()) < 1e-5
    cold.act(far)
    assert warm.report.rounds <= cold.report.rounds + 1


def test_environments_keep_their_own_clocks() -> None:
    """One that is reset begins from fresh noise; what the other does is not touched by it."""
    policy, other = (sampler(ddpm(), 30, environments=2, mode=Warm()) for _ in range(2))
    for each in (policy, other):
        each.reset()
        each.act(seen(0, 2))
    before = policy.noise
    policy.reset([1])
    observation = seen(0, 2) + 0.01
    chunk, alone = policy.act(observation), other.act(observation)
    assert torch.equal(policy.noise[:, 0, :-3], before[:, 0, 3:])
    assert not torch.equal(policy.noise[:, 1, :-3], before[:, 1, 3:])
    assert torch.allclose(chunk[0], alone[0], atol=1e-6)
    assert float((chunk - own_loop(ddpm(), 30, policy.noise, observation)).abs().max()) < 1e-5


def test_the_scheduler_is_not_modified() -> None:
    scheduler = ddpm()
    before = {name: str(value) for name, value in vars(scheduler).items()}
    sampler(scheduler, 20).act(seen(0))
    assert {name: str(value) for name, value in vars(scheduler).items()} == before


class Odd(diffusers.DDPMScheduler):
    """Adds the cube of its noise."""

    def step(
        self, model_output: Any, timestep: Any, sample: Any, generator: Any = None, return_dict: Any = True
    ) -> Any:
        found = super().step(model_output, timestep, sample, generator)
        return type(found)(found.prev_sample**3)


def test_a_scheduler_whose_noise_cannot_be_handed_on_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Odd adds noise .* DDPMScheduler"):
        sampler(Odd(num_train_timesteps=100), 20)


def test_actions_are_clamped_where_asked() -> None:
    chunk = sampler(ddpm(clip_sample=False), 20, clip=0.1).act(seen(0))
    assert float(chunk.abs().max()) == pytest.approx(0.1)


def test_the_solution_of_a_tick_has_the_chunk_as_its_value() -> None:
    policy = Sampler(walker, ddpm(prediction_type="sample"), SHAPE, steps=20, executed=3, window=5, tolerance=1e-4)
    assert policy.solution is None
    chunk = policy.act(torch.zeros(OBS))
    assert torch.equal(policy.solution.value, chunk)
    assert policy.solution.rounds == policy.report.rounds
    assert max(entry.width for entry in policy.solution.log) <= 5
    with pytest.raises(TypeError, match="windw is not an option; did you mean window"):
        Sampler(walker, ddpm(), SHAPE, windw=5)
