"""Any pipeline of diffusers, driven by its own call, gives its own sample."""

import copy
import inspect
from collections.abc import Iterator

import diffusers
import pytest
import torch
from diffusers import DDIMScheduler, UniPCMultistepScheduler
from diffusion import pipeline_matrix as matrix
from diffusion.pipeline_matrix import CASES, Case, Entry
from diffusion.zoo.catalogue import ENTRIES, ZOO

import forerun
from forerun.diffusion.pipelines.calls import NotUnderstood
from forerun.diffusion.pipelines.parallel import parallel
from forerun.engine.backends import Threads

EXACT, ROUNDED = 2e-4, 0.03  # relative root mean square; in half precision besides what it rounds by itself
STEPS, LONG = 12, 40
SCORED = "score-sde-ve"  # its scheduler has no step


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    before = diffusers.logging.get_verbosity()
    diffusers.logging.set_verbosity_error()
    yield
    diffusers.logging.set_verbosity(before)


@pytest.fixture
def sd() -> Iterator[diffusers.StableDiffusionPipeline]:
    pipe = ZOO["sd"].build()
    scheduler = pipe.scheduler
    yield pipe
    pipe.scheduler = scheduler


def call(pipe: object, **more: object) -> torch.Tensor:
    return ZOO["sd"].run(pipe, steps=more.pop("steps", STEPS), **more)


@pytest.mark.parametrize(
    "entry, case",
    [(entry, case) for entry in ENTRIES for case in CASES if matrix.applies(entry, case) and entry.name != SCORED],
    ids=lambda entry_or_case: str(entry_or_case) if isinstance(entry_or_case, Case) else repr(entry_or_case),
)
def test_gives_its_own_sample(entry: Entry, case: Case) -> None:
    half = case.dtype == torch.bfloat16
    row = matrix.compare(entry, case, steps=8, tolerance=None if half else 1e-4)
    assert row.deviation <= (ROUNDED + 2 * row.rounding if half else EXACT)
    assert row.restored
    # in half precision a solve may be sent back, which takes up to two rounds a step, and its path then be left
    assert row.rounds < (3 if half else 2) * row.steps
    if not half and entry.name not in {*matrix.IN_ORDER, *matrix.PARTLY}:
        assert not row.note


def test_few_run_in_order() -> None:
    assert set(matrix.IN_ORDER) <= set(ZOO)
    assert len(matrix.IN_ORDER) < len(ENTRIES) / 8


def test_rounds_evaluations_and_status_are_told(sd: diffusers.StableDiffusionPipeline) -> None:
    expected = call(sd, steps=30)
    with parallel(sd, window=forerun.Full()) as run:
        assert run.solution is None
        ahead = call(sd, steps=30)
    solution = run.solution
    assert solution.status is forerun.Status.CHECKED
    assert solution.length == solution.step == 30
    assert solution.rounds < 15 < solution.evaluations
    assert torch.equal(solution.state, ahead)
    assert solution.deviation_estimate < 1e-3
    assert float((ahead - expected).pow(2).mean().sqrt()) < 1e-3 * 20
    assert solution.log[0].start == 1


def test_slices_of_every_round_in_threads_give_the_same_sample(sd: diffusers.StableDiffusionPipeline) -> None:
    expected = call(sd, steps=30)
    with parallel(sd, window=forerun.Full(), backend=Threads(2), strict=True) as run:
        ahead = call(sd, steps=30)
    assert float((ahead - expected).pow(2).mean().sqrt()) < 1e-3 * 20
    assert run.solution.rounds < 15  # no path was left, as a control that meets another slice would leave it


def test_several_calls_in_one_context(sd: diffusers.StableDiffusionPipeline) -> None:
    expected = [call(sd, seed=seed) for seed in (0, 1)]
    with parallel(sd, window=forerun.Full(), tolerance=1e-5) as run:
        ahead = [call(sd, seed=seed) for seed in (0, 1)]
    assert len(run.solutions) == 2
    assert all(torch.allclose(*pair, atol=1e-3) for pair in zip(expected, ahead, strict=True))


@pytest.mark.parametrize("steps", [2, 4, 10])
def test_auto_tries_nothing_where_there_is_nothing_to_gain(sd: diffusers.StableDiffusionPipeline, steps: int) -> None:
    expected = call(sd, steps=steps)
    with parallel(sd) as run:
        ahead = call(sd, steps=steps)
    assert torch.equal(expected, ahead)
    assert (run.solution.rounds, run.solution.evaluations) == (steps, steps)
    assert run.solution.status is forerun.Status.SEQUENTIAL
    assert steps < 3 or "too few to gain" in run.solution.notes[0]


def test_a_callback_that_changes_the_latents_is_noticed(sd: diffusers.StableDiffusionPipeline) -> None:
    def shift(pipe: object, step: int, t: object, arguments: dict) -> dict:
        return {"latents": arguments["latents"] + 0.5} if step == 5 else {}

    expected = call(sd, steps=LONG, callback_on_step_end=shift)
    with parallel(sd, window=forerun.Full(), tolerance=1e-5) as run:
        ahead = call(sd, steps=LONG, callback_on_step_end=shift)
    assert torch.allclose(expected, ahead, atol=1e-3)
    assert not torch.allclose(expected, call(sd, steps=LONG), atol=1e-1)
    assert run.solution.step == LONG


def test_callbacks_see_every_step_once_with_the_usual_latents(sd: diffusers.StableDiffusionPipeline) -> None:
    received: dict[bool, list] = {False: [], True: []}

    def watching(ahead: bool):
        return lambda pipe, step, t, arguments: (
            received[ahead].append((step, int(t), arguments["latents"].clone())) or {}
        )

    call(sd, callback_on_step_end=watching(False))
    with parallel(sd, window=forerun.Full(), tolerance=1e-5):
        call(sd, callback_on_step_end=watching(True))
    assert [entry[:2] for entry in received[False]] == [entry[:2] for entry in received[True]]
    assert all(torch.allclose(a[2], b[2], atol=1e-3) for a, b in zip(received[False], received[True], strict=True))


def test_a_pipeline_that_is_interrupted_stops(sd: diffusers.StableDiffusionPipeline) -> None:
    def stop(pipe: object, step: int, t: object, arguments: dict) -> dict:
        pipe._interrupt = step >= 3
        return {}

    expected = call(sd, callback_on_step_end=stop)
    with parallel(sd, window=forerun.Full(), tolerance=1e-5) as run:
        ahead = call(sd, callback_on_step_end=stop)
    assert torch.allclose(expected, ahead, atol=1e-3)
    assert run.solution.step == 4


def test_guidance_that_ends_half_way(sd: diffusers.StableDiffusionPipeline) -> None:
    def end(pipe: object, step: int, t: object, arguments: dict) -> dict:
        if step == 5:
            pipe._guidance_scale = 1.0
            return {"prompt_embeds": arguments["prompt_embeds"].chunk(2)[-1]}
        return {}

    inputs = {"callback_on_step_end": end, "callback_on_step_end_tensor_inputs": ["prompt_embeds"]}
    expected = call(sd, steps=LONG, **inputs)
    with parallel(sd, window=forerun.Full(), tolerance=1e-5) as run:
        ahead = call(sd, steps=LONG, **inputs)
    assert torch.allclose(expected, ahead, atol=1e-3)
    assert run.solution.rounds < LONG


@pytest.mark.parametrize("name, first", [("sd-inpaint-9", 1), ("sd-inpaint", 3), ("modular-sdxl-inpaint", 3)])
def test_noise_that_is_added_between_two_steps_is_noticed(name: str, first: int) -> None:
    """Nine channels carry the picture to the network; with four it is blended in, as two more steps must confirm."""
    entry = ZOO[name]
    expected = entry.run(steps=STEPS)
    with parallel(entry.build(), window=forerun.Full(), tolerance=1e-5) as run:
        ahead = entry.run(steps=STEPS)
    assert torch.allclose(expected, ahead, atol=1e-3)
    assert run.solution.log[0].start == first
    assert run.solution.rounds < run.solution.length


def test_few_steps_that_are_left_are_not_solved_again(sd: diffusers.StableDiffusionPipeline) -> None:
    def shift(pipe: object, step: int, t: object, arguments: dict) -> dict:
        return {"latents": arguments["latents"] + 0.5} if step == 7 else {}

    expected = call(sd, callback_on_step_end=shift)
    with pytest.warns(RuntimeWarning, match="too few steps are left"), parallel(sd, window=forerun.Full()) as run:
        ahead = call(sd, callback_on_step_end=shift)
    assert torch.allclose(expected, ahead, atol=2e-2)
    assert run.solution.rounds < 2 * STEPS


def test_another_scheduler_is_set_by_the_user(sd: diffusers.StableDiffusionPipeline) -> None:
    sd.scheduler = UniPCMultistepScheduler.from_config(sd.scheduler.config)
    expected = call(sd, steps=30)
    with parallel(sd, window=forerun.Full(), tolerance=1e-5) as run:
        ahead = call(sd, steps=30)
    assert torch.allclose(expected, ahead, atol=2e-3)
    assert run.solution.rounds < 15


def test_everything_is_put_back_after_an_exception(sd: diffusers.StableDiffusionPipeline) -> None:
    before, signature = matrix.fingerprint(sd), inspect.signature(sd.scheduler.step)

    def fail(pipe: object, step: int, t: object, arguments: dict) -> dict:
        raise KeyError("mine")

    run = parallel(sd)
    with run:
        assert inspect.signature(sd.scheduler.step) == signature
        with pytest.raises(KeyError, match="mine"):
            call(sd, callback_on_step_end=fail)
    assert matrix.fingerprint(sd) == before


def test_a_copy_of_the_scheduler_steps_by_itself(sd: diffusers.StableDiffusionPipeline) -> None:
    """Pipelines that copy their scheduler for a second stream of samples."""
    with parallel(sd):
        scheduler, other = sd.scheduler, copy.deepcopy(sd.scheduler)
        scheduler.set_timesteps(5)
        other.set_timesteps(7)
        assert len(scheduler.timesteps) == 5
        assert isinstance(scheduler, DDIMScheduler)


def test_what_is_not_understood_runs_in_order_with_one_warning() -> None:
    entry = ZOO["cogvideox-dpm"]
    expected = entry.run(steps=STEPS)
    with pytest.warns(RuntimeWarning, match="Sequential from step 1 on") as caught, parallel(entry.build()) as run:
        ahead = entry.run(steps=STEPS)
    assert len([warning for warning in caught if warning.category is RuntimeWarning]) == 1
    assert torch.equal(expected, ahead)
    assert run.solution.status is forerun.Status.SEQUENTIAL
    assert run.solution.rounds == run.solution.length
    assert "Sequential" in str(run.solution)


def test_strict_makes_it_an_error() -> None:
    entry = ZOO["modular-sdxl-projected"]
    with pytest.raises(NotUnderstood, match="momentum"), parallel(entry.build(), strict=True):
        entry.run(steps=STEPS)


def test_a_network_that_is_not_deterministic_is_noticed(sd: diffusers.StableDiffusionPipeline) -> None:
    handle = sd.unet.conv_out.register_forward_hook(
        lambda module, args, output: output + 0.3 * torch.randn(output.shape)
    )
    try:
        with pytest.warns(RuntimeWarning, match="not deterministic"), parallel(sd, window=forerun.Full()) as run:
            call(sd)
    finally:
        handle.remove()
    assert run.solution.step == STEPS


def test_bad_input(sd: diffusers.StableDiffusionPipeline) -> None:
    with pytest.raises(TypeError, match="no scheduler with a step"), parallel(Loopless()):
        pass
    with pytest.raises(TypeError, match="no scheduler with a step"), parallel(ZOO[SCORED].build()):
        pass
    with pytest.raises(RuntimeError, match="already"), parallel(sd), parallel(sd):
        pass
    assert "_forerun_original" not in vars(type(sd.scheduler))
    with pytest.raises(ValueError, match="Sliding"), parallel(sd, window=forerun.Sliding(0)):
        pass
    latents = torch.full((1, 4, 16, 16), torch.nan)
    with pytest.warns(RuntimeWarning), parallel(sd, window=forerun.Full()):
        sample = call(sd, latents=latents)
    assert sample.isnan().all()


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"generator": [torch.Generator(), torch.Generator()]}, "list of generators"),
        ({"num_inference_steps": 2000}, "2000"),
    ],
)
def test_what_the_pipeline_refuses_it_refuses_ahead_too(sd: diffusers.StableDiffusionPipeline, wrong, words) -> None:
    before = matrix.fingerprint(sd)
    with pytest.raises(ValueError, match=words), parallel(sd, window=forerun.Full()) as run:
        sd("a cat", output_type="latent", **wrong)
    assert run.solution is None
    assert matrix.fingerprint(sd) == before


@pytest.mark.parametrize("steps", [1, 2])
def test_a_scheduler_with_no_step_to_run_ahead_runs_in_order(sd: diffusers.StableDiffusionPipeline, steps: int) -> None:
    expected = call(sd, steps=steps)
    with parallel(sd, window=forerun.Full()) as run:
        assert torch.equal(expected, call(sd, steps=steps))
    assert run.solution.rounds == steps


class Loopless:
    components: dict = {}  # noqa: RUF012
