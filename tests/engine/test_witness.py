"""The witness: which steps it sees, and what it calls a difference."""

import pytest
import torch

from forerun.engine.witness import Witness, WitnessMemory, describe_difference


def test_the_first_the_last_and_some_drawn_at_random_are_witnessed():
    witness = Witness(share=0.02, fewest=2)
    assert witness.choose_steps(0) == []
    assert witness.choose_steps(1) == [0]
    assert witness.choose_steps(2) == [0, 1]
    steps = witness.choose_steps(1000)
    assert steps[0] == 0
    assert steps[-1] == 999
    assert len(steps) == 22
    assert steps == sorted(set(steps)) == witness.choose_steps(1000)
    assert steps != Witness(seed=1).choose_steps(1000)
    assert len(witness.choose_steps(1000, known_to_agree=True)) == 3


@pytest.mark.parametrize("options, says", [({"share": 2}, "from 0 to 1"), ({"roundings": 0}, "above 0")])
def test_settings_that_make_no_sense_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        Witness(**options)


def test_what_is_known_to_agree_is_remembered_and_the_oldest_forgotten():
    memory = WitnessMemory(size=2)
    for name in "abc":
        memory.remember(name)
    assert "a" not in memory
    assert "c" in memory
    memory.forget("c")
    assert "c" not in memory


ONES = torch.ones(3, dtype=torch.float32)


@pytest.mark.parametrize(
    "user_output, replica_output, says",
    [
        ({"h": ONES}, {"h": ONES * (1 + 1e-7)}, None),
        ({"h": ONES}, {"h": ONES * 1.1}, "differs by 0.1"),
        ({"h": ONES}, {"h": ONES, "c": ONES}, "it gives {'h'"),
        (ONES, ONES.double(), "float64"),
        (ONES, ONES[:2], r"float32 \[2\]"),
        (torch.tensor([1, 2]), torch.tensor([1, 3]), "1 of its 2 values"),
        (torch.tensor([1, 2]), torch.tensor([1, 2]), None),
        (ONES.div(torch.tensor([1.0, 1.0, 0.0])), ONES, "not finite"),
        (torch.tensor([torch.nan, 1.0]), torch.tensor([torch.nan, 1.0]), None),
        (ONES.bfloat16(), ONES.bfloat16() * 1.01, None),
        ((ONES, 3), (ONES, 4), "it gives 3, the replica 4"),
        (torch.empty(0), torch.empty(0), None),
    ],
)
def test_what_differs_is_said_beyond_rounding(user_output, replica_output, says):
    difference = describe_difference(user_output, replica_output, roundings=8)
    if says is None:
        assert difference is None
    else:
        with pytest.raises(AssertionError, match=says):
            assert difference is None, difference
