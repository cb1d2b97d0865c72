"""The loop: whatever interrupts, breaks or blows up, and where a run goes on."""

from dataclasses import replace

import pytest
import torch
from engine.problems import PROBLEMS, TIGHT, same

from forerun import (
    Absolute,
    Affine,
    Auto,
    Checkpoint,
    Full,
    Newton,
    NotConverged,
    Picard,
    Process,
    QuasiNewton,
    Relative,
    Secant,
    Sequential,
    Sliding,
    Status,
    solve,
)
from forerun.engine.check.jacobian_estimate import LOW_RANK_WIDTH
from forerun.engine.methods import Anderson, Damped, GaussSeidel, Jacobi, JacobiGaussSeidel, Parareal, PicardGaussSeidel
from forerun.engine.options import SolveOptions
from forerun.engine.run import SolveRun
from forerun.engine.tolerance import PerStep

METHODS = [
    Sequential(),
    Picard(),
    Jacobi(),
    Secant(),
    Anderson(Picard()),
    Newton(),
    QuasiNewton(),
    Damped(Newton()),
    Parareal(3),
    GaussSeidel(4),
    JacobiGaussSeidel(3),
    PicardGaussSeidel(3),
]
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)


class Tripping(Process):
    """Another process, whose `evaluate` or `advance` raises at its n-th call."""

    def __init__(self, process, *, evaluate=0, advance=0):
        self.inner, self.length, self.batch_dims = process, process.length, process.batch_dims
        self.evaluations, self.advances, self.trips = 0, 0, (evaluate, advance)

    def observe(self, state):
        return self.inner.observe(state)

    def affine(self, steps):
        return None if self.trips[1] else self.inner.affine(steps)  # so that advance is called

    def evaluate(self, steps, inputs):
        self.evaluations += 1
        if self.evaluations == self.trips[0]:
            raise KeyboardInterrupt
        return self.inner.evaluate(steps, inputs)

    def advance(self, step, state, output):
        self.advances += 1
        if self.advances == self.trips[1]:
            raise KeyboardInterrupt
        return self.inner.advance(step, state, output)


@every_method
@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("problem", ["contractive", "momentum"])
def test_an_interrupted_run_is_resumed_by_every_method(problem, check, method, tmp_path):
    resumed(problem, {"evaluate": 6}, check=check, method=method, file=tmp_path / "run")


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("trip", [{"evaluate": 1}, {"evaluate": 11}, {"advance": 1}, {"advance": 20}, {"advance": 45}])
@pytest.mark.parametrize("problem", ["contractive", "momentum", "pair", "sampler"])
def test_an_interrupted_run_is_resumed_wherever_it_was(problem, trip, check, tmp_path):
    resumed(problem, trip, check=check, method=Secant(), file=tmp_path / "run")


def resumed(problem, trip, *, check, method, file):
    process, state = PROBLEMS[problem]()
    options = {"method": method, "check": check, **TIGHT}
    truth = solve(process, state, method=Sequential())
    part = solve(Tripping(process, **trip), state, path=True, **options)
    assert part.status is Status.INTERRUPTED
    assert part.step == part.checkpoint.step < process.length
    assert len(part.path) == part.step + 1
    assert part.rounds == sum(entry.rounds for entry in part.log)
    assert part.evaluations == sum(entry.evaluations for entry in part.log)
    part.checkpoint.save(file)
    for resume in (part.checkpoint, file):
        rest = solve(Tripping(process), state, resume=resume, **options)
        assert rest.status.done
        same(rest.state, truth.state)
        assert rest.rounds == part.rounds + sum(entry.rounds for entry in rest.log)


def test_an_interrupt_in_the_callback_loses_nothing_of_its_round():
    def interrupt(event):
        if event.step >= 8:
            raise KeyboardInterrupt

    process, state = PROBLEMS["contractive"]()
    part = solve(process, state, callback=interrupt, **TIGHT)
    assert part.status is Status.INTERRUPTED
    assert part.step >= 8
    same(solve(process, state, resume=part.checkpoint, **TIGHT).state, solve(process, state, method=Sequential()).state)


def test_an_error_carries_a_checkpoint():
    process, state = PROBLEMS["contractive"]()

    def fail(event):
        if event.step >= 8:
            raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="the disk is full") as caught:
        solve(process, state, callback=fail, **TIGHT)
    assert "steps are accepted" in caught.value.__notes__[0]
    rest = solve(process, state, resume=caught.value.checkpoint, **TIGHT)
    same(rest.state, solve(process, state, method=Sequential()).state)


def test_a_run_stopped_again_and_again_arrives():
    process, state = PROBLEMS["momentum"]()
    resume, stops = None, 0
    while True:
        part = solve(process, state, callback=lambda event: True, resume=resume, **TIGHT)
        if part.step == process.length:
            break
        resume, stops = part.checkpoint, stops + 1
        assert part.status is Status.STOPPED
        assert stops < process.length
    same(part.state, solve(process, state, method=Sequential()).state)


def test_a_run_goes_on_with_another_method_and_window():
    process, state = PROBLEMS["contractive"]()
    part = solve(process, state, method=Newton(), window=Full(), callback=lambda event: event.step >= 1)
    assert part.checkpoint.guessed_inputs.shape[0] > 4
    for method in METHODS:
        rest = solve(process, state, method=method, resume=part.checkpoint, **TIGHT)
        same(rest.state, solve(process, state, method=Sequential()).state)


def test_a_checkpoint_of_the_end_needs_nothing_and_claims_nothing_new():
    process, state = PROBLEMS["contractive"]()
    loose = {"window": Full(), "tolerance": Absolute(1e-2)}
    for check, status in ((True, Status.CHECKED), (False, Status.UNCHECKED)):
        whole = solve(process, state, check=check, **loose)
        again = solve(process, state, check=check, resume=whole.checkpoint, **loose)
        assert whole.status is again.status is status
        assert again.rounds == whole.rounds
        assert not again.log
        same(again.state, whole.state, atol=0)
    sequential = solve(process, state, method=Sequential())
    assert solve(process, state, resume=sequential.checkpoint).status is Status.SEQUENTIAL


def test_what_was_not_checked_before_a_checkpoint_stays_unchecked(tmp_path):
    process, state = PROBLEMS["contractive"]()
    loose = {"window": Sliding(6), "tolerance": Absolute(1e-2)}
    part = solve(process, state, check=False, callback=lambda event: event.step >= 12, **loose)
    assert not part.checkpoint.exact
    part.checkpoint.save(tmp_path / "run")
    again = solve(process, state, callback=lambda event: event.step >= 18, resume=tmp_path / "run", **loose)
    rest = solve(process, state, resume=again.checkpoint, **loose)
    assert rest.status is Status.UNCHECKED
    assert "Nothing was checked up to step" in rest.notes[0]


def test_resuming_what_is_no_checkpoint_is_refused():
    process, state = PROBLEMS["contractive"]()
    whole = solve(process, state)
    with pytest.raises(TypeError, match=r"got Solution; write resume=solution\.checkpoint"):
        solve(process, state, resume=whole)
    with pytest.raises(ValueError, match="of a process of 23 steps, this one has 24"):
        solve(process, state, resume=replace(whole.checkpoint, length=23))


class Held(Process):
    """A process whose first output is so unlike the others that to hold it is a wild guess."""

    length = 12

    def __init__(self, first, others, scale):
        self.values, self.scale = (first, others), scale

    def evaluate(self, steps, inputs):
        first, others = self.values
        level = torch.where(steps == 0, first, others).to(inputs).unsqueeze(-1)
        return level * (1 + 0.1 * torch.sin(inputs))

    def advance(self, step, state, output):
        return 0.5 * state + output / self.values[step > 0]


@every_method
@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_guess_that_overflows_is_no_step_that_does(dtype, check, method):
    # held, the first output makes the second state infinite in double precision, and its norm in single precision
    process = Held(1e10, 1e-15 if dtype == torch.float32 else 1e-300, None)
    state = torch.ones(2, dtype=dtype)
    truth = solve(process, state, method=Sequential())
    assert truth.state.isfinite().all()
    found = solve(process, state, method=method, window=Full(), tolerance=Absolute(1e-6), check=check)
    assert found.status.done
    same(found.state, truth.state, atol=1e-5)


class Logarithm(Process):
    """Not a number where a guess is negative, which the path itself never is."""

    length = 40

    def evaluate(self, steps, inputs):
        return torch.log(inputs)

    def advance(self, step, state, output):
        return 0.2 * state + 1.5 - 0.8 * torch.cos(torch.tensor(float(step))) * output


class Exponential(Process):
    """Slopes beyond all bounds where a guess is large, which the path itself is not."""

    length = 40

    def evaluate(self, steps, inputs):
        return torch.exp(inputs)

    def advance(self, step, state, output):
        return state + 0.5 - 0.05 * output * (1 + step % 3)


@every_method
@pytest.mark.parametrize("width", [2, 30])
@pytest.mark.parametrize("process", [Logarithm(), Exponential()], ids=lambda process: type(process).__name__)
def test_what_blows_up_at_wild_guesses_only_is_right_and_checked(process, width, method):
    blown(process, width, method)


@pytest.mark.parametrize("method", [Picard(), Secant()], ids=lambda method: type(method).__name__)
@pytest.mark.parametrize("process", [Logarithm(), Exponential()], ids=lambda process: type(process).__name__)
def test_so_it_is_in_wide_rows(process, method):
    blown(process, 1200, method)


def blown(process, width, method):
    first = (0.5, 2.6) if isinstance(process, Logarithm) else (-30.0, 3.0)
    state = torch.linspace(*first, width, dtype=torch.float64)
    truth = solve(process, state, method=Sequential())
    found = solve(process, state, method=method, window=Full(), tolerance=Absolute(1e-8))
    wide_rows = width > LOW_RANK_WIDTH  # of whose Jacobian little is known: a run may spend its stake on going back
    assert found.status in {Status.CHECKED, Status.SEQUENTIAL} or (wide_rows and found.status is Status.UNCERTAIN)
    assert not any("inf" in note for note in found.notes)  # the check keeps what is not finite out of its estimate
    same(found.state, truth.state, atol=1e-7)


class Steep(Process):
    """Slopes that explode in a closed form: a scan has to lose nothing of the first step."""

    length = 30

    def evaluate(self, steps, inputs):
        return 1e-3 * torch.sin(1e12 * inputs)

    def advance(self, step, state, output):
        return 0.5 * state + 0.5 * output

    def affine(self, steps):
        return Affine.constant(steps, state=0.5, output=0.5)


@pytest.mark.parametrize(
    "method", [Newton(), QuasiNewton(), Secant(bound=float("inf")), Anderson(Secant(bound=1e30))], ids=str
)
def test_slopes_that_explode_lose_nothing_of_the_exact_step(method):
    state = torch.linspace(0.1, 2, 3)
    truth = solve(Steep(), state, method=Sequential())
    found = solve(Steep(), state, method=method, window=Full(), tolerance=Absolute(1e-7), check=False)
    assert found.rounds <= 30
    same(found.state, truth.state, atol=2e-3)  # chaos, of the size of the outputs


@every_method
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("step", [0, 7, 14])
def test_a_step_that_is_not_finite_ends_the_run_with_the_state_before_it(step, bad, method):
    process = Process.from_step(lambda i, x: torch.where(i == step, bad, torch.sin(x) + 0.1 * i), 15)
    state = torch.linspace(-1, 1, 4, dtype=torch.float64)
    found = solve(process, state, method=method, throw=False, path=True, **TIGHT)
    assert found.status is Status.NONFINITE
    assert found.step == step
    sound = Process.from_step(lambda i, x: torch.sin(x) + 0.1 * i, 15)
    same(found.state, solve(sound, state, method=Sequential(), path=True).path[step])
    assert len(found.path) == step + 1
    with pytest.raises(NotConverged, match=f"step {step} of 15"):
        solve(process, state, method=method, **TIGHT)


def test_a_state_that_begins_as_nan_ends_at_once():
    found = solve(*_sine(15), torch.tensor([0.0, torch.nan]), throw=False)
    assert (found.status, found.step) == (Status.NONFINITE, 0)


def _sine(length):
    return (Process.from_step(lambda i, x: torch.sin(x) + 0.1 * i, length),)


class Answers(Process):
    """A contraction whose output at some call of evaluate is replaced."""

    length = 30

    def __init__(self, call, act, outputs=lambda o: o):
        self.calls, self.call, self.act, self.outputs = 0, call, act, outputs

    def evaluate(self, steps, inputs):
        self.calls += 1
        outputs = self.outputs(torch.sin(inputs) + 0.1 * steps.to(inputs).unsqueeze(-1))
        return self.act(outputs) if self.calls == self.call else outputs

    def advance(self, step, state, output):
        output = output["o"] if isinstance(output, dict) else output
        return 0.9 * state + 0.1 * output


START = torch.linspace(-1, 1, 4, dtype=torch.float64)


@pytest.mark.parametrize("method", [Picard(), Jacobi(), Newton(), Sequential()], ids=lambda one: type(one).__name__)
@pytest.mark.parametrize(
    "act, says",
    [
        (lambda o: {"o": o["o"][0], "tag": 1}, ["another shape", "Let evaluate return a leading axis of"]),
        (lambda o: {"o": o["o"][:, :3], "tag": 1}, ["another shape", "float64 [", "Let evaluate return"]),
        (lambda o: {"o": o["o"].float(), "tag": 1}, ["another dtype or device", "float32 ["]),
        (lambda o: {"o": o["o"].to("meta"), "tag": 1}, ["another dtype or device", "on meta"]),
        (lambda o: {"o": o["o"], "tag": 2}, ["another plain value", "'tag': 2", "'tag': 1", "must be a tensor"]),
        (lambda o: {"o": o["o"]}, ["another structure"]),
        (lambda o: [o["o"], 1], ["another structure"]),
        (lambda o: o["o"], ["another structure"]),
        (lambda o: {"o": None, "tag": 1}, ["another structure", "'o': None"]),
    ],
)
def test_outputs_unlike_the_first_ones_are_refused(act, says, method):
    process = Answers(3, act, lambda o: {"o": o, "tag": 1})
    with pytest.raises(ValueError, match="the output came as") as caught:
        solve(process, START, method=method, **TIGHT)
    for phrase in says:
        assert phrase in str(caught.value)


@pytest.mark.parametrize(
    "act, error, says",
    [
        (lambda o: o[0], ValueError, r"begin with that axis of 1.*Process\.from_step\(f, length\)"),
        (lambda o: o.sum(), ValueError, "begin with that axis of 1"),
        (lambda o: (o, o[:0]), ValueError, "begin with that axis of 1"),
        (lambda o: o.to("meta"), ValueError, "on meta.*but its inputs have batch axes"),
        (lambda o: (o, o.to("meta")), ValueError, r"several devices.*\.to\(device\)"),
        (lambda o: None, TypeError, "the output None holds no tensor"),
        (lambda o: torch.view_as_complex(o.reshape(1, 2, 2)), TypeError, "view_as_real"),
    ],
)
def test_first_outputs_that_cannot_work_are_refused(act, error, says):
    with pytest.raises(error, match=says):
        solve(Answers(1, act), START, **TIGHT)


def test_batch_axes_of_outputs_are_those_of_inputs():
    process = Answers(1, lambda o: o[:, :3])
    process.batch_dims = 1
    with pytest.raises(ValueError, match=r"batch axes \[4\].*set batch_dims = 0"):
        solve(process, START, **TIGHT)


class Counting(Process):
    """A counter that is a plain value: of the state only, or of the input too; and a dtype that may change."""

    length = 12

    def __init__(self, *, seen, cast=None):
        self.seen, self.cast = seen, cast

    def observe(self, state):
        return state if self.seen else {"x": state["x"], "name": state["name"]}

    def evaluate(self, steps, inputs):
        return (torch.sin(inputs["x"]), None, "an output")

    def advance(self, step, state, output):
        x = 0.5 * state["x"] + output[0]
        return {"x": x if self.cast is None else x.to(self.cast), "name": state["name"], "count": state["count"] + 1}


COUNTED = {"x": START, "name": "run", "count": 0}


@every_method
def test_plain_values_of_the_state_may_change(method):
    found = solve(Counting(seen=False), COUNTED, method=method, **TIGHT)
    assert found.state["count"] == 12
    assert found.state["name"] == "run"
    same(found.state, solve(Counting(seen=False), COUNTED, method=Sequential()).state)


@pytest.mark.parametrize("method", [Sequential(), Secant(), Jacobi()], ids=lambda one: type(one).__name__)
def test_plain_values_of_the_input_may_not(method):
    with pytest.raises(ValueError, match=r"the input came as .*'count': 1.*another plain value.*Let advance keep"):
        solve(Counting(seen=True), COUNTED, method=method, **TIGHT)


def test_a_state_that_changes_its_dtype_is_refused():
    with pytest.raises(ValueError, match=r"the input came as \{'x': float32 \[4\].*\.to\("):
        solve(Counting(seen=False, cast=torch.float32), COUNTED, **TIGHT)


@every_method
@pytest.mark.parametrize("length", [0, 1, 2])
@pytest.mark.parametrize("window", [Full(), Sliding(1), Sliding(100), Auto()], ids=str)
@pytest.mark.parametrize("check", [True, False])
def test_short_paths(length, window, check, method):
    found = solve(*_sine(length), START, method=method, window=window, check=check, path=True)
    same(found.state, solve(*_sine(length), START, method=Sequential()).state)
    assert found.rounds <= length
    assert len(found.path) == length + 1
    assert found.status is Status.SEQUENTIAL or length == 2


def test_no_step_needs_no_unit():
    found = solve(*_sine(0), START, tolerance=PerStep(0.1, torch.ones(0)))
    assert (found.status, found.deviation_estimate) == (Status.SEQUENTIAL, 0.0)


@every_method
@pytest.mark.parametrize("shape", [(0, 3), (2, 0, 3), (2, 0), (0, 20), (0, 1500)], ids=str)
def test_empty_batches_and_rows(shape, method):
    if isinstance(method, Newton | Damped) and not 0 < shape[-1] < 100:
        pytest.skip("Newton is for small states, of some elements")
    process = Process.from_step(lambda i, x: torch.sin(x), 12, batched=True, batch_dims=len(shape) - 1)
    found = solve(process, torch.zeros(shape), method=method, window=Full())
    assert found.state.shape == shape
    assert found.status.done
    assert found.deviation_estimate == 0.0


@every_method
def test_a_window_wider_than_the_path_is_the_whole_path(method):
    process, state = PROBLEMS["contractive"]()
    options = {"method": method, "tolerance": Absolute(1e-9)}
    wide, full = (solve(process, state, window=window, **options) for window in (Sliding(1000), Full()))
    assert wide.rounds == full.rounds
    same(wide.state, full.state, atol=0)


@pytest.mark.parametrize("method", [Picard(), Secant(), Jacobi()], ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("window", [Sliding(2), Sliding(7), Full()], ids=str)
@pytest.mark.parametrize("tolerance", [0.0, 1e-14])
def test_rounds_never_exceed_the_length(tolerance, window, method):
    chaos = Process.from_step(lambda i, x: 3.9 * x * (1 - x), 40)  # where nothing but the exact step is ever right
    state = torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    found = solve(chaos, state, method=method, window=window, tolerance=Absolute(tolerance), check=False)
    assert found.rounds <= 40
    assert torch.equal(found.state, solve(chaos, state, method=Sequential()).state) or tolerance


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("method", [Picard(), Jacobi(), Parareal(3)], ids=lambda one: type(one).__name__)
def test_the_path_is_the_sequential_path(problem, method):
    process, state = PROBLEMS[problem]()
    truth = solve(process, state, method=Sequential(), path=True)
    found = solve(process, state, method=method, path=True, **TIGHT)
    assert len(found.path) == len(truth.path) == process.length + 1
    for one, other in zip(found.path, truth.path, strict=True):
        same(one, other)
    same(found.path[-1], found.state, atol=0)


def test_the_path_of_a_resumed_run_begins_at_its_checkpoint():
    process, state = PROBLEMS["contractive"]()
    truth = solve(process, state, method=Sequential(), path=True)
    part = solve(process, state, path=True, callback=lambda event: event.step >= 9, **TIGHT)
    rest = solve(process, state, path=True, resume=part.checkpoint, **TIGHT)
    for one, other in zip([*part.path, *rest.path[1:]], truth.path, strict=True):
        same(one, other)


def test_a_state_of_the_path_keeps_no_window_alive():
    process, state = PROBLEMS["contractive"]()
    found = solve(process, state, path=True, window=Full())
    kept = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in found.path[1:]}
    assert sum(kept.values()) == process.length * state.untyped_storage().nbytes()


def test_a_callback_sees_every_round_and_can_keep_it(tmp_path):
    process, state = PROBLEMS["momentum"]()
    events = []

    def keep(event):
        events.append((event.round, event.step, event.length))
        assert event.state["count"] == event.step
        event.checkpoint().save(tmp_path / "run")
        assert Checkpoint.load(tmp_path / "run").step == event.step

    found = solve(process, state, callback=keep, **TIGHT)
    assert [entry for entry, _, _ in events] == list(found.log)
    assert [step for _, step, _ in events] == [entry.start + entry.accepted for entry in found.log]
    assert {length for _, _, length in events} == {18}


def test_a_callback_stops_the_run_even_at_its_end():
    process, state = PROBLEMS["contractive"]()
    whole = solve(process, state, **TIGHT)
    stopped = solve(process, state, callback=lambda event: event.step == event.length, **TIGHT)
    assert stopped.status is Status.STOPPED
    rest = solve(process, state, resume=stopped.checkpoint, **TIGHT)
    assert rest.status is whole.status
    same(rest.state, whole.state, atol=0)


@pytest.mark.parametrize(
    "options, says",
    [
        ({"method": Secant}, r"method must be a Method, got <class.*; write method=forerun\.Secant\(\)"),
        ({"method": "newton"}, r"method must be a Method, got 'newton'"),
        ({"window": 16.0}, r"window must be a Window or a number of steps, got 16\.0; write window=8, or"),
        ({"tolerance": "1e-3"}, r"tolerance must be a Tolerance or a number, got '1e-3'; write tolerance=1e-3, or"),
        ({"guess": torch.ones(3)}, r"guess must be a Guess, got .*; write guess=forerun\.Hold\(\)"),
        ({"backend": "cuda"}, r"backend must be a Backend, got 'cuda'; write backend=forerun\.Local\(\)"),
        ({"progress": True}, r"progress must be a Progress, got True; write progress=forerun\.Bar\(\)"),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused_with_the_line_to_write(options, says):
    process = Answers(1, lambda o: pytest.fail("evaluated before the arguments were looked at"))
    with pytest.raises(TypeError, match=says):
        solve(process, START, **options)


@pytest.mark.parametrize("length", [-1, 2.0, None, "ten"])
def test_lengths_that_are_no_number_of_steps_are_refused(length):
    process = Answers(0, None)
    process.length = length
    with pytest.raises(ValueError, match=r"process\.length is .*a whole number of steps"):
        solve(process, START)


@pytest.mark.parametrize(
    "state, error, says",
    [
        ({"x": 1.0}, TypeError, r"the input \{'x': 1\.0\} holds no tensor"),
        (torch.ones(2, dtype=torch.complex64), TypeError, "view_as_real"),
        ((torch.ones(2), torch.ones(2, device="meta")), ValueError, "several devices"),
    ],
)
def test_states_that_have_no_rows_are_refused(state, error, says):
    with pytest.raises(error, match=says):
        solve(*_sine(5), state)


def test_the_levels_of_a_tolerance_are_one_a_step():
    with pytest.raises(ValueError, match="PerStep has 4 levels for 5 steps; pass one a step"):
        solve(*_sine(5), START, tolerance=PerStep(0.1, torch.ones(4)))


@pytest.mark.parametrize(
    "tolerance",
    [Relative(1e-4), PerStep(1e-4, torch.linspace(1, 2, 24)), Absolute(1e-4)],
    ids=lambda tolerance: type(tolerance).__name__,
)
def test_every_tolerance_leads_to_the_sequential_answer(tolerance):
    process, state = PROBLEMS["contractive"]()
    found = solve(process, state, window=Sliding(8), tolerance=tolerance)
    assert found.status is Status.CHECKED
    same(found.state, solve(process, state, method=Sequential()).state, atol=2e-4)


def test_nothing_is_recorded_for_gradients():
    process, state = PROBLEMS["contractive"]()
    found = solve(process, state.requires_grad_())
    assert not found.state.requires_grad


def test_the_rounds_of_solve_can_be_taken_one_at_a_time():
    process, state = PROBLEMS["momentum"]()
    whole = solve(process, state, path=True, **TIGHT)
    settings = SolveOptions(window=TIGHT["window"], tolerance=TIGHT["tolerance"]).settled()
    run, seen, ends = SolveRun(process, state, settings), [], []
    while run.goes_on():
        event = run.take_round()
        assert len(event.states) == event.round.accepted
        same(event.states[-1], event.state)
        seen.extend(event.states)
        ends.append(event.step)
    solution = run.solution()
    same(solution.state, whole.state)
    assert ends == sorted(ends)
    assert len(seen) == process.length
    for one, other in zip(seen, whole.path[1:], strict=True):
        same(one, other)
    again = SolveRun(process, state, settings)
    first = again.take_round()
    again.end(Status.STOPPED)
    assert not again.goes_on()
    assert again.solution().status is Status.STOPPED
    assert again.solution().step == first.step


def test_options_come_whole_or_one_by_one_and_short():
    process, state = PROBLEMS["contractive"]()
    whole = solve(process, state, options=SolveOptions(window=8, tolerance=1e-6), check=False)
    long = solve(process, state, window=Sliding(8), tolerance=Absolute(1e-6), check=False)
    assert whole.status is Status.UNCHECKED
    assert [entry.residuals for entry in whole.log] == [entry.residuals for entry in long.log]
    same(whole.value, whole.state, atol=0)
    assert max(entry.width for entry in whole.log) <= 8


@pytest.mark.parametrize(
    "options, says",
    [
        ({"windows": 8}, "windows is not an option; did you mean window"),
        ({"banana": 8}, "banana is not an option; the options are method, window"),
        ({"options": {"window": 8}}, r"options must be a SolveOptions, got \{.*write options=SolveOptions"),
        ({"callback": 3}, "callback must be a function of an event"),
    ],
)
def test_a_misspelt_option_is_named(options, says):
    process, state = PROBLEMS["contractive"]()
    with pytest.raises(TypeError, match=says):
        solve(process, state, **options)
