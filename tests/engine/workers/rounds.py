"""Rounds of many kinds through one Distributed after another; started by torchrun."""

import importlib
import time
from pathlib import Path

import torch
import torch.distributed as dist
from report import RANK, WORLD, caught, digest, gathers, write

from forerun.engine.backends import Distributed, Local, RankFailed, RanksDisagree


def wave(steps, inputs):
    """Elementwise and of exact operations, so that the bits do not depend on the batch."""
    return inputs * 1.25 + steps.reshape(-1, *[1] * (inputs.dim() - 1)).to(inputs)


def window(count, start=0, seed=0, dtype=torch.float64):
    inputs = torch.randn(count, 2, 3, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return torch.arange(start, start + count), inputs


def run(backend, call, count, **options):
    """The outputs of one round, those of Local, the gathers it took and the steps this rank was asked for."""
    before, asked = gathers[0], []

    def watched(steps, inputs):
        asked.append(steps.tolist())
        return call(steps, inputs)

    steps, inputs = window(count, **options)
    outputs, _ = backend.evaluate(watched, steps, inputs, 0.0)
    local, _ = Local().evaluate(call, steps, inputs, 0.0)
    return {"outputs": digest(outputs), "local": digest(local), "gathers": gathers[0] - before, "asked": asked}


def widths():
    backend = Distributed()
    return {str(count): run(backend, wave, count) for count in (7, 2, 1, 6, 7)}


def steady():
    """A long run of one width, after the first round."""
    backend = Distributed()
    run(backend, wave, 5)
    return [run(backend, wave, 5, start=start)["gathers"] for start in range(20)]


def dtypes():
    kinds = (torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.complex64, torch.uint8, torch.float64)
    found = {str(kind): run(Distributed(), lambda steps, rows, kind=kind: rows.to(kind), 5) for kind in kinds}
    found["nan"] = run(Distributed(), lambda steps, rows: torch.where(rows > 0, torch.nan, -0.0 * rows), 5)
    found["no elements"] = run(Distributed(), lambda steps, rows: rows[..., :0], 5)
    found["wider"] = run(Distributed(), lambda steps, rows: torch.cat([rows] * 50, -1), 5)
    return found


def matmul():
    weight = torch.randn(3, 3, generator=torch.Generator().manual_seed(1))
    steps, inputs = window(7, dtype=torch.float32)
    sizes = []

    def call(steps, rows):
        sizes.append(len(steps))
        return rows @ weight

    outputs, _ = Distributed(max_batch=2, pad=(2, 4)).evaluate(call, steps, inputs, 0.0)
    return {"close": torch.allclose(outputs, inputs @ weight, atol=1e-6), "outputs": digest(outputs), "sizes": sizes}


def timings():
    """Times that every rank takes differently."""
    backend, found = Distributed(), []

    def slow(steps, rows):
        time.sleep(0.02 + 0.05 * RANK)
        return rows

    for number in range(3):
        steps, inputs = window(6, start=number)
        _, read = backend.evaluate(slow, steps, inputs, 0.1 * RANK)
        timing = read()
        found.append([timing.evaluate, timing.communicate, timing.overhead])
    return found


def failing():
    """A rank fails in the very first round, when nobody knows how large a message is, and in a later one."""

    def broken(steps, rows):
        if RANK == 1:
            raise MemoryError("Größe: " + "x" * 1000)
        return rows

    backend = Distributed()
    first = caught(lambda: run(backend, broken, 7), RankFailed)
    between = run(backend, wave, 7)
    later = caught(lambda: run(backend, broken, 7), RankFailed)
    everywhere = caught(lambda: run(backend, lambda steps, rows: rows[:1, None].flatten(), 7), RankFailed)
    return {"errors": [first, later, everywhere], "between": between, "after": run(backend, wave, 7)}


def disagreeing():
    last = WORLD - 1
    backend, found = Distributed(), {}
    cases = {
        "inputs": lambda: run(backend, wave, 7, seed=int(last == RANK)),
        "permuted": lambda: backend.evaluate(wave, torch.arange(4), torch.eye(4).roll(int(last == RANK), 0), 0.0),
        "steps": lambda: run(backend, wave, 7, start=int(last == RANK)),
        "width": lambda: run(backend, wave, 8 if last == RANK else 7),
        "large": lambda: run(backend, wave, 800 if last == RANK else 7),
        "outputs": lambda: run(backend, lambda steps, rows: rows.float() if last == RANK else rows, 7),
    }
    for name, case in cases.items():
        found[name] = caught(case, RanksDisagree)
        found[name].append(run(backend, wave, 7))
    return found


def grouped():
    """Only the first two ranks take part."""
    group = dist.new_group([0, 1])
    backend = Distributed(group=group)
    if RANK > 1:
        return caught(lambda: run(backend, wave, 5), ValueError)
    return run(backend, wave, 5)


Distributed(timeout=30).evaluate(wave, *window(WORLD), 0.0)  # makes the group from torchrun's environment
scenarios = (widths, steady, dtypes, matmul, timings, failing, disagreeing, grouped)
found = {scenario.__name__: scenario() for scenario in scenarios}
importlib.import_module("torch._dynamo")  # as the first compiled call does, while there is a group
dist.destroy_process_group()
write(**found, threads=[Path(task, "comm").read_text().strip() for task in Path("/proc/self/task").glob("*")])
