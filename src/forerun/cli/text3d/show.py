"""What `forerun text3d` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape

from forerun.cli.kit.machine import machine_line
from forerun.cli.kit.terminal import console, print_notes
from forerun.cli.text3d.options import Text3dOptions
from forerun.view.formatting import format_duration, format_gain


def show_begin(options: Text3dOptions, machine: dict[str, str]) -> None:
    """Print what will be made, and how."""
    console.print(f"[bold]{escape(options.prompt)}[/bold]", soft_wrap=True)
    console.print(
        f"[dim]score distillation, {options.steps} steps of Adam, {options.views} view(s) a step, {options.size}³ "
        f"voxels, seed {options.seed}\n"
        f"method {options.method}, window {options.window}, tolerance {options.tolerance:g} of a step's length\n"
        f"{machine_line(machine)}[/dim]\n"
    )


def show_figures(figures: Mapping[str, Any]) -> None:
    """Print the figures, a line each, and what was noted."""
    ahead, in_order = figures["ahead"], figures["in_order"]
    fewer = format_gain(ahead["steps"] / ahead["rounds"], "fewer", "more")
    lines = {
        "rounds": f"{ahead['rounds']} for {ahead['steps']} steps: {fewer}",
        "evaluations": f"{ahead['evaluations']} gradients",
        "deviation": _deviation_words(figures["deviation"]["estimate"]),
        "time": _time_words(ahead["seconds"]),
        "quality": f"{ahead['quality']:.1f} dB to the true solid, over views that no step has seen",
    }
    if in_order is not None:
        lines["in order"] = (
            f"{in_order['quality']:.1f} dB to the true solid, {format_duration(in_order['seconds'])}; the two are "
            f"{in_order['likeness']:.1f} dB from each other"
        )
    for name, line in lines.items():
        console.print(f"[bold]{name:<12}[/bold] {line}", soft_wrap=True)
    print_notes(figures["notes"])


def _deviation_words(estimate: float | None) -> str:
    if estimate is None:
        return "not estimated (--compare measures it)"
    return f"{estimate:.2g} mean steps' lengths (an estimate)"


def _time_words(seconds: float | None) -> str:
    if seconds is None:
        return "resumed, not measured"
    return format_duration(seconds)


def show_end(files: Sequence[str], out: Path, note: str | None) -> None:
    """Print where the files are."""
    views = [name for name in files if name.startswith("view-")]
    others = [name for name in files if not name.startswith("view-")]
    console.print(f"\nIn [bold]{escape(str(out))}[/bold]:")
    console.print(f"  {', '.join(others)}, {views[0]} .. {views[-1]}, summary.json", soft_wrap=True)
    if note is not None:
        print_notes([note])
