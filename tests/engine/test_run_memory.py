"""What is learnt in a run is remembered for the next of its kind, and never changes an answer."""

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from forerun import Absolute, Auto, Process, Sequential, Sliding, solve
from forerun.engine.backends import Distributed, Local
from forerun.engine.options import SolveOptions
from forerun.engine.rounds import RoundTiming
from forerun.engine.rows import Problem
from forerun.engine.run_memory import RUN_MEMORY, RunMemory, describe_process, describe_run
from forerun.engine.windows import PastRun, Within
from forerun.engine.windows.past_run import DECLINED_RUNS

START = torch.linspace(-1, 1, 5, dtype=torch.float64)
FREE, LINEAR = (lambda width: 1.0), float


class Priced(Local):
    """A backend that reports the price of a call instead of its time; the price may change between runs."""

    def __init__(self, price):
        super().__init__()
        object.__setattr__(self, "price", price)

    def evaluate(self, call, steps, inputs, overhead):
        timing = RoundTiming(evaluate=self.price(len(steps)))
        return call(steps, inputs), lambda: timing


class Pull(Process):
    """A pull towards what a network says; a hook sees every call."""

    def __init__(self, network, length=120, hook=None):
        self.network, self.length, self.hook = network, length, hook

    def evaluate(self, steps, inputs):
        if self.hook is not None:
            self.hook(steps)
        return torch.tanh(self.network(inputs)) + 0.01 * steps.to(inputs).unsqueeze(-1)

    def advance(self, step, state, output):
        return 0.95 * state + 0.05 * output


def network(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Linear(5, 5).double().requires_grad_(False)


def run(process, price, **keywords):
    return solve(process, START, window=Auto(), check=False, backend=Priced(price), **keywords)


def widths(solution):
    return [entry.width for entry in solution.log]


def test_the_next_run_begins_where_the_last_one_ended():
    process = Pull(network())
    first, second = run(process, FREE), run(process, FREE)
    assert first.log[0].in_order
    assert widths(second)[:1] == [1]  # nothing to hold yet
    assert widths(second)[1] >= max(widths(first)) / 2
    assert second.rounds < first.rounds


def test_a_run_that_is_remembered_gives_the_same_answer():
    process = Pull(network())
    truth = solve(process, START, method=Sequential()).state
    for price in (FREE, LINEAR):
        for _ in range(4):
            torch.testing.assert_close(run(process, price, tolerance=1e-9).state, truth, rtol=0, atol=1e-7)
        RUN_MEMORY.clear()


def test_declining_is_remembered_once_it_was_not_a_cold_start():
    process = Pull(network())
    first, second, third = (run(process, LINEAR) for _ in range(3))
    assert first.evaluations > 120
    assert second.evaluations > 120  # the first trial may have been cold
    assert third.evaluations == 120
    assert all(entry.in_order for entry in third.log)
    (note,) = third.notes
    assert note.startswith("Sequential, as in the last runs of this kind: a round of ")


def test_declining_is_tried_again_after_many_runs():
    process = Pull(network(), length=40)
    for _ in range(2):
        run(process, LINEAR)
    evaluations = [run(process, LINEAR).evaluations for _ in range(DECLINED_RUNS + 1)]
    assert evaluations[:-1] == [40] * DECLINED_RUNS
    assert evaluations[-1] > 40


def test_a_machine_that_became_quick_is_found_out():
    process = Pull(network(), length=120)
    for _ in range(2):
        run(process, LINEAR)
    for _ in range(DECLINED_RUNS):
        run(process, FREE)
    assert run(process, FREE).rounds < 60


def test_a_machine_that_became_slow_is_found_out():
    process = Pull(network())
    for _ in range(3):
        run(process, FREE)
    spent = sum(40.0 * entry.width for entry in run(process, lambda width: 40.0 * width).log if not entry.in_order)
    assert spent < 5 * 120 * 40
    last = [run(process, lambda width: 40.0 * width) for _ in range(3)][-1]
    assert last.evaluations == 120


def test_a_price_that_changes_in_the_middle_closes_the_window():
    calls = []

    def price(width):
        calls.append(width)
        return 1.0 if sum(calls) < 400 else float(width)

    solution = run(Pull(network(), length=1000), price)
    assert solution.log[-1].in_order
    assert solution.notes[-1].startswith("Sequential from step ")


def test_networks_of_the_same_shapes_are_told_apart():
    first, second = Pull(network(0)), Pull(network(0))
    assert describe_process(first) == describe_process(Pull(first.network))
    assert describe_process(first) != describe_process(second)
    for _ in range(3):
        run(first, LINEAR)
    assert run(second, FREE).log[0].in_order  # leads, as in a first run
    assert run(second, FREE).rounds < 60


def test_a_process_may_say_its_kind():
    class Kind:
        pass

    class Own(Pull):
        pass

    kind = Kind()
    one, other = Own(network(0)), Own(network(1))
    one.kind = other.kind = kind
    assert describe_process(one) == describe_process(other)
    other.kind = Kind()
    assert describe_process(one) != describe_process(other)
    other.kind = "a word"
    assert describe_process(other) == (Own, "a word")


def test_functions_written_anew_are_the_same_kind():
    def build():
        return Process.from_step(lambda i, x: torch.sin(x), 20)

    assert describe_process(build()) == describe_process(build())
    assert describe_process(build()) != describe_process(Process.from_step(lambda i, x: torch.cos(x), 20))


def test_nothing_is_kept_alive():
    process = Pull(network())
    run(process, FREE)
    assert len(RUN_MEMORY) == 1
    reference = weakref.ref(process.network)
    del process
    gc.collect()
    assert reference() is None


def test_an_error_and_an_interrupt_leave_what_was_remembered():
    process = Pull(network())
    run(process, FREE)
    (past,) = RUN_MEMORY._runs.values()

    def fail(error):
        def hook(steps):
            if int(steps[-1]) > 60:
                raise error

        return hook

    process.hook = fail(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        run(process, FREE)
    process.hook = fail(KeyboardInterrupt())
    assert not run(process, FREE).status.done
    assert list(RUN_MEMORY._runs.values()) == [past]
    process.hook = None
    assert run(process, FREE).status.done


def test_threads_share_the_memory():
    shared = network()
    truth = solve(Pull(shared), START, method=Sequential()).state
    barrier = threading.Barrier(4)

    def work(index):
        barrier.wait()
        return [run(Pull(shared), (FREE, LINEAR)[index % 2], tolerance=1e-9).state for _ in range(3)]

    with ThreadPoolExecutor(4) as pool:
        for states in pool.map(work, range(4)):
            for state in states:
                torch.testing.assert_close(state, truth, rtol=0, atol=1e-7)


def test_the_memory_is_bounded():
    memory = RunMemory(2)
    past = PastRun((1,), (1.0,), (1,), 1.0)
    for kind in "abc":
        memory.remember(kind, past)
    memory.remember(None, past)
    assert len(memory) == 2
    assert (memory.recall("a"), memory.recall("c"), memory.recall(None)) == (None, past, None)


@pytest.mark.parametrize(
    "change",
    [{"tolerance": 1e-4}, {"check": True}, {"method": Sequential()}, {"window": Within(Auto(), 4)}, {"window": 8}],
    ids=str,
)
def test_runs_with_other_settings_are_of_another_kind(change):
    process = Pull(network())

    def kind(**keywords):
        return describe_run(Problem(process, START), SolveOptions(**{"check": False, **keywords}).settled())

    assert kind() == kind()
    assert kind() != kind(**change)
    other = describe_run(Problem(process, START.float()), SolveOptions(check=False).settled())
    assert kind() != other


def test_what_cannot_be_compared_is_not_remembered():
    process = Pull(network())
    ranks = Distributed.__new__(Distributed)
    assert describe_run(Problem(process, START), SolveOptions(backend=ranks).settled()) is None
    padded = SolveOptions(backend=Local(pad=[4, 8])).settled()
    assert describe_run(Problem(process, START), padded) is None
    process.kind = []
    assert describe_run(Problem(process, START), SolveOptions().settled()) is None
    assert solve(process, START).status.done


def test_a_window_in_another_remembers_too():
    process = Pull(network())
    for _ in range(2):
        solution = solve(process, START, window=Within(Auto(), 16), check=False, backend=Priced(FREE))
    assert widths(solution)[1] == 16
    assert solve(process, START, window=Sliding(4), check=False).status.done
    assert len(RUN_MEMORY) == 1


def test_paths_that_are_over_at_once_are_not_tried():
    calls = []

    def step(i, x):
        calls.append(i)
        return 0.9 * x

    solution = solve(Process.from_step(step, 60), START, tolerance=Absolute(1e-6))
    assert (solution.rounds, len(solution.log), len(calls)) == (60, 1, 60)
    assert "Every step was taken in order" in solution.status.value
