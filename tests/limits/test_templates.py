"""Templates from moved and noisy signals: exact without noise, biased by registration, not so by likelihood."""

import itertools
import math

import pytest
import torch

import forerun
from forerun.limits import AndersonMixing, Monotone, NoLimit, Plain
from forerun.limits.templates import (
    CyclicShifts,
    LikelihoodMap,
    Permutations,
    RegistrationMap,
    Rotations,
    distance_to_template,
    estimate,
    estimate_likely,
)

BOX = torch.zeros(32, dtype=torch.float64)
BOX[8:16] = 1.0


def shifted(template, count, noise, seed=0):
    """Signals: a template shifted at random, with noise."""
    generator = torch.Generator().manual_seed(seed)
    shifts = torch.randint(0, len(template), (count, 1), generator=generator)
    places = (torch.arange(len(template)) + shifts) % len(template)
    return template[places] + noise * torch.randn(count, len(template), generator=generator, dtype=template.dtype)


def rotated(points, count, noise, seed=0):
    """Point sets of the plane, rotated at random, with noise."""
    generator = torch.Generator().manual_seed(seed)
    angles = 2 * math.pi * torch.rand(count, generator=generator, dtype=points.dtype)
    cosines, sines = angles.cos(), angles.sin()
    turns = torch.stack([torch.stack([cosines, -sines], -1), torch.stack([sines, cosines], -1)], -2)
    return points @ turns + noise * torch.randn(count, *points.shape, generator=generator, dtype=points.dtype)


POINTS = torch.tensor([[2.0, 0.0], [0.0, 1.0], [-1.0, -0.5], [0.5, -2.0]], dtype=torch.float64)
CASES = {
    "shifts": (shifted(BOX, 40, 0.0), BOX, CyclicShifts()),
    "rotations": (rotated(POINTS, 40, 0.0), POINTS, Rotations()),
    "permutations": (torch.stack([BOX[torch.randperm(32)] for _ in range(20)]), BOX, Permutations()),
}


@pytest.mark.parametrize("name", CASES)
def test_without_noise_the_template_is_exact(name):
    signals, truth, group = CASES[name]
    limit = estimate(signals, group)
    assert distance_to_template(limit.value, truth, group) <= 1e-6
    assert limit.bias_bound <= 1e-2


@pytest.mark.parametrize("name", CASES)
def test_a_group_brings_signals_as_near_as_it_can(name):
    signals, truth, group = CASES[name]
    noisy = signals + 0.3 * torch.randn(signals.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    aligned = group.align_signals(noisy, truth)
    torch.testing.assert_close(aligned.flatten(1).norm(dim=1), noisy.flatten(1).norm(dim=1))  # isometries
    products = (aligned * truth).flatten(1).sum(1)
    for seed in range(20):
        target = torch.randn(truth.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        moved = group.align_signals(aligned, target)
        assert ((moved * truth).flatten(1).sum(1) <= products + 1e-9).all()


def test_images_are_shifted_along_both_axes():
    image = torch.zeros(8, 10, dtype=torch.float64)
    image[1:4, 2:7] = 1.0
    signals = torch.stack([image.roll((row, column), (0, 1)) for row in range(8) for column in range(0, 10, 3)])
    limit = estimate(signals, CyclicShifts(axes=2))
    assert distance_to_template(limit.value, image, CyclicShifts(axes=2)) <= 1e-9


@pytest.mark.parametrize("name", ["shifts", "rotations"])
def test_registration_is_biased_within_its_bound_and_likelihood_is_not(name):
    _, truth, group = CASES[name]
    noise, count = (1.0, 4000) if name == "shifts" else (1.5, 20_000)
    signals = (shifted if name == "shifts" else rotated)(truth, count, noise)
    registered = estimate(signals, group, first=truth, noise=noise)
    likely = estimate_likely(signals, group, first=registered.value, tolerance=1e-5)
    bias = distance_to_template(registered.value, truth, group)
    assert 2 * distance_to_template(likely.value, truth, group) < bias <= registered.bias_bound
    assert likely.noise == pytest.approx(noise, rel=0.05)
    assert registered.value.norm() > truth.norm()  # the mean of the quotient space is too long


def test_the_bias_grows_in_proportion_to_large_noise():
    biases = []
    for noise in (4.0, 8.0):
        signals = shifted(BOX, 4000, noise, seed=3)
        limit = estimate(signals, CyclicShifts(), first=BOX, max_evaluations=5000)
        biases.append(distance_to_template(limit.value, BOX, CyclicShifts()))
    assert biases[1] / biases[0] == pytest.approx(2.0, rel=0.25)


def test_em_never_lets_the_merit_rise_and_mixing_saves_evaluations():
    signals = shifted(BOX, 2000, 1.0)
    map = LikelihoodMap(signals, CyclicShifts())
    state = {"template": BOX, "noise": torch.ones(1, dtype=torch.float64)}
    merits = []
    for _ in range(10):
        merits.append(float(map.merit(state)))
        state = map.evaluate(state)
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(merits))
    plain = estimate_likely(signals, CyclicShifts(), first=BOX, tolerance=1e-5, method=Plain())
    mixed = estimate_likely(signals, CyclicShifts(), first=BOX, tolerance=1e-5)
    assert mixed.evaluations <= plain.evaluations / 2
    assert distance_to_template(mixed.value, plain.value, CyclicShifts()) <= 1e-2


def test_mixing_hurts_on_a_piecewise_constant_map_and_the_safeguard_keeps_the_merit():
    """Registration ends after finitely many steps by itself; mixing takes as many and may end elsewhere."""
    signals = shifted(BOX, 3000, 1.5, seed=5)
    map = RegistrationMap(signals, CyclicShifts())
    plain = estimate(signals, CyclicShifts(), first=BOX)
    assert plain.largest_residual == 0.0
    try:
        mixed = estimate(signals, CyclicShifts(), first=BOX, method=AndersonMixing(8), safeguard=Monotone())
    except NoLimit as error:
        mixed = error.limit
    assert map.merit(mixed.state) <= map.merit(BOX)
    assert mixed.evaluations > plain.evaluations / 2


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: estimate(torch.zeros(3, 4, 5), CyclicShifts()), r"CyclicShifts\(2\)"),
        (lambda: estimate(torch.zeros(3, 4), Rotations()), "landmarks"),
        (lambda: estimate(torch.zeros(0, 4), CyclicShifts()), "no signals"),
        (lambda: estimate(torch.full((2, 4), float("nan")), CyclicShifts()), "2 of 2 signals"),
        (lambda: estimate(torch.zeros(3, 4, dtype=torch.int64), CyclicShifts()), "double"),
        (lambda: estimate(torch.zeros(3, 4), CyclicShifts(), first=torch.zeros(5)), "first has shape"),
        (lambda: estimate(torch.zeros(3, 4), "shifts"), "CyclicShifts"),
        (lambda: estimate_likely(torch.rand(3, 4), Permutations()), "no closed average"),
        (lambda: estimate_likely(torch.rand(3, 4, 3), Rotations()), "points of the plane"),
        (lambda: CyclicShifts(0), "shifts nothing"),
    ],
)
def test_bad_data_is_refused_with_advice(call, words):
    with pytest.raises((ValueError, TypeError), match=words):
        call()


def test_a_constant_signal_is_its_own_template():
    limit = estimate(torch.ones(5, 8, dtype=torch.float64), CyclicShifts())
    torch.testing.assert_close(limit.value, torch.ones(8, dtype=torch.float64))
    assert isinstance(limit, forerun.limits.Limit)
