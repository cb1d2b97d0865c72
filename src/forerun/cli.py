"""The command `forerun`: `sample` draws digits in order and ahead, `info` says what this machine can do."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, TypeVar

import torch
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

import forerun
from forerun.engine.guess import Hold, Probe
from forerun.engine.methods import Jacobi, Method, Picard, Secant
from forerun.engine.progress import Silent
from forerun.engine.solution import Solution, Status
from forerun.engine.tolerance import rms
from forerun.engine.window import Window

Kind = TypeVar("Kind")

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)
console = Console()

METHODS: dict[str, Method] = {"secant": Secant(), "picard": Picard(), "jacobi": Jacobi()}


@dataclass(frozen=True)
class Job:
    """A sampler of digits."""

    name: str
    length: int
    eta: float


JOBS = {"ddim": Job("DDIM", 100, 0.0), "ddpm": Job("DDPM", 1000, 1.0)}


@app.command()
def sample(
    out: Annotated[Path, typer.Option(help="folder for pictures and figures")] = Path("forerun-out"),
    sampler: Annotated[str, typer.Option(help="ddim (100 steps), ddpm (1000 steps), or both")] = "both",
    samples: Annotated[int, typer.Option(min=1, help="digits to draw")] = 8,
    seed: Annotated[int, typer.Option(help="of the noise")] = 0,
    tolerance: Annotated[float, typer.Option(min=0.0, help="how close to the sequential run, rms per pixel")] = 1e-3,
    method: Annotated[str, typer.Option(help=" or ".join(METHODS))] = "secant",
    window: Annotated[str, typer.Option(help="auto, full, or a number of steps")] = "100",
    threads: Annotated[int, typer.Option(min=1, help="of torch")] = 1,
    resume: Annotated[Path | None, typer.Option(help="checkpoint of an interrupted run (with its --sampler)")] = None,
) -> None:
    """Draw handwritten digits with the shipped denoiser, in order and ahead, and compare."""
    torch.set_num_threads(threads)
    jobs = [_choose(sampler, JOBS, "--sampler")] if sampler != "both" else list(JOBS.values())
    chosen, width = _choose(method, METHODS, "--method"), _window(window)
    if resume is not None and len(jobs) > 1:
        raise typer.BadParameter("a checkpoint belongs to one sampler; add --sampler ddim or --sampler ddpm")
    out.mkdir(parents=True, exist_ok=True)
    console.print(f"[dim]torch {torch.__version__}, CPU, {threads} thread(s); seed {seed}, {samples} digits[/dim]")
    rows = []
    for job in jobs:
        process, state = _digits(job, samples, seed)
        for count in (1, 1, 100):  # the first calls are cold
            process.evaluate(torch.zeros(count, dtype=torch.int64), state.expand(count, *state.shape))
        sequential = forerun.solve(process, state, method=forerun.Sequential(), check=False)
        ahead = forerun.solve(
            process, state, method=chosen, window=width, tolerance=forerun.Absolute(tolerance), resume=resume,
            guess=Probe(8) if job.eta == 0 else Hold(), progress=forerun.Bar() if sys.stderr.isatty() else Silent(),
        )  # fmt: skip
        if ahead.status is Status.INTERRUPTED:
            _keep(ahead, out / f"{job.name.lower()}.checkpoint.safetensors")
        rows.append(_write(job, sequential, ahead, out))
    _show(rows)
    (out / "summary.json").write_text(json.dumps(rows, indent=2) + "\n")
    console.print(f"pictures, reports and summary.json are in [bold]{out}[/bold]")


@app.command()
def info() -> None:
    """What is installed, and whether running ahead can pay on this machine."""
    table = Table("", "", title="forerun", show_header=False)
    for name, value in _installed().items():
        table.add_row(name, value)
    console.print(table)
    costs = Table("steps in a call", "ms", "efficiency", title="a call of the digits' denoiser")
    torch.set_num_threads(1)
    process, state = _digits(JOBS["ddim"], 1, 0)
    single = 0.0
    for width in (1, 4, 16, 64):
        steps = torch.arange(width)
        inputs = state.expand(width, *state.shape).contiguous()
        times = sorted(_seconds(partial(process.evaluate, steps, inputs)) for _ in range(15))
        single = single or times[7]
        costs.add_row(str(width), f"{1e3 * times[7]:.2f}", f"{width * single / times[7]:.1f}")
    console.print(costs)
    console.print(
        "Efficiency is how many single calls a call replaces. Running ahead wins on one device where it is above the "
        "evaluations per step that it takes, often two to four."
    )


def _version(show: bool) -> None:
    if show:
        console.print(_installed_version("forerun"))
        raise typer.Exit


@app.callback()
def _options(
    show: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="print it")] = False,
) -> None:
    """Run sequential computations ahead of themselves."""


def _digits(job: Job, samples: int, seed: int) -> tuple[forerun.Process, Tensor]:
    """The sampler, its noise drawn in the order of the sequential run, and the first state `(samples, 64)`."""
    from forerun.diffusion import Denoising, Schedule, load_digits_denoiser

    generator = torch.Generator().manual_seed(seed)
    state = torch.randn(samples, 64, generator=generator)
    noise = torch.randn(job.length, samples, 64, generator=generator) if job.eta else None
    schedule = Schedule.linear().spaced(job.length)
    return (
        Denoising(load_digits_denoiser(), schedule, eta=job.eta, noise=None if noise is None else noise.__getitem__),
        state,
    )


def _write(job: Job, sequential: Solution, ahead: Solution, out: Path) -> dict[str, float | str]:
    """The pictures and the page of a job; the figures of its row."""
    from forerun.view import report
    from forerun.view.digits import side_by_side

    name = f"{job.name.lower()}-{job.length}"
    apart = ahead.state - sequential.state
    title = f"{job.name}, {job.length} steps: {sequential.rounds} rounds in order, {ahead.rounds} ahead"
    side_by_side(sequential.state, ahead.state, title).savefig(out / f"{name}-digits.png", dpi=120)
    ahead.plot().savefig(out / f"{name}-wavefront.png", dpi=120)
    (out / f"{name}-report.md").write_text(f"# {job.name}, {job.length} steps\n\n{report(ahead, sequential)}")
    return {
        "sampler": f"{job.name} {job.length}",
        "rounds in order": sequential.rounds,
        "rounds ahead": ahead.rounds,
        "evaluations": ahead.evaluations,
        "deviation, rms": float(rms(apart).max()),
        "deviation, largest": float(apart.abs().max()),
        "deviation, estimate": ahead.deviation_estimate or 0.0,
        "seconds in order": sequential.seconds.total,
        "seconds ahead": ahead.seconds.total,
        "status": ahead.status.value,
    }


def _show(rows: list[dict[str, float | str]]) -> None:
    table = Table(title="the same digits, in fewer rounds", box=box.SIMPLE_HEAD, title_style="bold")
    table.add_column("")
    for row in rows:
        table.add_column(f"{row['sampler']} steps", justify="right")
    lines: dict[str, Callable[[dict[str, float | str]], str]] = {
        "rounds, in order -> ahead": lambda row: f"{row['rounds in order']} -> [bold]{row['rounds ahead']}[/bold]",
        "evaluations ahead": lambda row: f"{row['evaluations']}",
        "deviation, rms of the worst digit": lambda row: f"{row['deviation, rms']:.1e}",
        "deviation, estimate without the truth": lambda row: f"{row['deviation, estimate']:.1e}",
        "deviation, largest of any pixel": lambda row: f"{row['deviation, largest']:.1e}",
        "seconds, in order -> ahead": lambda row: f"{row['seconds in order']:.2f} -> {row['seconds ahead']:.2f}",
        "faster": lambda row: f"[bold]{float(row['seconds in order']) / float(row['seconds ahead']):.1f}x[/bold]",
    }
    for name, cell in lines.items():
        table.add_row(name, *map(cell, rows))
    console.print(table)
    console.print("[dim]deviations are from the sequential run of the same seed; pixels lie in -1 .. 1[/dim]")


def _keep(solution: Solution, path: Path) -> None:
    solution.checkpoint.save(path)
    console.print(f"[yellow]interrupted[/yellow] after {solution.step} of {solution.length} steps; go on with")
    console.print(f"  forerun sample --sampler {path.name.partition('.')[0]} --resume {path}")
    raise typer.Exit(130)


def _choose(word: str, known: Mapping[str, Kind], option: str) -> Kind:
    if word not in known:
        raise typer.BadParameter(f"{option} {word} is not known; choose from {', '.join(known)}")
    return known[word]


def _window(word: str) -> Window:
    if word in {"auto", "full"}:
        return forerun.Auto() if word == "auto" else forerun.Full()
    if not word.isdigit() or not int(word):
        raise typer.BadParameter(f"--window {word} is no width; say auto, full, or a number of steps such as 100")
    return forerun.Sliding(int(word))


def _installed() -> dict[str, str]:
    extras = {"matplotlib": "plot", "sklearn": "digits"}
    found = {
        "forerun": _installed_version("forerun"),
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "cores": f"{os.cpu_count()}, {torch.get_num_threads()} thread(s) of torch",
        "CUDA devices": str(torch.cuda.device_count()),
        "torch.distributed": "available" if torch.distributed.is_available() else "not available",
    }
    for module, extra in extras.items():
        there = importlib.util.find_spec(module) is not None
        found[module] = "installed" if there else f"missing: pip install 'forerun[{extra}]'"
    return found


def _installed_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed (running from source)"


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def main() -> None:
    """Run the command; errors of the user are one line."""
    try:
        app()
    except (ImportError, ValueError, OSError) as error:
        console.print(f"[red]error[/red] {error}", highlight=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
