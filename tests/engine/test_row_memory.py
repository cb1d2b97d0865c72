"""Memory of wide rows: used again once nothing lies on it, and never before."""

import gc

import torch

from forerun import Absolute, Process, Sliding, solve
from forerun.engine.numerics.row_memory import LEAST_BYTES, RowMemory

WIDE = (4, LEAST_BYTES // 16)  # float32: of the least size that is used again


def test_memory_is_used_again_once_the_last_view_is_gone():
    memory, like = RowMemory(), torch.zeros(1)
    rows = memory.allocate(WIDE, like)
    place, view = rows.data_ptr(), rows[2:]
    del rows
    gc.collect()
    other = memory.allocate(WIDE, like)
    assert other.data_ptr() != place
    other.fill_(1.0)
    del view
    gc.collect()
    assert memory.allocate(WIDE, like).data_ptr() == place


def test_small_rows_lie_where_torch_puts_them():
    memory = RowMemory()
    rows = memory.allocate((3, 2), torch.zeros(1, dtype=torch.float64))
    assert rows.shape == (3, 2)
    assert rows.dtype == torch.float64
    assert not memory._idle


def test_rows_are_stacked_and_joined_as_by_torch():
    memory, rows = RowMemory(), torch.randn(WIDE)
    torch.testing.assert_close(memory.stack(rows.unbind()), rows, rtol=0, atol=0)
    torch.testing.assert_close(memory.concatenate(rows[:1], rows[1:]), rows, rtol=0, atol=0)


def test_states_that_a_callback_keeps_stay_as_they_were():
    process = Process.from_step(lambda i, x: 0.01 * torch.cos(x + 0.1 * i[:, None]), 24, batched=True, increment=True)
    states, copies = [], []

    def keep_state(event):
        states.append(event.state)
        copies.append(event.state.clone())

    start = torch.randn(LEAST_BYTES // 16)
    solve(process, start, window=Sliding(8), tolerance=Absolute(1e-4), callback=keep_state)
    assert len(states) > 4
    for state, copy in zip(states, copies, strict=True):
        torch.testing.assert_close(state, copy, rtol=0, atol=0)
