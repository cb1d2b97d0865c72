"""Changes of networks, schedulers and callbacks while a pipeline runs: the sequential answer, or a word."""

import copy
import pickle
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import diffusers
import pytest
import torch
from diffusion import pipeline_matrix as matrix
from diffusion.zoo import stable_diffusion as sd_zoo
from diffusion.zoo.catalogue import ZOO
from torch import Tensor, nn

import forerun
from forerun.diffusion.pipelines.calls import NotUnderstood
from forerun.diffusion.pipelines.network_state import NetworkState
from forerun.diffusion.pipelines.parallel import parallel
from forerun.engine.witness import WitnessDisagrees, WitnessWarning

STEPS = 14
CLOSE = 1e-3  # relative root mean square
OPTIONS: dict[str, Any] = {"window": forerun.Full(), "tolerance": 1e-4}


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    before = diffusers.logging.get_verbosity()
    diffusers.logging.set_verbosity_error()
    yield
    diffusers.logging.set_verbosity(before)


@pytest.fixture
def pipe() -> diffusers.StableDiffusionPipeline:
    network = sd_zoo.unet()
    pipe = diffusers.StableDiffusionPipeline(**sd_zoo.parts(network, sd_zoo.ddim()), requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(pipe: object, **more: object) -> Tensor:
    return ZOO["sd"].run(pipe, steps=STEPS, **more)


def compare(pipe: object, prepare: Callable[[], object] = lambda: None, **more: Any) -> tuple[float, Any, list]:
    """Run in order and in parallel, both after `prepare`: how far apart, the run, and the warnings."""
    prepare()
    expected = draw(pipe, **more)
    prepare()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with parallel(pipe, **OPTIONS) as run:
            parallel_sample = draw(pipe, **more)
    notes = [warning for warning in caught if "forerun" in str(warning.message)]
    return matrix.apart(parallel_sample, expected), run, notes


class ScaledProcessor(diffusers.models.attention_processor.AttnProcessor):
    """Adds a share of the attention's input, as adapters with a scale do."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def __call__(self, attn: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return super().__call__(attn, hidden_states, *args, **kwargs) + self.scale * hidden_states


class CountingProcessor(ScaledProcessor):
    """Changes what it gives by how often it was called."""

    def __call__(self, attn: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self.scale += 0.01
        return super().__call__(attn, hidden_states, *args, **kwargs)


class MixingProcessor(ScaledProcessor):
    """Shares the mean over the rows of the batch, as aligned styles do."""

    def __call__(self, attn: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        shared = hidden_states.mean(0, keepdim=True).expand_as(hidden_states)
        return super().__call__(attn, hidden_states, *args, **kwargs) + self.scale * shared


class LoraLinear(nn.Module):
    """A linear layer with a low-rank addition, whose scales stand in a dictionary by adapter."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.down, self.up = nn.Linear(base.in_features, 2), nn.Linear(2, base.out_features)
        self.scaling = {"default": 1.0}

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.scaling["default"] * self.up(self.down(x))


def set_processor(pipe: Any, processor: object) -> None:
    pipe.unet.set_attn_processor(processor)


def at_step(number: int, change: Callable[[Any], object]) -> Callable[..., dict]:
    def callback(pipe: Any, step: int, t: object, arguments: dict) -> dict:
        if step == number:
            change(pipe)
        return {}

    return callback


@pytest.mark.parametrize("step", [4, 10])
def test_a_scale_of_an_adapter_that_a_callback_changes(pipe: Any, step: int) -> None:
    processor = ScaledProcessor(0.5)
    set_processor(pipe, processor)

    def prepare() -> None:
        processor.scale = 0.5

    callback = at_step(step, lambda pipe: setattr(processor, "scale", 0.0))
    deviation, run, _ = compare(pipe, prepare, callback_on_step_end=callback)
    assert deviation < CLOSE
    assert processor.scale == 0.0
    assert run.solution.step == STEPS


def test_the_scale_of_a_lora_that_a_callback_changes(pipe: Any) -> None:
    attention = next(module for module in pipe.unet.modules() if hasattr(module, "to_q"))
    torch.manual_seed(0)
    attention.to_q = LoraLinear(attention.to_q)

    def prepare() -> None:
        attention.to_q.scaling["default"] = 4.0

    callback = at_step(5, lambda pipe: attention.to_q.scaling.update(default=0.0))
    deviation, _, _ = compare(pipe, prepare, callback_on_step_end=callback)
    assert deviation < CLOSE


def test_weights_that_a_callback_changes_in_place(pipe: Any) -> None:
    weight = pipe.unet.conv_out.weight
    original = weight.detach().clone()

    @torch.no_grad()
    def prepare() -> None:
        weight.copy_(original)

    callback = at_step(5, lambda pipe: weight.detach().mul_(0.7))
    deviation, _, _ = compare(pipe, prepare, callback_on_step_end=callback)
    assert deviation < CLOSE


def test_freeu_that_is_switched_off_at_a_step(pipe: Any) -> None:
    def prepare() -> None:
        pipe.enable_freeu(s1=0.9, s2=0.2, b1=1.5, b2=1.6)

    deviation, _, _ = compare(pipe, prepare, callback_on_step_end=at_step(6, lambda pipe: pipe.disable_freeu()))
    assert deviation < CLOSE


def test_embeddings_that_a_callback_edits_in_place(pipe: Any) -> None:
    def edit(pipe: Any, step: int, t: object, arguments: dict) -> dict:
        if step == 6:
            arguments["prompt_embeds"].mul_(0.5)
        return {}

    inputs = {"callback_on_step_end": edit, "callback_on_step_end_tensor_inputs": ["latents", "prompt_embeds"]}
    deviation, _, _ = compare(pipe, **inputs)
    assert deviation < CLOSE


def test_a_processor_that_counts_its_calls_is_put_back_and_runs_in_order(pipe: Any) -> None:
    processor = CountingProcessor(0.0)
    set_processor(pipe, processor)

    def prepare() -> None:
        processor.scale = 0.0

    prepare()
    draw(pipe)
    counted = processor.scale
    deviation, run, notes = compare(pipe, prepare)
    assert deviation < 1e-6
    assert processor.scale == pytest.approx(counted)
    assert run.solution.status is forerun.Status.SEQUENTIAL or run.solution.notes
    assert [warning.category for warning in notes] == [WitnessWarning]
    assert "counts its calls" in str(notes[0].message)


def test_attention_over_the_rows_of_the_batch_runs_in_order(pipe: Any) -> None:
    set_processor(pipe, MixingProcessor(1.0))
    deviation, run, notes = compare(pipe)
    assert deviation < CLOSE
    assert len(notes) == 1
    assert run.solution.notes


def test_a_forward_that_takes_the_time_of_the_first_row(pipe: Any) -> None:
    original = pipe.unet.forward

    def forward(sample: Tensor, timestep: Any, *args: Any, **kwargs: Any) -> Any:
        first_time = torch.as_tensor(timestep).flatten()[0]
        return original(sample, first_time, *args, **kwargs)

    pipe.unet.forward = forward
    deviation, run, notes = compare(pipe)
    assert deviation < CLOSE
    assert len(notes) == 1
    assert pipe.unet.forward is forward
    assert "Sequential" in run.solution.notes[-1]


def test_a_cache_of_diffusers_is_refused_with_the_line_to_type(pipe: Any) -> None:
    class Remembering(diffusers.hooks.ModelHook):
        _is_stateful = True

    registry = diffusers.hooks.HookRegistry.check_if_exists_or_initialize(pipe.unet.down_blocks[0])
    registry.register_hook(Remembering(), "cache")
    deviation, _, notes = compare(pipe)
    assert deviation < 1e-6
    assert "pipe.unet.disable_cache()" in str(notes[0].message)


def test_strict_raises_and_the_witness_can_be_left_out(pipe: Any) -> None:
    with parallel(pipe, **OPTIONS) as run:
        draw(pipe)
    assert run.solution.witnessed >= 3
    assert "Your own step was called on" in str(run.solution)
    with parallel(pipe, witness=False, **OPTIONS) as run:
        draw(pipe)
    assert run.solution.witnessed == 0
    assert any("witness=False" in note for note in run.solution.notes)
    set_processor(pipe, CountingProcessor(0.0))
    with pytest.raises((WitnessDisagrees, NotUnderstood)), parallel(pipe, strict=True, **OPTIONS):
        draw(pipe)
    assert "forward" not in vars(pipe.unet)


def test_what_a_network_keeps_is_read_and_put_back() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    network.scales = {"first": [1.0, 2.0]}
    network.helper = ScaledProcessor(1.0)
    state = NetworkState({"net": network})
    assert state.find_change() is None
    network.scales["first"][0] = 3.0
    assert state.find_change() == "net.scales"
    state.put_back()
    assert network.scales == {"first": [1.0, 2.0]}
    assert state.find_change() is None
    network.helper.scale = 2.0
    assert state.find_change() == "net.helper.scale"
    assert state.find_moving_count() == "net.helper.scale"
    state.put_back()
    assert network.helper.scale == 1.0
    with torch.no_grad():
        network[0].weight.mul_(2)
    assert state.find_change() == "net.0.weight"
    state = NetworkState({"net": network})
    handle = network[0].register_forward_hook(lambda module, args, output: output)
    assert state.find_change() is not None
    handle.remove()
    assert state.find_change() is None
    network.extra = 1
    assert state.find_change() is not None


def traces_of(pipe: Any) -> list[set[str]]:
    owners = [pipe.unet, pipe.vae, pipe.text_encoder, pipe.scheduler]
    return [set(vars(owner)) for owner in owners]


def test_copies_and_pickles_made_inside_are_the_users_own(pipe: Any) -> None:
    expected = draw(pipe)
    before = traces_of(pipe)
    scheduler_class = type(pipe.scheduler)
    with parallel(pipe, **OPTIONS) as run:
        copied_network, copied_scheduler = copy.deepcopy(pipe.unet), copy.deepcopy(pipe.scheduler)
        pickled_network = pickle.loads(pickle.dumps(pipe.unet))
        pickled_scheduler = pickle.loads(pickle.dumps(pipe.scheduler))
        assert type(pipe.scheduler) is scheduler_class
        assert copied_network.forward.__self__ is copied_network
        assert pickled_network.forward.__self__ is pickled_network
    assert traces_of(pipe) == before
    assert run.solution is None
    for network, scheduler in [(copied_network, copied_scheduler), (pickled_network, pickled_scheduler)]:
        pipe.unet, pipe.scheduler = network, scheduler
        assert torch.equal(draw(pipe), expected)
        with parallel(pipe, **OPTIONS):
            assert matrix.apart(draw(pipe), expected) < CLOSE


def test_attributes_of_the_scheduler_that_are_copied_and_put_back(pipe: Any) -> None:
    """As pipelines do that step many crops with one scheduler."""
    with parallel(pipe, **OPTIONS) as run:
        attributes = copy.deepcopy(vars(pipe.scheduler))
        vars(pipe.scheduler).update(attributes)
        sample = draw(pipe)
    assert run.solution.rounds < STEPS
    assert "step" not in vars(pipe.scheduler)
    assert matrix.apart(sample, draw(pipe)) < CLOSE


def test_a_scheduler_that_is_swapped_inside_is_followed(pipe: Any) -> None:
    first = pipe.scheduler
    before = set(vars(first))
    with parallel(pipe, **OPTIONS) as run:
        pipe.scheduler = diffusers.EulerDiscreteScheduler.from_config(first.config)
        sample = draw(pipe)
        assert set(vars(first)) == before
    assert run.solution.rounds < STEPS
    assert matrix.apart(sample, draw(pipe)) < CLOSE
    assert "step" not in vars(pipe.scheduler)
    with parallel(pipe, **OPTIONS):
        pipe.scheduler = type(pipe.scheduler).from_config(first.config, timestep_spacing="trailing")
    with parallel(pipe, **OPTIONS) as run:
        draw(pipe)
    assert run.solution.rounds < STEPS


def test_offload_within_a_context(pipe: Any) -> None:
    expected = draw(pipe)
    pipe.enable_model_cpu_offload(device="cpu")
    with parallel(pipe, **OPTIONS) as run:
        samples = [draw(pipe), draw(pipe)]
        pipe.remove_all_hooks()
    assert all(matrix.apart(sample, expected) < CLOSE for sample in samples)
    assert all(solution.rounds < STEPS for solution in run.solutions)
    assert torch.equal(draw(pipe), expected)


def test_contexts_that_overlap_on_one_network(pipe: Any) -> None:
    components = {**pipe.components, "scheduler": copy.deepcopy(pipe.scheduler)}
    other = diffusers.StableDiffusionPipeline(**components, requires_safety_checker=False)
    other.set_progress_bar_config(disable=True)
    expected = [draw(pipe, seed=1), draw(other, seed=2)]
    contexts = [parallel(pipe, **OPTIONS), parallel(other, **OPTIONS)]
    runs = [context.__enter__() for context in contexts]
    samples = [draw(pipe, seed=1), draw(other, seed=2)]
    contexts[0].__exit__(None, None, None)
    assert matrix.apart(draw(other, seed=2), expected[1]) < CLOSE
    contexts[1].__exit__(None, None, None)
    assert all(matrix.apart(*pair) < CLOSE for pair in zip(samples, expected, strict=True))
    assert [len(run.solutions) for run in runs] == [1, 2]
    assert all(solution.rounds < STEPS for run in runs for solution in run.solutions)
    assert "forward" not in vars(pipe.unet)


def test_threads_that_share_a_network(pipe: Any) -> None:
    components = {**pipe.components, "scheduler": copy.deepcopy(pipe.scheduler)}
    other = diffusers.StableDiffusionPipeline(**components, requires_safety_checker=False)
    other.set_progress_bar_config(disable=True)
    pipes = [pipe, other]
    expected = [draw(one, seed=seed) for seed, one in enumerate(pipes)]
    deviations: dict[int, float] = {}
    failures: list[Exception] = []

    def work(seed: int) -> None:
        try:
            with parallel(pipes[seed], **OPTIONS):
                deviations[seed] = matrix.apart(draw(pipes[seed], seed=seed), expected[seed])
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert all(deviations[seed] < CLOSE for seed in range(2))
    assert "forward" not in vars(pipe.unet)


def test_a_private_switch_that_a_callback_sets_is_seen(pipe: diffusers.StableDiffusionPipeline) -> None:
    class Switched(nn.Conv2d):
        _is_off = False

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * (0.5 if self._is_off else 1.0)

    own = pipe.unet.conv_out
    pipe.unet.conv_out = Switched(own.in_channels, own.out_channels, 3, padding=1)
    pipe.unet.conv_out.load_state_dict(own.state_dict())

    def switch_on() -> None:
        pipe.unet.conv_out._is_off = False

    def switch_off(pipe: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        pipe.unet.conv_out._is_off = step >= 6
        return values

    distance, run, _ = compare(pipe, switch_on, callback_on_step_end=switch_off)
    assert distance < CLOSE
    assert "_is_off" in " ".join(run.solution.notes)


def test_a_network_that_drops_at_random_draws_as_the_pipeline_does(pipe: diffusers.StableDiffusionPipeline) -> None:
    pipe.unet.conv_out = nn.Sequential(pipe.unet.conv_out, nn.Dropout(0.1)).train()
    distance, _, notes = compare(pipe, lambda: torch.manual_seed(1))
    assert distance == 0
    assert notes
