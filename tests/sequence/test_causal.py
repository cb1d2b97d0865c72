"""Values that follow from those before them: every method fills as the ordinary loop does."""

import pytest
import torch
from torch import nn

from forerun import Absolute, Full, Picard, Secant, Sequential, Sliding, solve
from forerun.engine.methods import GaussSeidel, Jacobi, JacobiGaussSeidel, PicardGaussSeidel
from forerun.engine.testing import check_process
from forerun.sequence import CausalFunction, CausalProcess, Fill, Lookup, Reguess, Repeat

METHODS = [
    Sequential(),
    Picard(),
    Jacobi(),
    Secant(),
    GaussSeidel(4, Picard()),
    PicardGaussSeidel(4),
    JacobiGaussSeidel(4),
    Reguess(Lookup()),
    Reguess(Repeat(2), Jacobi()),
]
WINDOWS = [Sliding(1), Sliding(5), Full()]
GUESSES = [Fill(), Fill(3.0), Repeat(), Repeat(3), Lookup()]


class Hashes(CausalFunction):
    """Whole numbers that depend on all before them, in slots of one, two or three places; counts its calls."""

    def __init__(self, given=2, slots=(1, 2, 1, 3, 1, 1, 2, 1, 1, 1, 2, 1)):
        self.bounds = torch.tensor([given, *slots]).cumsum(0)
        self.calls = 0

    def compute_slots(self, steps, sequence):
        self.calls += 1
        found = []
        for step in steps.tolist():
            begin, end = int(self.bounds[step]), int(self.bounds[step + 1])
            weights = torch.arange(1, begin + 1, dtype=sequence.dtype)
            total = (sequence[..., :begin] * weights).sum(-1, keepdim=True)
            found.append((total + torch.arange(end - begin)) % 4)
        return torch.cat(found, -1)


def loop(filler, sequence):
    """The ordinary loop."""
    for step in range(len(filler.bounds) - 1):
        begin, end = int(filler.bounds[step]), int(filler.bounds[step + 1])
        new = filler.compute_slots(torch.tensor([step]), sequence)
        sequence = torch.cat([sequence[..., :begin], new, sequence[..., end:]], -1)
    return sequence


def start(filler, dtype=torch.float64):
    given = torch.tensor([[1, 2], [3, 0], [2, 2]], dtype=dtype)
    return nn.functional.pad(given, (0, int(filler.bounds[-1]) - 2))


@pytest.mark.parametrize("guess", GUESSES, ids=repr)
@pytest.mark.parametrize("window", WINDOWS, ids=repr)
@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float64, torch.int64], ids=["float", "int"])
def test_every_method_fills_as_the_loop_does(method, window, guess, dtype):
    filler = Hashes()
    found = solve(
        CausalProcess(filler), start(filler, dtype), method=method, window=window, guess=guess, tolerance=Absolute(0.0),
        check=False,
    )  # fmt: skip
    assert found.state.dtype == dtype
    assert torch.equal(found.state, loop(filler, start(filler, dtype)))
    assert found.rounds <= len(filler.bounds) - 1


def test_the_contract_is_kept():
    filler = Hashes()
    check_process(CausalProcess(filler), start(filler), steps=6)


def test_a_round_is_one_call():
    filler = Hashes()
    found = solve(
        CausalProcess(filler),
        start(filler),
        method=Picard(),
        window=Full(),
        guess=Fill(),
        tolerance=Absolute(0.0),
        check=False,
    )
    assert filler.calls == found.rounds < found.evaluations


@pytest.mark.parametrize("method", [Picard(), Reguess(Lookup()), Reguess(Repeat())], ids=repr)
@pytest.mark.parametrize("guess", [Fill(), Lookup()], ids=repr)
def test_a_round_stays_one_call_as_the_window_slides(method, guess):
    filler = Hashes(slots=(1,) * 40)
    found = solve(
        CausalProcess(filler),
        start(filler),
        method=method,
        window=Sliding(6),
        guess=guess,
        tolerance=Absolute(0.0),
        check=False,
    )
    assert filler.calls == found.rounds < found.evaluations
    assert torch.equal(found.state, loop(filler, start(filler)))


def test_lookup_finds_the_longest_and_last_place():
    known = torch.tensor([[5, 1, 2, 9, 7, 2, 8, 1, 2], [1, 2, 3, 4, 5, 6, 7, 8, 9]])
    otherwise = torch.zeros(2, 3, dtype=known.dtype)
    assert Lookup().guess_values(known, otherwise).tolist() == [[9, 7, 2], [0, 0, 0]]
    assert Lookup(1).guess_values(known, otherwise)[0].tolist() == [8, 1, 2]


def test_lookup_goes_round_a_loop():
    known = torch.tensor([[3, 1, 2, 1, 2]])
    assert Lookup().guess_values(known, known[:, :4]).tolist() == [[1, 2, 1, 2]]


def test_a_guess_that_comes_true_needs_one_round():
    filler = Hashes()

    class Right(CausalFunction):
        bounds = filler.bounds

        def compute_slots(self, steps, sequence):
            return torch.zeros(len(sequence), int((self.bounds[1:] - self.bounds[:-1])[steps].sum()))

    found = solve(
        CausalProcess(Right()), torch.zeros(2, int(filler.bounds[-1])), method=Picard(), window=Full(), guess=Fill(),
        tolerance=Absolute(0.0), check=False,
    )  # fmt: skip
    assert found.rounds == 1


@pytest.mark.parametrize(
    "make, line", [(lambda: Repeat(0), "1 or more"), (lambda: Lookup(0), "1 or more")], ids=["Repeat", "Lookup"]
)
def test_guesses_of_nothing_are_refused(make, line):
    with pytest.raises(ValueError, match=line):
        make()


def test_continuations_are_for_fillings():
    from forerun import Process

    process = Process.from_step(lambda i, x: x, 3)
    with pytest.raises(TypeError, match="Hold"):
        solve(process, torch.zeros(2), guess=Repeat(), window=Full())
