"""One page of a run: its figures, beside the sequential run's where there is one."""

from __future__ import annotations

from collections.abc import Sequence

from forerun.engine.solution import Solution
from forerun.view.deviation import Deviation


def report(solution: Solution, sequential: Solution | None = None) -> str:
    """A run as a page of markdown that reads well as plain text.

    Args:
        solution: the run.
        sequential: the same process in order, to compare rounds, time and the final state with.
    """
    title = f"# {_count(solution.length, 'step')} in {_count(solution.rounds, 'round')}"
    parts = [title, _figures(solution, sequential), _split(solution), solution.status.value]
    if solution.notes:
        parts.append("\n".join(f"- {note}" for note in solution.notes))
    return "\n\n".join(parts) + "\n"


def duration(seconds: float) -> str:
    """Seconds in three significant digits and a unit that suits them."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns" if seconds else "0 s"


def times(ratio: float) -> str:
    """A ratio in two or three digits, `3.4x`."""
    return f"{ratio:.0f}x" if ratio >= 99.95 else f"{ratio:.1f}x" if ratio >= 9.95 else f"{ratio:.2g}x"


def gain(ratio: float, better: str, worse: str) -> str:
    """A ratio in words, such as `3.4x faster`; what got worse is told as it is."""
    number = times(max(ratio, 1 / ratio)) if ratio else "infinitely"
    return f"{number} {better if ratio >= 1 else worse}"


def _figures(solution: Solution, sequential: Solution | None) -> str:
    estimate = solution.deviation_estimate
    rows: list[Sequence[str]] = [
        ("steps accepted", f"{solution.step} of {solution.length}"),
        ("rounds", str(solution.rounds)),
        ("evaluations", str(solution.evaluations)),
        ("inflation", f"{solution.inflation:.2f}"),
        ("deviation, estimated", "not estimated" if estimate is None else f"{estimate:.1e}"),
        ("time", duration(solution.seconds.total)),
    ]
    if sequential is None:
        return _table(("", "this run"), rows)
    batch_dims = 0 if solution.deviation is None else solution.deviation.dim()
    true = Deviation.between(solution.state, sequential.state, batch_dims)
    beside = {
        "steps accepted": (f"{sequential.step} of {sequential.length}", ""),
        "rounds": (str(sequential.rounds), gain(sequential.rounds / max(solution.rounds, 1), "fewer", "more")),
        "evaluations": (str(sequential.evaluations), ""),
        "inflation": (f"{sequential.inflation:.2f}", ""),
        "time": (duration(sequential.seconds.total), _faster(solution, sequential)),
    }
    rows = [(*row, *beside.get(row[0], ("", ""))) for row in rows]
    place = next(index for index, row in enumerate(rows) if row[0].startswith("deviation"))
    rows[place:place] = [
        ("deviation, largest number", f"{true.largest:.1e}", "", ""),
        ("deviation, rms" + (" of a sample" if batch_dims else ""), f"{true.rms:.1e}", "", ""),
    ]
    return _table(("", "this run", "sequential", "gain"), rows)


def _faster(solution: Solution, sequential: Solution) -> str:
    """The speed-up in time; a slower run is told as it is."""
    begun = solution.rounds - sum(entry.rounds for entry in solution.log)
    if begun or not solution.seconds.total:  # of a resumed run only the rest was timed
        return ""
    return gain(sequential.seconds.total / solution.seconds.total, "faster", "slower")


def _split(solution: Solution) -> str:
    seconds = solution.seconds
    parts = {name: getattr(seconds, name) for name in ("evaluate", "advance", "communicate", "rest")}
    rows = [(name, duration(part), f"{part / (seconds.total or 1.0):.0%}") for name, part in parts.items()]
    return _table(("where the time went", "", "share"), rows)


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An aligned markdown table; all columns but the first stand to the right."""
    lines = [heading, *rows]
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(heading))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    aligned = [
        [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        for line in lines
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in [aligned[0], rule, *aligned[1:]])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
