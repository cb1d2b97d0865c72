"""Threads: slices of a round side by side, with what the caller's thread had set, and nothing left behind."""

import os
import subprocess
import sys
import threading
import time

import pytest
import torch

from forerun import Local, Process, Sliding, solve
from forerun.engine.backends import Threads
from forerun.engine.backends import threads as backend_threads
from forerun.engine.backends.counted_evaluate import CountedEvaluate, is_evaluated_apart
from forerun.engine.backends.slice_trial import SliceTrial
from forerun.engine.backends.threads import ThreadedRun, count_usable_cores, share_evenly

STEPS, ROWS = torch.arange(7), torch.linspace(-1, 1, 7 * 3, dtype=torch.float64).reshape(7, 3)


def evaluate(call, run=None, steps=STEPS, rows=ROWS):
    outputs, timing = (run or ThreadedRun(2)).evaluate(call, steps, rows, 0.25)
    assert (timing().overhead, timing().evaluate > 0) == (0.25, True)
    return outputs


@pytest.mark.parametrize(
    "count, threads, most, sizes",
    [
        (7, 2, None, [3, 4]),
        (1, 2, None, [1]),
        (2, 3, None, [1, 1]),
        (8, 2, 2, [2, 2, 2, 2]),
        (9, 2, 4, [2, 2, 2, 3]),  # not [4, 4, 1], which leaves a thread idle
        (8, 2, 100, [4, 4]),
    ],
)
def test_slices_are_even_and_as_many_for_each_thread(count, threads, most, sizes):
    assert share_evenly(count, threads, most) == sizes


def test_slices_run_at_the_same_time_and_come_back_in_order():
    barrier, names = threading.Barrier(2, timeout=10), set()

    def call(steps, rows):
        names.add(threading.current_thread().name)
        barrier.wait()
        time.sleep(0.02 * (len(steps) == 3))  # the first slice is the last to end
        return rows + steps.unsqueeze(1)

    assert torch.equal(evaluate(call), ROWS + STEPS.unsqueeze(1))
    assert len(names) == 2
    assert threading.current_thread().name not in names


def test_a_single_step_and_a_walk_stay_in_the_callers_thread():
    threads = []

    def call(steps, rows):
        threads.append(threading.current_thread())
        return rows

    evaluate(call, steps=STEPS[:1], rows=ROWS[:1])
    assert threads == [threading.main_thread()]
    assert Threads(2).start_walk(torch.device("cpu")) is not None


@torch.no_grad()
def test_the_threads_work_as_the_callers_does():
    modes = []

    def call(steps, rows):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
        modes.append((torch.is_grad_enabled(), product.dtype, torch.get_num_threads(), is_evaluated_apart()))
        return rows

    evaluate(call)
    with torch.enable_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        evaluate(call)
    assert set(modes[:2]) == {(False, torch.float32, 1, False)}
    assert set(modes[2:]) == {(True, torch.bfloat16, 1, False)}

    class Rows:
        evaluate = staticmethod(call)

    CountedEvaluate(Rows(), Threads(2)).evaluate_apart(STEPS, ROWS)
    assert modes[-1][-1] is True


def test_a_solve_under_autocast_is_the_one_of_a_single_thread():
    weight = torch.randn(6, 6, generator=torch.Generator().manual_seed(0)) / 3

    def step(i, x):
        return torch.tanh(x @ weight).float()

    process = Process.from_step(step, 12, batched=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        local = solve(process, torch.ones(6), window=Sliding(6), backend=Local(), tolerance=1e-2).state
        ours = solve(process, torch.ones(6), window=Sliding(6), backend=Threads(2), tolerance=1e-2).state
    plain = solve(process, torch.ones(6), window=Sliding(6), backend=Threads(2), tolerance=1e-2).state
    assert (ours - local).abs().max() < 2e-2
    assert not torch.equal(ours, plain)


def test_the_callers_number_of_threads_stays():
    before = torch.get_num_threads()
    backend_threads.open_pool.cache_clear()
    try:
        torch.set_num_threads(2)
        evaluate(lambda steps, rows: rows)
        assert torch.get_num_threads() == 2
        late = []
        thread = threading.Thread(target=lambda: late.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert late == [2]
    finally:
        torch.set_num_threads(before)


def test_an_error_reaches_the_caller_when_nothing_runs_any_more():
    running = []

    def call(steps, rows):
        running.append(1)
        time.sleep(0.05 if len(steps) > 3 else 0)
        running.pop()
        if len(steps) == 3:
            raise RuntimeError("no such step")
        return rows

    with pytest.raises(RuntimeError, match="no such step"):
        evaluate(call)
    assert not running


def test_an_evaluation_may_solve_something_in_threads_itself():
    inner = Process.from_step(lambda i, x: x / 2, 8, batched=True)

    def call(steps, rows):
        return rows + solve(inner, torch.ones(1), window=Sliding(4), backend=Threads(2)).state

    assert torch.allclose(evaluate(call), ROWS + 2.0**-8)


def test_what_works_in_place_is_noticed_in_threads_too():
    def step(i, x):
        return x.mul_(0.5)

    with pytest.raises(ValueError, match="modified"):
        solve(Process.from_step(step, 20, batched=True), torch.ones(4), window=Sliding(8), backend=Threads(2))


def test_slices_are_taken_where_they_pay_and_tried_again_where_calls_are_larger():
    trial = SliceTrial()
    assert trial.prefers_slices(8)
    trial.add_call(8, 1.0, is_sliced=True)
    assert not trial.prefers_slices(8)
    trial.add_call(8, 0.9, is_sliced=False)
    assert trial.prefers_slices(8), "the first slices were cold"
    trial.add_call(8, 0.95, is_sliced=True)
    assert not trial.prefers_slices(8)
    assert not trial.prefers_slices(16)
    assert trial.prefers_slices(40)
    trial.add_call(40, 3.0, is_sliced=True)
    assert not trial.prefers_slices(40)
    trial.add_call(40, 5.0, is_sliced=False)
    assert trial.prefers_slices(40)
    assert trial.prefers_slices(400)
    assert not trial.prefers_slices(8)
    assert trial.prefers_slices(2), "smaller calls were not tried"


def test_slices_that_lose_by_far_are_not_tried_twice():
    trial = SliceTrial()
    trial.add_call(4, 3.0, is_sliced=True)
    trial.add_call(4, 1.0, is_sliced=False)
    assert not trial.prefers_slices(4)


def test_cores_are_bounded_by_the_environment(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = count_usable_cores()
    assert cores >= 1
    for words, threads in (("1", 1), ("1,4", 1), ("999", cores), ("many", cores), ("", cores), ("0", 1)):
        monkeypatch.setenv("OMP_NUM_THREADS", words)
        assert count_usable_cores() == threads
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert Threads(max_batch=3).begin_run() == Local(3)


@pytest.mark.parametrize("settings", [{"count": 0}, {"max_batch": 0}, {"count": -2}])
def test_settings_that_evaluate_nothing_are_refused(settings):
    with pytest.raises(ValueError, match="evaluates nothing; pass"):
        Threads(**settings)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_has_threads_of_its_own():
    script = """
import os, torch
from forerun.engine.backends import Threads
def run():
    outputs, _ = Threads(2).evaluate(lambda steps, rows: rows + 1, torch.arange(4), torch.zeros(4, 2), 0.0)
    return float(outputs.sum())
assert run() == 8
child = os.fork()
if not child:
    os._exit(0 if run() == 8 else 1)
assert os.waitpid(child, 0)[1] == 0
"""
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", script], timeout=60).returncode == 0
