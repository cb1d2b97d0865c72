"""What was probed of a scheduler is found again for an equal one, and for no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import diffusers
import pytest
import torch

from forerun.diffusion.schedulers import sampling as sampling_module
from forerun.diffusion.schedulers.sampling import SchedulerSampling
from forerun.diffusion.schedulers.scheduler_form import SCHEDULER_FORMS, FormMemory, SchedulerForm

STEPS = 12
SAMPLE = torch.zeros(1, 2, 4, 4)
KINDS = [
    "DDIMScheduler", "DDPMScheduler", "DPMSolverMultistepScheduler", "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler", "UniPCMultistepScheduler", "PNDMScheduler",
]  # fmt: skip


@pytest.fixture(autouse=True)
def empty_memory() -> Iterator[None]:
    SCHEDULER_FORMS.clear()
    yield
    SCHEDULER_FORMS.clear()


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for every scheduler that is probed."""
    counted: list[int] = []
    probe = sampling_module.probe_matrices

    def count(*arguments: Any) -> Any:
        counted.append(1)
        return probe(*arguments)

    monkeypatch.setattr(sampling_module, "probe_matrices", count)
    return counted


def build(scheduler: Any, *, steps: int = STEPS, **step_options: Any) -> SchedulerSampling:
    if getattr(scheduler, "num_inference_steps", None) is None:
        scheduler.set_timesteps(steps)
    generator = torch.Generator().manual_seed(3)
    times = list(scheduler.timesteps)
    return SchedulerSampling(
        lambda *arguments: None, scheduler, SAMPLE, times, generator=generator, step_options=step_options
    )


def run(sampling: SchedulerSampling) -> torch.Tensor:
    """The sample that all steps lead to, from fixed outputs."""
    state = sampling.state(torch.ones_like(SAMPLE))
    for step in range(sampling.length):
        state = sampling.advance(step, state, torch.full_like(SAMPLE, 0.1 * step))
    return sampling.sample_of(state)


@pytest.mark.parametrize("kind", KINDS)
def test_an_equal_scheduler_is_not_probed_again(kind: str, probes: list[int]) -> None:
    first = build(getattr(diffusers, kind)())
    count = len(probes)
    assert count
    again = build(getattr(diffusers, kind)())
    assert len(probes) == count
    assert torch.equal(run(first), run(again))


def shift_sigmas(scheduler: Any) -> None:
    scheduler.set_timesteps(STEPS)
    scheduler.sigmas *= 0.9  # in place, of the user's own scheduler


def replace_table(scheduler: Any) -> None:
    scheduler.set_timesteps(STEPS)
    scheduler.alphas_cumprod = scheduler.alphas_cumprod**1.1


def drop_timesteps(scheduler: Any) -> None:
    scheduler.set_timesteps(STEPS)
    scheduler.timesteps = scheduler.timesteps[3:]


@pytest.mark.parametrize(
    "kind, change",
    [
        ("EulerDiscreteScheduler", shift_sigmas),
        ("DDIMScheduler", replace_table),
        ("DDPMScheduler", replace_table),
        ("DDIMScheduler", drop_timesteps),
        ("DDIMScheduler", lambda scheduler: scheduler.set_timesteps(STEPS + 1)),
        ("DDIMScheduler", lambda scheduler: scheduler.register_to_config(prediction_type="v_prediction")),
        ("DDIMScheduler", lambda scheduler: setattr(scheduler, "final_alpha_cumprod", torch.tensor(0.99999))),
        ("DPMSolverMultistepScheduler", lambda scheduler: scheduler.register_to_config(solver_order=3)),
    ],
)
def test_another_scheduler_is_probed(kind: str, change: Callable[[Any], None], probes: list[int]) -> None:
    build(getattr(diffusers, kind)())
    count = len(probes)
    changed = getattr(diffusers, kind)()
    change(changed)
    remembered = run(build(changed))
    assert len(probes) > count
    SCHEDULER_FORMS.clear()
    assert torch.equal(remembered, run(build(changed)))


def test_other_arguments_of_the_step_are_probed(probes: list[int]) -> None:
    build(diffusers.DDIMScheduler(clip_sample=False))
    build(diffusers.DDIMScheduler(clip_sample=False), eta=0.5)
    assert len(probes) == 2
    build(diffusers.DDIMScheduler(clip_sample=False), eta=0.5)
    assert len(probes) == 2


def test_a_replaced_step_is_probed(monkeypatch: pytest.MonkeyPatch, probes: list[int]) -> None:
    build(diffusers.DDIMScheduler())
    plain_step = diffusers.DDIMScheduler.step

    def step(self: Any, model_output: Any, timestep: Any, sample: Any, **keywords: Any) -> Any:
        return plain_step(self, model_output, timestep, 0.5 * sample, **keywords)

    monkeypatch.setattr(diffusers.DDIMScheduler, "step", step)
    build(diffusers.DDIMScheduler())
    assert len(probes) == 2


def test_a_class_of_the_users_own_is_probed_every_time(probes: list[int]) -> None:
    factor = {"value": 1.0}

    class Scaled(diffusers.DDIMScheduler):
        def step(self, model_output: Any, timestep: Any, sample: Any, **keywords: Any) -> Any:
            result = super().step(model_output, timestep, sample, return_dict=True)
            return type(result)(prev_sample=factor["value"] * result.prev_sample)

    first = run(build(Scaled(clip_sample=False)))
    factor["value"] = 2.0
    assert len(probes) == 1
    assert not len(SCHEDULER_FORMS)
    assert not torch.equal(first, run(build(Scaled(clip_sample=False))))


def test_a_form_whose_tensors_were_changed_is_dropped(probes: list[int]) -> None:
    sampling = build(diffusers.DDIMScheduler())
    sampling.replay.templates[0].attributes["alphas_cumprod"].mul_(0.5)
    build(diffusers.DDIMScheduler())
    assert len(probes) == 2


def test_what_is_kept_is_bounded() -> None:
    form = build(diffusers.DDIMScheduler())
    kept = SchedulerForm(form.replay.dry_run, form.splits, form.matrices, form.clipping, form.scales)
    memory = FormMemory(3 * STEPS)
    for name in range(10):
        memory.remember(name, kept)
    assert len(memory) == 3
    assert memory.recall(0) is None
    assert memory.recall(9) is kept
    memory.remember(None, kept)
    assert memory.recall(None) is None
