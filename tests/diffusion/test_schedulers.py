"""Any scheduler of diffusers, unmodified, gives the sample of its own loop."""

import logging
from collections.abc import Iterator

import diffusers
import pytest
import torch
from diffusers import schedulers
from diffusion import scheduler_matrix as matrix
from diffusion.scheduler_matrix import Cell

import forerun
from forerun.diffusion.schedulers.replay import SchedulerReplay
from forerun.diffusion.schedulers.sample import sample
from forerun.diffusion.schedulers.sampling import SchedulerSampling

CELLS = list(matrix.cells())
ROUNDING, TOLERANCE = 5e-5, 1e-4  # of the largest element; clipping divides by the signal, where there is little


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    logging.disable(logging.WARNING)  # that scale_model_input was not called, of copies that need no scaling
    yield
    logging.disable(logging.NOTSET)


def test_every_class_is_covered_or_listed() -> None:
    covered = {cell.name for cell in CELLS}
    assert covered | set(matrix.NOT_COVERED) == set(matrix.names()) | set(matrix.NOT_INSTALLED)
    assert not covered & set(matrix.NOT_COVERED)
    assert len(covered) > 25


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_equals_its_own_loop(cell: Cell) -> None:
    expected = matrix.own_loop(cell, matrix.start())
    size = max(float(expected.abs().max()), 1.0)
    options = {"generator": torch.Generator().manual_seed(5)}
    in_order = sample(matrix.network, cell.scheduler(), matrix.start(), method=forerun.Sequential(), **options)
    assert float((in_order.state - expected).abs().max()) <= ROUNDING * size
    options = {"generator": torch.Generator().manual_seed(5)}
    ahead = sample(
        matrix.network, cell.scheduler(), matrix.start(), window=forerun.Full(), tolerance=TOLERANCE, **options
    )
    assert ahead.status.done
    assert float((ahead.state - expected).pow(2).mean().sqrt()) <= TOLERANCE * size
    assert ahead.rounds <= 2 * in_order.rounds


@pytest.mark.parametrize("name", ["DDIMScheduler", "DPMSolverMultistepScheduler", "HeunDiscreteScheduler"])
def test_half_way_in_another_window_the_history_is_exact(name: str) -> None:
    cell = Cell(name, "v_prediction", 30)
    expected = matrix.own_loop(cell, matrix.start())
    solution = sample(matrix.network, cell.scheduler(), matrix.start(), window=forerun.Sliding(5), tolerance=1e-6)
    assert float((solution.state - expected).abs().max()) <= 2e-5
    assert solution.rounds < len(cell.scheduler().timesteps)


def test_the_users_generator_ends_where_the_loop_leaves_it() -> None:
    cell = Cell("EulerAncestralDiscreteScheduler", "epsilon", 20)
    generator, other = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    sample(matrix.network, cell.scheduler(), matrix.start(), window=forerun.Full(), generator=generator)
    scheduler = cell.scheduler()
    for _ in scheduler.timesteps:
        torch.randn(matrix.SHAPE, generator=other)
    assert torch.equal(generator.get_state(), other.get_state())


def test_without_a_generator_the_global_one_is_used_as_by_the_loop() -> None:
    cell = Cell("DDPMScheduler", "epsilon", 20)
    torch.manual_seed(7)
    solution = sample(matrix.network, cell.scheduler(), matrix.start(), window=forerun.Full(), tolerance=1e-6)
    after = torch.randn(3)
    torch.manual_seed(7)
    scheduler, x = cell.scheduler(), matrix.start()
    for t in scheduler.timesteps:
        x = scheduler.step(matrix.network(x, t.expand(len(x))), t, x).prev_sample
    assert torch.allclose(solution.state, x, atol=1e-4)
    assert torch.equal(after, torch.randn(3))


def test_a_generator_for_each_sample() -> None:
    cell = Cell("DDPMScheduler", "epsilon", 20)

    def seeded() -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in (3, 4)]

    solution = sample(
        matrix.network, cell.scheduler(), matrix.start(), window=forerun.Full(), tolerance=1e-6, generator=seeded()
    )
    scheduler, x, generators = cell.scheduler(), matrix.start(), seeded()
    for t in scheduler.timesteps:
        x = scheduler.step(matrix.network(x, t.expand(len(x))), t, x, generator=generators).prev_sample
    assert torch.allclose(solution.state, x, atol=1e-4)


def test_options_of_the_step_are_handed_on() -> None:
    scheduler = diffusers.DDIMScheduler(clip_sample=False)
    solutions = {}
    for eta in (0.0, 1.0):
        generator = torch.Generator().manual_seed(5)
        solutions[eta] = sample(
            matrix.network,
            scheduler,
            matrix.start(),
            steps=20,
            generator=generator,
            step_options={"eta": eta},
            window=forerun.Full(),
        )
    assert not torch.allclose(solutions[0.0].state, solutions[1.0].state, atol=0.1)


def test_the_scheduler_is_not_modified() -> None:
    scheduler = Cell("UniPCMultistepScheduler", "epsilon", 20).scheduler()
    before = dict(vars(scheduler))
    sample(matrix.network, scheduler, matrix.start(), window=forerun.Full())
    assert vars(scheduler) == before


@pytest.mark.parametrize(
    "name, options, linear",
    [
        ("DDIMScheduler", {}, True),
        ("DDIMScheduler", {"thresholding": True}, False),
        ("UniPCMultistepScheduler", {}, True),
        ("PNDMScheduler", {}, True),
        ("DDPMScheduler", {"clip_sample_range": 0.5}, True),
        ("DDPMScheduler", {"thresholding": True}, False),
    ],
)
def test_what_is_linear_or_clips_becomes_matrices_and_the_rest_is_stepped(
    name: str, options: dict[str, object], linear: bool
) -> None:
    scheduler = getattr(schedulers, name)(**options)
    scheduler.set_timesteps(10)
    process = SchedulerSampling(lambda steps, x: x, scheduler, matrix.start(), list(scheduler.timesteps))
    assert (process.matrices is not None) == linear


@pytest.mark.parametrize(
    "name, options",
    [
        ("DDIMScheduler", {}),
        ("DDIMScheduler", {"use_clipped_model_output": True}),
        ("DDIMScheduler", {"eta": 1.0}),
        ("DDPMScheduler", {}),
    ],
)
def test_a_scheduler_that_clips_takes_the_same_steps_in_closed_form(name: str, options: dict[str, object]) -> None:
    scheduler = getattr(schedulers, name)(clip_sample_range=0.3)
    scheduler.set_timesteps(10)
    keywords = {"generator": torch.Generator().manual_seed(5), "step_options": options}
    solution = sample(matrix.network, scheduler, matrix.start(), window=forerun.Full(), tolerance=1e-6, **keywords)
    x, generator = matrix.start(), torch.Generator().manual_seed(5)
    for t in scheduler.timesteps:
        x = scheduler.step(matrix.network(x, t.expand(len(x))), t, x, generator=generator, **options).prev_sample
    assert float(x.abs().max()) < 0.31, "the sample was to be clipped"
    assert float((solution.state - x).abs().max()) <= 2e-5


def test_history_that_no_later_sample_needs_is_not_carried() -> None:
    scheduler = schedulers.IPNDMScheduler()
    scheduler.set_timesteps(50)
    process = SchedulerSampling(lambda steps, x: x, scheduler, matrix.start(), list(scheduler.timesteps))
    assert process.replay.slots >= 49
    assert process.matrices is not None
    assert process.matrices.width <= 5


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "DPMSolverMultistepScheduler", "DDIMScheduler"])
def test_the_output_is_the_denoised_sample(name: str, prediction: str) -> None:
    """A network that knows the clean picture gives it as the output of every step, whatever it has to predict."""
    clip = {"clip_sample": False} if name == "DDIMScheduler" else {}
    scheduler = getattr(schedulers, name)(prediction_type=prediction, **clip)
    scheduler.set_timesteps(20)
    clean = torch.tanh(matrix.start())
    noise = torch.randn(matrix.SHAPE, generator=torch.Generator().manual_seed(9))
    process = SchedulerSampling(lambda steps, x: x, scheduler, matrix.start(), list(scheduler.timesteps))
    for step, split in enumerate(process.splits):
        scale = process.replay.input_scale(step)
        sigma = (scale**-2 - 1) ** 0.5
        signal = 1.0 if scale != 1 else float(scheduler.alphas_cumprod[int(scheduler.timesteps[step])] ** 0.5)
        level = sigma if scale != 1 else (1 - signal**2) ** 0.5
        size = (signal**2 + level**2) ** 0.5
        x = signal * clean + level * noise
        predicted = {
            "epsilon": noise,
            "v_prediction": (signal * noise - level * clean) / size,
            "sample": clean,
        }[prediction]
        denoised = process.output_for(step, x, predicted)
        assert torch.allclose(denoised, clean, atol=2e-3), (step, split)


def test_bad_input() -> None:
    scheduler = diffusers.DDIMScheduler()
    with pytest.raises(ValueError, match="steps=50"):
        sample(matrix.network, scheduler, matrix.start(), steps=2000)
    with pytest.raises(ValueError, match="set_timesteps"):
        sample(matrix.network, scheduler, matrix.start())
    with pytest.raises(ValueError, match="not finite"):
        sample(matrix.network, scheduler, torch.full(matrix.SHAPE, torch.nan), steps=10)
    with pytest.raises(ValueError, match="unsqueeze"):
        sample(matrix.network, scheduler, torch.zeros(4), steps=10)
    with pytest.raises(ValueError, match=r"unet\(x, t\)\.sample"):
        sample(lambda x, t: x[:1], scheduler, matrix.start(), steps=10)
    with pytest.raises(TypeError, match="DDIMScheduler"):
        sample(matrix.network, torch.nn.Linear(2, 2), matrix.start(), steps=10)
    scheduler = diffusers.CogVideoXDPMScheduler()
    scheduler.set_timesteps(10)
    with pytest.raises(ValueError, match="old_pred_original_sample"):
        SchedulerReplay(scheduler, matrix.start(), list(scheduler.timesteps), step_options={})
