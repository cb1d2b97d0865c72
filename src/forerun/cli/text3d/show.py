"""What `forerun text3d` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape

from forerun.cli.terminal import console
from forerun.cli.text3d.options import Options
from forerun.view.formatting import format_duration, format_gain


def show_begin(options: Options, machine: Mapping[str, str]) -> None:
    """What will be made, and how."""
    console.print(f"[bold]{escape(options.prompt)}[/bold]", soft_wrap=True)
    console.print(
        f"[dim]score distillation, {options.steps} steps of Adam, {options.views} view(s) a step, {options.size}³ "
        f"voxels, seed {options.seed}\n"
        f"method {options.method}, window {options.window}, tolerance {options.tolerance:g} of a step's length\n"
        f"torch {machine['torch']}, {machine['threads']} thread(s), {machine['processor']}[/dim]\n"
    )


def show_figures(found: Mapping[str, Any]) -> None:
    """The figures, a line each."""
    ahead, order, estimate = found["ahead"], found["in_order"], found["deviation"]["estimate"]
    fewer = ahead["steps"] / ahead["rounds"]
    lines = {
        "rounds": f"{ahead['rounds']} for {ahead['steps']} steps: {format_gain(fewer, 'fewer', 'more')}",
        "evaluations": f"{ahead['evaluations']} gradients",
        "deviation": "not estimated (--compare measures it)"
        if estimate is None
        else f"{estimate:.2g} mean steps' lengths (an estimate)",
        "time": "resumed, not measured" if ahead["seconds"] is None else format_duration(ahead["seconds"]),
        "quality": f"{ahead['quality']:.1f} dB to the true thing, over views that no step has seen",
    }
    if order is not None:
        lines["in order"] = (
            f"{order['quality']:.1f} dB to the true thing, {format_duration(order['seconds'])}; the two are "
            f"{order['likeness']:.1f} dB from each other"
        )
    for name, line in lines.items():
        console.print(f"[bold]{name:<12}[/bold] {line}", soft_wrap=True)
    for note in found["notes"]:
        console.print(f"[yellow]note[/yellow]: {escape(note)}", soft_wrap=True)


def show_end(files: Sequence[str], out: Path, note: str | None) -> None:
    """Where the files are."""
    shown = [name for name in files if not name.startswith("view-")]
    views = [name for name in files if name.startswith("view-")]
    console.print(f"\nIn [bold]{escape(str(out))}[/bold]:")
    console.print(f"  {', '.join(shown)}, {views[0]} .. {views[-1]}, summary.json", soft_wrap=True)
    if note is not None:
        console.print(f"[yellow]note[/yellow]: {escape(note)}", soft_wrap=True)


def show_stop(reached: str, checkpoint: Path) -> None:
    """That the run was interrupted, how far it came, and the line to go on, where there is something to go on from."""
    console.print(f"[yellow]Interrupted[/yellow]. {reached}{' To go on:' if checkpoint.is_file() else ''}")
    if not checkpoint.is_file():
        return
    console.print(f"  forerun text3d --resume {checkpoint} --out {checkpoint.parent}", soft_wrap=True)
