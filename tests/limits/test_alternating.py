"""Magic unitaries: found for all small sizes, commuting up to three, and with the moments of the quantum group."""

import pytest
import torch

from forerun.engine.testing import check_map
from forerun.limits import AndersonMixing, NoLimit, Plain, Unguarded
from forerun.limits.alternating import (
    AlternatingPolarMap,
    FlatModel,
    NotMagic,
    count_moment,
    draw_unitary,
    magic_unitary,
    make_pauli_model,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("method", [Plain(), AndersonMixing(10)])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_rows_and_columns_are_orthonormal(n, method):
    for seed in range(2):
        model = magic_unitary(n, generator=seeded(seed), method=method)
        assert model.defect < 1e-10
        total = model.value.sum(1)
        assert torch.allclose(total, torch.eye(n, dtype=total.dtype).expand(n, n, n), atol=1e-9)
        assert torch.allclose(model.value @ model.value, model.value, atol=1e-9)


def test_six_are_found_in_far_fewer_evaluations_mixed():
    plain = magic_unitary(6, generator=seeded(1), method=Plain())
    mixed = magic_unitary(6, generator=seeded(1))
    assert max(plain.defect, mixed.defect) < 1e-9
    assert plain.limit.evaluations > 3 * mixed.limit.evaluations


def test_projections_commute_up_to_three_alone():
    commutators = [magic_unitary(n, generator=seeded()).commutator for n in (2, 3, 4, 5)]
    assert max(commutators[:2]) < 1e-6
    assert min(commutators[2:]) > 0.1
    model = magic_unitary(4, generator=seeded())
    flat = model.value.flatten(0, 1)
    products = flat.unsqueeze(1) @ flat.unsqueeze(0)
    norms = torch.linalg.matrix_norm(products - products.transpose(0, 1), ord=2)
    assert float(norms.max()) == pytest.approx(model.commutator, abs=1e-9)


def test_pauli_models_are_magic_in_closed_form():
    for size in (1, 2, 3):
        model = make_pauli_model(draw_unitary(size, seeded()))
        assert len(model.vectors) == size**2
        assert model.defect < 1e-14
    assert make_pauli_model(torch.eye(2)).commutator < 1e-7  # a Latin square: classical


def test_moments_are_those_of_the_free_group_from_four_on():
    pauli = [make_pauli_model(draw_unitary(2, seeded(seed))) for seed in range(3)]
    assert [count_moment(pauli, order) for order in (1, 2, 3, 4)] == [1, 2, 5, 14]  # Catalan; the classical 15
    assert count_moment([magic_unitary(4, generator=seeded())], 4) == 14
    # permutations of three: (3^p + 3) / 6, the mean power of the number of fixed points
    classical = [magic_unitary(3, generator=seeded(seed)) for seed in range(2)]
    moments = [count_moment(classical, order) for order in (1, 2, 3, 4, 5)]
    assert moments == [(3**order + 3) // 6 for order in (1, 2, 3, 4, 5)]


def test_a_model_of_permutations_generates_their_group():
    """The identity and a transposition of two, as diagonal projections: the group of order two."""
    vectors = torch.zeros(2, 2, 2, dtype=torch.complex128)
    vectors[0, 0, 0] = vectors[0, 1, 1] = vectors[1, 0, 1] = vectors[1, 1, 0] = 1
    assert [count_moment([FlatModel(vectors)], order) for order in (1, 2, 3)] == [1, 2, 4]  # (2^p + 0) / 2


def test_unguarded_mixing_may_stand_still_elsewhere_and_says_so():
    with pytest.raises((NotMagic, NoLimit)):
        magic_unitary(5, generator=seeded(), method=AndersonMixing(10), safeguard=Unguarded(), max_evaluations=400)


def test_the_alternation_is_a_map_whose_merit_falls():
    first = torch.randn(4, 4, 4, 2, generator=seeded(), dtype=torch.float64)
    check_map(AlternatingPolarMap(), first)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="no rows"):
        magic_unitary(0)
    with pytest.raises(ValueError, match="leave it out"):
        magic_unitary(3, first=torch.zeros(2, 2, 2))
    with pytest.raises(ValueError, match="not unitary"):
        make_pauli_model(torch.ones(2, 2))
    with pytest.raises(ValueError, match="ask for a lower one"):
        count_moment([magic_unitary(5, generator=seeded())], 6)
    with pytest.raises(ValueError, match="one model or more"):
        count_moment([], 2)
