"""Small settings of every process, method, window, guess, tolerance and backend: what the shipped checks are run on.

One entry a class, by its name; test_contracts.py finds the classes and says which one has no entry. An entry is a
function, so that nothing is made before its turn:

    a process     gives (process, first state)
    a method      gives a method, or (method, [(process, first state), ...]) where it is for such processes alone
    a guess       gives a guess, or (guess, process, first state)
    a tolerance   gives a tolerance, or (tolerance, inputs (W, B, D))
    a window, a backend      gives one
"""

import diffusers
import torch
from engine.problems import PROBLEMS
from policy.problems import network
from torch import nn, optim

from forerun import (
    Absolute,
    Anderson,
    Auto,
    Distributed,
    Full,
    Hold,
    Known,
    Local,
    Moving,
    Newton,
    Picard,
    Process,
    QuasiNewton,
    Relative,
    Secant,
    Sequential,
    Sliding,
)
from forerun.diffusion import Denoising, Schedule
from forerun.diffusion.denoising import Increments
from forerun.diffusion.schedulers.sampling import SchedulerSampling
from forerun.engine.backends import Threads
from forerun.engine.backends.threads import ThreadedRun
from forerun.engine.guesses import Copy, Extrapolate, Probe, Retraced
from forerun.engine.methods import (
    Boxed,
    Damped,
    Elk,
    GaussSeidel,
    Jacobi,
    JacobiGaussSeidel,
    Parareal,
    PicardGaussSeidel,
)
from forerun.engine.numerics.layout import RowLayout
from forerun.engine.tolerance import PerStep
from forerun.engine.windows import Within
from forerun.limits.bregman import Entropy, MirrorPath
from forerun.optim import Loop
from forerun.optim.gradients import OneByOne
from forerun.optim.matrix_sensing import SensingDescent, SensingProblem
from forerun.optim.tolerance import StepLength
from forerun.policy.plan import TickPlan
from forerun.policy.recall import Recall
from forerun.policy.refinement import SelectedSteps
from forerun.policy.tick_process import AffineTick, ObservedDenoiser, SteppedTick
from forerun.sequence import CausalFunction, CausalProcess, Fill, Lookup, Reguess, Repeat
from forerun.sequence.autoregressive.text_run import BeforeBound
from forerun.sequence.recurrent.job import RecurrenceJob
from forerun.sequence.recurrent.loop_choice import LoopChoice
from forerun.sequence.recurrent.recurrence import AdjointRecurrence, Recurrence
from forerun.sequence.recurrent.torch_cells import adapt_cell

DOUBLE = torch.float64


def normal(*shape, seed=0, dtype=DOUBLE):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def denoising(eta=1.0):
    def denoise(x, t):
        return torch.tanh(0.7 * x.roll(1, -1) + 1e-3 * t.to(x)[:, None])

    noise = normal(12, 2, 4, seed=1)
    return Denoising(denoise, Schedule.linear().spaced(12), eta=eta, noise=noise.__getitem__), normal(2, 4)


def increments():
    process, state = denoising()
    return Increments(process), state


def scheduler_sampling():
    """DPM-Solver++, which keeps a history."""
    scheduler = diffusers.DPMSolverMultistepScheduler()
    scheduler.set_timesteps(12)
    sample = normal(2, 3, 4, 4)
    process = SchedulerSampling(lambda steps, samples: torch.tanh(samples), scheduler, sample, scheduler.timesteps)
    return process, process.state(sample)


def policy_plan(scheduler):
    like = torch.zeros(2, 8, 3, dtype=DOUBLE)
    plan = TickPlan(scheduler, 12, like, step_options={})
    noise = normal(13, 2, 8, 3) if plan.adds_noise else normal(1, 2, 8, 3)
    return plan, ObservedDenoiser(network, plan, normal(2, 5, seed=2)), noise


def chunk():
    plan, seen, noise = policy_plan(diffusers.DDPMScheduler(num_train_timesteps=100, clip_sample=False))
    return AffineTick(plan, seen, noise), plan.first_sigma * noise[0]


def stepped():
    plan, seen, noise = policy_plan(diffusers.DPMSolverMultistepScheduler(num_train_timesteps=100))
    return SteppedTick(plan, seen, noise), plan.sampling.state(plan.first_sigma * noise[0])


def part():
    process, state = chunk()
    return SelectedSteps(process, [2, 5, 7, 8, 11]), state


def recall():
    process, state = chunk()
    outputs = 0.1 * normal(process.length, *state.shape, seed=3)
    return Recall(outputs, torch.ones(len(state), 1, dtype=DOUBLE)), process, state


def training():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4, dtype=DOUBLE), nn.Tanh(), nn.Linear(4, 1, dtype=DOUBLE))
    xs = normal(20, 8, 3)

    def loss(model, step):
        return (model(xs[step]) - xs[step].sum(-1, keepdim=True)).square().mean()

    loop = Loop(model, optim.AdamW(model.parameters(), 0.02), loss, gradients=OneByOne(), ema=0.9)
    events = list(loop.run(3))
    return loop.build_process(8), events[-1].state


class Digits(CausalFunction):
    """Whole numbers that depend on all before them, in slots of one, two or three places, after two that are given."""

    bounds = torch.tensor([2, 1, 2, 1, 3, 1, 1, 2, 1, 1]).cumsum(0)

    def compute_slots(self, steps, sequence):
        slots = zip(self.bounds[steps].tolist(), self.bounds[steps + 1].tolist(), strict=True)
        return torch.cat([self.slot(sequence, begin, end) for begin, end in slots], -1)

    def slot(self, sequence, begin, end):
        weights = torch.arange(1, begin + 1, dtype=sequence.dtype)
        total = (sequence[..., :begin] * weights).sum(-1, keepdim=True)
        return (total + torch.arange(end - begin)) % 4


def causal_process():
    sequence = torch.zeros(3, int(Digits.bounds[-1]), dtype=DOUBLE)
    sequence[:, :2] = torch.tensor([[1, 2], [3, 0], [2, 2]])
    return CausalProcess(Digits()), sequence


def recurrence():
    torch.manual_seed(0)
    cell, h, xs = nn.GRUCell(3, 5, dtype=DOUBLE), normal(2, 5), normal(12, 2, 3, seed=1)
    layout = RowLayout.from_tree(h, batch_dims=1, name="state")
    rows = adapt_cell(cell, layout)
    return Recurrence(rows, rows.prepare_inputs(xs).detach(), 12), layout.pack(h)


def loop_choice():
    torch.manual_seed(0)
    h, xs = normal(2, 5), normal(300, 2, 3, seed=1)
    rows = adapt_cell(nn.GRUCell(3, 5, dtype=DOUBLE), RowLayout.from_tree(h, batch_dims=1, name="state"))
    job = RecurrenceJob(rows, h, rows.prepare_inputs(xs).detach(), len(xs), 2**30)
    return LoopChoice(job, lambda count: None, Sliding(3))


def adjoint():
    torch.manual_seed(0)
    cell, xs = nn.RNNCell(3, 5, dtype=DOUBLE), normal(13, 2, 3, seed=3)
    rows = adapt_cell(cell, None)
    hidden, gradients = 0.5 * normal(12, 2, 5), normal(12, 2, 5, seed=1)
    return AdjointRecurrence(rows, hidden, rows.prepare_inputs(xs[1:]).detach(), gradients), normal(2, 5, seed=2)


def sensing_descent():
    problem = SensingProblem.draw_random(4, torch.tensor([2.0, 1.0], dtype=DOUBLE), 60)
    return SensingDescent(problem, 0.05, 20), 0.3 * normal(4, 2)


def known():
    process, state = PROBLEMS["increments"]()
    return Known(state.expand(process.length, *state.shape)), process, state


def retraced():
    process, state = PROBLEMS["increments"]()
    return Retraced(0, state.expand(process.length, *state.shape), Hold()), process, state


def watched():
    from forerun.cli.sample.frames import SampleWatch, SampleWatchMethod

    return SampleWatchMethod(Secant(), SampleWatch())


def step_length():
    """The last number of an input is the mean length of the steps so far."""
    inputs = normal(5, 1, 7)
    inputs[..., -1] = 0.3
    return StepLength(0.1), inputs


def mirror_path():
    """An averaged operator on the simplex, with noise in the mirror."""
    scores, noise = normal(4, 4), 0.1 * normal(12, 4, seed=1)
    process = MirrorPath(lambda x: (0.3 * scores @ x).softmax(-1), Entropy(), 12, noise=noise.__getitem__)
    return process, Entropy().mirror(torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=DOUBLE))


INSTANCES = {
    # processes
    "StepProcess": lambda: (Process.from_step(lambda i, x: torch.tanh(x.flip(0) + 0.1 * i), 9), normal(6)),
    "Denoising": denoising,
    "SensingDescent": sensing_descent,
    "Increments": increments,
    "SchedulerSampling": scheduler_sampling,
    "AffineTick": chunk,
    "SteppedTick": stepped,
    "SelectedSteps": part,
    "Training": training,
    "CausalProcess": causal_process,
    "Recurrence": recurrence,
    "AdjointRecurrence": adjoint,
    "MirrorPath": mirror_path,
    # methods
    "Sequential": Sequential,
    "Jacobi": Jacobi,
    "Picard": Picard,
    "Secant": Secant,
    "QuasiNewton": QuasiNewton,
    "Newton": Newton,
    "Damped": lambda: Damped(Newton(), factor=0.5, bound=1.0),
    "Boxed": lambda: Boxed(Secant(), -1e4, 1e4),
    "Elk": lambda: (Elk(), [PROBLEMS["increments"](), PROBLEMS["contractive"]()]),  # it wants outputs like states
    "Anderson": lambda: Anderson(Secant()),
    "Parareal": lambda: Parareal(3),
    "GaussSeidel": lambda: GaussSeidel(4),
    "JacobiGaussSeidel": lambda: JacobiGaussSeidel(3),
    "PicardGaussSeidel": lambda: PicardGaussSeidel(3),
    "Reguess": lambda: (Reguess(Lookup()), [causal_process()]),
    "SampleWatchMethod": watched,
    # windows
    "Full": Full,
    "Sliding": lambda: Sliding(3),
    "Auto": lambda: Auto(min_length=2),
    "BeforeBound": lambda: BeforeBound(Full(), 9),
    "Within": lambda: Within(Full(), 4),
    "LoopChoice": loop_choice,
    # guesses
    "Hold": Hold,
    "Probe": lambda: Probe(2),
    "Extrapolate": Extrapolate,
    "Copy": Copy,
    "Known": known,
    "Retraced": retraced,
    "Fill": lambda: (Fill(1.0), *causal_process()),
    "Repeat": lambda: (Repeat(2), *causal_process()),
    "Lookup": lambda: (Lookup(), *causal_process()),
    "Recall": recall,
    # tolerances
    "Absolute": Absolute,
    "Relative": Relative,
    "PerStep": lambda: PerStep(0.1, torch.linspace(0.1, 1, 12)),
    "Moving": lambda: Moving(1e-3),
    "StepLength": step_length,
    # backends
    "Local": lambda: Local(max_batch=2, pad=(2, 4)),
    "Distributed": Distributed,
    "Threads": lambda: Threads(2, max_batch=2),
    "ThreadedRun": lambda: ThreadedRun(3),
}
