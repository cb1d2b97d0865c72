"""Quantised weights: monotone descent, small layers tried in full, convolutions as they compute, files, refusals."""

import itertools

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from forerun.optim.quantization import (
    GPTQ,
    CoordinateDescent,
    IntegerGrid,
    RoundToNearest,
    load_quantized,
    quantize,
)
from forerun.optim.quantization.bit_packing import pack_bits, unpack_bits
from forerun.optim.quantization.calibration_inputs import collect_grams
from forerun.optim.quantization.layer_matrices import read_inputs, read_weights
from forerun.optim.quantization.rounding import relative_error

ROUNDINGS = {
    "nearest": RoundToNearest(),
    "GPTQ": GPTQ(),
    "COMQ": CoordinateDescent(),
    "cyclic": CoordinateDescent(greedy=False),
    "after GPTQ": CoordinateDescent(first=GPTQ()),
}
every_rounding = pytest.mark.parametrize("rounding", ROUNDINGS.values(), ids=ROUNDINGS)


def layer_problem(rows=24, columns=32, groups=1, seed=0, dtype=torch.float32):
    """Weights and the Gram matrix of inputs that depend on each other."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(groups, columns // 4, columns, generator=generator)
    inputs = torch.relu(torch.randn(groups, 256, columns // 4, generator=generator) @ mixing)
    inputs += torch.randn(inputs.shape, generator=generator)
    weights = torch.randn(groups, rows, columns, generator=generator).to(dtype)
    return weights, (inputs.mT @ inputs).to(dtype)


def error_of(rounding, weights, gram, bits, per_row=True):
    integers, grid = rounding.choose_integers(weights, gram, IntegerGrid.spanning(weights, bits, per_row=per_row))
    assert bool((integers == integers.round()).all())
    assert bool((integers >= grid.start).all())
    assert bool((integers <= grid.last).all())
    return relative_error(weights, integers * grid.step, gram)


@pytest.mark.parametrize("per_row", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("groups", [1, 3])
def test_descent_beats_rounding_and_ends_below_what_it_begins_with(bits, groups, per_row):
    weights, gram = layer_problem(groups=groups)
    errors = {name: error_of(rule, weights, gram, bits, per_row) for name, rule in ROUNDINGS.items()}
    assert errors["COMQ"] < 0.9 * errors["nearest"]
    assert errors["cyclic"] < 0.9 * errors["nearest"]
    assert errors["after GPTQ"] <= errors["GPTQ"]


@pytest.mark.parametrize("greedy", [True, False])
@pytest.mark.parametrize("fits_step", [True, False])
def test_more_sweeps_never_do_worse(greedy, fits_step):
    weights, gram = layer_problem(dtype=torch.float64)
    rules = [CoordinateDescent(sweeps, greedy=greedy, fits_step=fits_step) for sweeps in range(1, 8)]
    errors = [error_of(rule, weights, gram, 3) for rule in rules]
    assert all(after <= before * (1 + 1e-12) for before, after in itertools.pairwise(errors))
    assert errors[-1] < errors[0]


def test_a_sweep_ends_where_no_single_integer_can_move():
    weights, gram = layer_problem(rows=3, columns=8, dtype=torch.float64)
    rule = CoordinateDescent(30, fits_step=False)
    grid = IntegerGrid.spanning(weights, 3, per_row=True)
    integers, _ = rule.choose_integers(weights, gram, grid)
    best = relative_error(weights, integers * grid.step, gram)
    for row, column, move in itertools.product(range(3), range(8), (-1, 1)):
        moved = integers.clone()
        moved[0, row, column] += move
        if grid.start[0, row, 0] <= moved[0, row, column] <= grid.last[0, row, 0]:
            assert relative_error(weights, moved * grid.step, gram) >= best * (1 - 1e-12)


def test_all_integers_tried_are_not_better_by_much():
    """Five weights of two bits have 1024 choices: descent is a local search, and near the best of all."""
    ratios = []
    for seed in range(8):
        weights, gram = layer_problem(rows=1, columns=5, seed=seed, dtype=torch.float64)
        grid = IntegerGrid.spanning(weights, 2, per_row=True)
        choices = torch.tensor(list(itertools.product(range(4), repeat=5)), dtype=torch.float64) + grid.start[0]
        difference = weights[0] - choices * grid.step[0]
        best = ((difference @ gram[0]) * difference).sum(-1).min().sqrt()
        descent, _ = CoordinateDescent(4, fits_step=False).choose_integers(weights, gram, grid)
        rest = weights[0] - descent[0] * grid.step[0]
        ratios.append(float(((rest @ gram[0]) * rest).sum().sqrt() / best))
    assert min(ratios) >= 1 - 1e-9
    assert sorted(ratios)[len(ratios) // 2] < 1.25


@every_rounding
def test_independent_inputs_leave_nothing_to_gain(rounding):
    weights, _ = layer_problem(dtype=torch.float64)
    gram = torch.eye(32, dtype=torch.float64)[None]
    grid = IntegerGrid.spanning(weights, 4, per_row=True)
    error = relative_error(weights, grid.round_values(weights), gram)
    assert error_of(rounding, weights, gram, 4) <= error * (1 + 1e-9)


@every_rounding
@pytest.mark.parametrize("value", [0.0, 3.0, -1e-3, 1e20])
def test_weights_that_are_all_alike_are_held_exactly(rounding, value):
    weights = torch.full((1, 2, 6), value)
    grid = IntegerGrid.spanning(weights, 2, per_row=True)
    integers, grid = rounding.choose_integers(weights, torch.eye(6)[None], grid)
    torch.testing.assert_close(integers * grid.step, weights, rtol=1e-6, atol=0)


@every_rounding
def test_inputs_that_never_fire_do_no_harm(rounding):
    weights, gram = layer_problem()
    gram[:, 5] = gram[:, :, 5] = 0
    assert 0 < error_of(rounding, weights, gram, 4) < 0.2
    assert error_of(rounding, weights, torch.zeros_like(gram), 4) == 0


def test_fewer_samples_than_columns():
    weights, _ = layer_problem()
    row = torch.randn(1, 3, 32)
    singular = row.mT @ row
    assert error_of(CoordinateDescent(8), weights, singular, 4) < error_of(RoundToNearest(), weights, singular, 4) / 3
    assert error_of(GPTQ(), weights, singular, 4) < 1


LAYERS = {
    "linear": (nn.Linear(6, 5), (4, 6)),
    "linear of a sequence": (nn.Linear(6, 5), (2, 3, 6)),
    "convolution": (nn.Conv2d(4, 6, 3, padding=1), (2, 4, 7, 6)),
    "strided, dilated, grouped": (nn.Conv2d(4, 6, (3, 2), stride=2, dilation=(1, 2), groups=2), (2, 4, 9, 8)),
    "depthwise": (nn.Conv2d(4, 4, 3, groups=4, bias=False), (1, 4, 5, 5)),
    "same": (nn.Conv2d(4, 6, (3, 5), padding="same"), (2, 4, 7, 6)),
    "valid": (nn.Conv2d(4, 6, 2, padding="valid"), (2, 4, 7, 6)),
    "reflected": (nn.Conv2d(4, 6, 3, padding=(2, 1), padding_mode="reflect"), (2, 4, 7, 6)),
    "circular": (nn.Conv1d(4, 6, 3, padding=2, padding_mode="circular"), (2, 4, 7)),
    "of one row": (nn.Conv1d(4, 6, 3, stride=2, dilation=2, groups=2), (2, 4, 17)),
    "without a batch": (nn.Conv2d(4, 6, 3), (4, 7, 6)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_the_matrices_that_they_multiply_with(name):
    layer, shape = LAYERS[name]
    inputs = torch.randn(shape)
    products = read_inputs(layer, inputs) @ read_weights(layer).mT  # (groups, positions, rows)
    outputs = layer(inputs)
    if layer.bias is not None:
        where = -1 if isinstance(layer, nn.Linear) else -len(layer.kernel_size) - 1
        outputs = outputs - layer.bias.reshape([-1] + [1] * (-where - 1))
    if not isinstance(layer, nn.Linear):
        outputs = outputs if len(shape) == len(layer.kernel_size) + 2 else outputs[None]
        outputs = outputs.movedim(1, -1)
    products = products.movedim(0, 1).flatten(1)
    torch.testing.assert_close(products, outputs.reshape(products.shape).detach(), rtol=1e-4, atol=1e-5)


def small_model():
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 36, 10)
    return nn.Sequential(*layers).eval()


BATCHES = [torch.randn(16, 1, 6, 6, generator=torch.Generator().manual_seed(seed)) for seed in range(2)]


@every_rounding
@pytest.mark.parametrize("bits", range(2, 9))
def test_a_file_gives_the_quantised_model_back(tmp_path, rounding, bits):
    model = small_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = quantize(model, BATCHES, bits, rounding=rounding, per_row=bits % 2 == 0)
    result.save(tmp_path / "model.safetensors")
    loaded = load_quantized(small_model(), tmp_path / "model.safetensors")
    assert torch.equal(loaded(BATCHES[0]), result.model(BATCHES[0]))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert result.packed_bytes < result.float_bytes
    assert [layer.name for layer in result.layers] == ["0", "4"]
    for layer in result.layers:
        levels = result.model.get_submodule(layer.name).weight.flatten(1)
        assert max(len(row.unique()) for row in levels) <= 2**bits


def test_fewer_bits_lose_more_and_the_model_says_how_much():
    model = small_model()
    model.requires_grad_(False)
    truth = model(BATCHES[0])
    results = {bits: quantize(model, BATCHES, bits) for bits in (2, 4, 8)}
    losses = [float((result.model(BATCHES[0]) - truth).norm() / truth.norm()) for result in results.values()]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.02
    for result in results.values():
        assert all(layer.error < layer.nearest_error for layer in result.layers)


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("count", [1, 7, 8, 1001])
def test_integers_are_packed_without_a_gap(bits, count):
    codes = torch.randint(0, 2**bits, (count,))
    packed = pack_bits(codes, bits)
    assert len(packed) == -(-count * bits // 8)
    assert torch.equal(unpack_bits(packed, bits, count), codes)


def test_a_layer_by_itself_and_half_precision(tmp_path):
    layer = nn.Linear(16, 4).half().eval()
    result = quantize(layer, torch.randn(64, 16).half())
    result.save(tmp_path / "layer.safetensors")
    again = load_quantized(nn.Linear(16, 4).half(), tmp_path / "layer.safetensors")
    assert result.model.weight.dtype == torch.float16
    assert torch.equal(again.weight, result.model.weight)


def test_layers_that_cannot_be_quantised_are_named():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.tail, self.unused = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
            self.shared = nn.Linear(4, 4)
            self.shared.weight = self.tail.weight
            self.up = nn.ConvTranspose2d(1, 1, 2)
            self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))

        def forward(self, inputs):
            return self.up(self.normed(self.shared(self.tail(self.head(inputs))))[:, None])

    result = quantize(Odd().eval(), torch.randn(8, 3, 4), skip=["unu*"])
    assert [layer.name for layer in result.layers] == ["head"]
    assert result.skipped.keys() == {"tail", "unused", "shared", "up", "normed"}
    assert "shared with another" in result.skipped["tail"]
    assert "left out" in result.skipped["unused"]
    result = quantize(Odd().eval(), [torch.randn(8, 3, 4)])
    assert "not called" in result.skipped["unused"]


def test_calibration_runs_in_any_form():
    model = small_model()
    named = {"0": model[0]}
    grams = [
        collect_grams(model, calibration, named)["0"]
        for calibration in (
            BATCHES[0],
            [BATCHES[0]],
            [(BATCHES[0],)],
            [{"input": BATCHES[0]}],
            lambda model: model(BATCHES[0]),
        )
    ]
    assert all(torch.equal(grams[0], gram) for gram in grams)


@pytest.mark.parametrize(
    "change, says",
    [
        ({"bits": 1}, "2 to 8 bits"),
        ({"bits": 9}, "2 to 8 bits"),
        ({"bits": 4.0}, "2 to 8 bits"),
        ({"calibration": []}, "no batch"),
        ({"calibration": [torch.randn(2, 3, 6, 6)]}, r"batch 0 .* shape \(2, 3, 6, 6\)"),
        ({"calibration": [BATCHES[0], torch.full((1, 1, 6, 6), torch.nan)]}, "not finite"),
        ({"calibration": lambda model: None}, "was called"),
        ({"skip": ["9"]}, "matches no layer"),
        ({"skip": ["*"]}, "no layer to quantise"),
        ({"model": small_model().train()}, "training mode"),
        ({"model": nn.ReLU().eval(), "calibration": [torch.ones(2)]}, "no layer to quantise"),
    ],
)
def test_bad_input_is_refused_with_advice(change, says):
    call = {"model": small_model(), "calibration": BATCHES, "bits": 4} | change
    with pytest.raises(ValueError, match=says):
        quantize(**call)


def test_broken_weights_and_settings_are_refused(tmp_path):
    model = small_model()
    with torch.no_grad():
        model[4].weight[0, 0] = torch.inf
    with pytest.raises(ValueError, match="weights of layer '4' are not finite"):
        quantize(model, BATCHES)
    with pytest.raises(TypeError, match=r"must be a torch\.nn\.Module, got dict"):
        quantize({}, BATCHES)
    with pytest.raises(ValueError, match="swept at least once"):
        CoordinateDescent(0)
    with pytest.raises(ValueError, match="damping must be above zero"):
        GPTQ(float("nan"))
    save_file({"weight": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="does not hold quantised weights"):
        load_quantized(small_model(), tmp_path / "other.safetensors")
    quantize(small_model(), BATCHES).save(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"of another model: '1\.bias'"):
        load_quantized(nn.Sequential(nn.Conv2d(1, 8, 3), nn.Linear(3, 3)), tmp_path / "model.safetensors")
