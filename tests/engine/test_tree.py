"""Trees in rows and back, and what the message says where a tree is refused."""

import copy
import pickle

import numpy as np
import pytest
import torch

from forerun.engine.numerics.layout import RowLayout
from forerun.engine.numerics.tree import describe_tree, tree_map, tree_tensors

TREES = {
    "tensor": torch.arange(6.0).reshape(2, 3),
    "scalar": torch.tensor(2.5),
    "dict": {"x": torch.ones(3), "name": "ball", "none": None},
    "one in a dict": {"x": torch.ones(3)},
    "nested": (torch.ones(2), [torch.zeros(3, 2), 7], {"b": torch.full((1,), 3.0)}),
    "mixed": (torch.ones(2, dtype=torch.float64), torch.tensor([2**53]), torch.tensor([True, False])),
    "low precision": (torch.ones(2, dtype=torch.bfloat16), torch.ones(3, dtype=torch.float16)),
    "nothing in it": torch.zeros(0, 3),
}


def equal(one, other):
    return all(
        a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(tree_tensors(one), tree_tensors(other), strict=True)
    ) and describe_tree(one) == describe_tree(other)


@pytest.mark.parametrize("lead", [(), (4,)], ids=["one step", "four steps"])
@pytest.mark.parametrize("name", TREES)
def test_packing_and_unpacking_loses_nothing(name, lead):
    layout = RowLayout.from_tree(TREES[name], batch_dims=0, name="state")
    tree = tree_map(lambda leaf: leaf.expand((*lead, *leaf.shape)).clone(), TREES[name])
    rows = layout.pack(tree, *lead)
    assert rows.shape == (*lead, layout.width)
    assert rows.dtype in {torch.float32, torch.float64}
    assert equal(layout.unpack(rows), tree)


def test_batch_axes_stay_axes():
    tree = (torch.randn(2, 3, 4), torch.randn(2, 3))
    layout = RowLayout.from_tree(tree, batch_dims=2, name="input")
    assert layout.pack(tree).shape == (2, 3, 5)
    assert layout.pack(tree_map(lambda leaf: leaf.expand(7, *leaf.shape), tree), 7).shape == (7, 2, 3, 5)
    assert equal(layout.unpack(layout.pack(tree)), tree)


def test_a_single_tensor_is_packed_without_a_copy():
    tree = torch.randn(2, 3)
    layout = RowLayout.from_tree(tree, batch_dims=0, name="input")
    assert layout.pack(tree).data_ptr() == tree.data_ptr()
    assert layout.unpack(layout.pack(tree)).data_ptr() == tree.data_ptr()


def test_rows_hold_at_least_single_precision_and_long_integers_exactly():
    for dtype, rows in (
        (torch.bfloat16, torch.float32),
        (torch.int16, torch.float32),
        (torch.int32, torch.float64),
        (torch.int64, torch.float64),
        (torch.float64, torch.float64),
    ):
        assert RowLayout.from_tree(torch.ones(2, dtype=dtype), batch_dims=0, name="input").dtype == rows


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.int8, torch.bool])
@pytest.mark.parametrize("batch_dims", [0, 1])
def test_integers_of_any_size_are_carried_exactly(dtype, batch_dims):
    largest = 1 if dtype is torch.bool else torch.iinfo(dtype).max
    smallest = 0 if dtype is torch.bool else torch.iinfo(dtype).min
    near = [largest, largest // 2 + 1, largest // 2, 0, 1, smallest, smallest // 2, -(2**31), 2**31 - 1, 2**53 + 1]
    values = torch.tensor([[number] for number in near if smallest <= number <= largest], dtype=dtype)
    tree = (values, torch.ones(len(values), 2))
    layout = RowLayout.from_tree(tree, batch_dims=batch_dims, name="state")
    assert torch.equal(layout.unpack(layout.pack(tree))[0], values)


def test_sums_of_integers_wrap_round_in_rows_as_in_steps():
    for dtype in (torch.int64, torch.int32):
        values = torch.tensor([torch.iinfo(dtype).max, 2**31 - 1, -7], dtype=dtype)
        layout = RowLayout.from_tree(values, batch_dims=0, name="state")
        rows = layout.pack(values)
        assert torch.equal(layout.unpack(rows + rows), values + values)


@pytest.mark.parametrize("value", [float("nan"), (1.0, float("nan")), "ball", None, np.array([1.0, np.nan]), object()])
def test_plain_values_that_stay_are_let_pass_whatever_they_are(value):
    layout = RowLayout.from_tree({"x": torch.ones(2), "plain": value}, batch_dims=0, name="state")
    layout.pack({"x": torch.ones(2), "plain": value})
    if type(value) is not object:
        layout.pack({"x": torch.ones(2), "plain": copy.deepcopy(value)})


def test_plain_values_that_change_are_refused():
    for value, other in ((np.ones(2), np.zeros(2)), (np.ones(2), np.ones(3)), (1, 2), (1.0, float("nan"))):
        layout = RowLayout.from_tree({"x": torch.ones(2), "plain": value}, batch_dims=0, name="state")
        with pytest.raises(ValueError, match="what changes from step to step must be a tensor"):
            layout.pack({"x": torch.ones(2), "plain": other})


def test_layouts_are_the_same_in_another_process():
    tree = {"x": torch.ones(2), "n": torch.arange(2), "plain": "ball"}
    layout = RowLayout.from_tree(tree, batch_dims=0, name="state")
    for twin in (pickle.loads(pickle.dumps(layout)), copy.deepcopy(layout)):
        assert equal(twin.unpack(twin.pack(tree)), tree)


def test_numbers_between_whole_ones_are_rounded_to_the_nearest():
    layout = RowLayout.from_tree(torch.tensor([3, -3]), batch_dims=0, name="input")
    assert layout.unpack(torch.tensor([2.9999, -3.0001, 0.1, -0.2], dtype=torch.float64)).tolist() == [3, -3]


@pytest.mark.parametrize(
    "came, says",
    [
        ([torch.ones(3), 1], "another structure"),
        ((torch.ones(3), 1, None), "another structure"),
        (torch.ones(3), "another structure"),
        ((1, torch.ones(3)), "another structure"),
        ((torch.ones(3), 2), "plain value"),
        ((torch.ones(3), torch.ones(3)), "plain value"),
        ((torch.ones(4), 1), "another shape"),
        ((torch.ones(1, 3), 1), "another shape"),
        ((torch.ones(3).double(), 1), "another dtype or device"),
        ((torch.ones(3, device="meta"), 1), "another dtype or device"),
    ],
)
@pytest.mark.parametrize("name", ["input", "output"])
def test_a_refusal_says_what_came_what_was_expected_and_what_to_do(came, says, name):
    layout = RowLayout.from_tree((torch.ones(3), 1), batch_dims=0, name=name)
    with pytest.raises(ValueError, match=says) as caught:
        layout.pack(came)
    message = str(caught.value)
    assert f"the {name} came as {describe_tree(came)}" in message
    assert "but (float32 [3], 1) was expected" in message
    assert ("Let evaluate return" if name == "output" else "Let advance keep") in message


def test_a_bare_tensor_is_no_dict_of_one():
    layout = RowLayout.from_tree({"x": torch.ones(3)}, batch_dims=0, name="output")
    with pytest.raises(ValueError, match="another structure"):
        layout.pack(torch.ones(3))


def test_a_missing_axis_of_steps_is_asked_for():
    layout = RowLayout.from_tree(torch.ones(3), batch_dims=0, name="output")
    with pytest.raises(ValueError, match=r"float32 \[5, 3\] was expected.*a leading axis of 5 steps"):
        layout.pack(torch.ones(3), 5)


def test_descriptions_tell_the_device_where_it_is_not_the_cpu():
    assert describe_tree((torch.ones(3), None, "a")) == "(float32 [3], None, 'a')"
    assert describe_tree({"x": torch.ones(2, device="meta")}) == "{'x': float32 [2] on meta}"


@pytest.mark.parametrize(
    "tree, batch_dims, error, says",
    [
        (3.0, 0, TypeError, r"holds no tensor; make it one with torch\.tensor"),
        ({"a": None}, 0, TypeError, "holds no tensor"),
        (torch.ones(2, dtype=torch.complex64), 0, TypeError, "view_as_real"),
        ((torch.ones(2), torch.ones(2, device="meta")), 0, ValueError, r"float32 \[2\] on meta.*several devices"),
        ((torch.ones(2, 3), torch.ones(3, 3)), 1, ValueError, "batch_dims = 1"),
        (torch.ones(2), 2, ValueError, "set batch_dims = 0"),
    ],
)
def test_trees_that_have_no_rows_are_refused(tree, batch_dims, error, says):
    with pytest.raises(error, match=says):
        RowLayout.from_tree(tree, batch_dims=batch_dims, name="input")
