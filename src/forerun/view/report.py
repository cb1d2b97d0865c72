"""One page of a run in markdown: its figures, beside the sequential run's where there is one."""

from __future__ import annotations

from collections.abc import Sequence

from forerun.engine.solution import Solution
from forerun.view.deviation import Deviation
from forerun.view.formatting import count_noun, format_duration, format_estimate, format_gain

TableRow = Sequence[str]
MIN_COLUMN = 3  # characters
SECONDS_NAMES = ("evaluate", "advance", "communicate", "overhead")


def format_report(solution: Solution, sequential: Solution | None = None) -> str:
    """Return a run as a page of markdown that reads well as plain text.

    Args:
        solution: the run.
        sequential: the same process in order, to compare rounds, time and the final state with.
    """
    steps = count_noun(solution.length, "step")
    rounds = count_noun(solution.rounds, "round")
    if sequential is None:
        table = _single_table(solution)
    else:
        table = _compared_table(solution, sequential)
    blocks = [
        f"# {steps} in {rounds}",
        table,
        _seconds_table(solution),
        solution.status.value,
    ]
    if solution.notes:
        blocks.append("\n".join(f"- {note}" for note in solution.notes))
    return "\n\n".join(blocks) + "\n"


def _figures(solution: Solution) -> dict[str, str]:
    return {
        "steps accepted": f"{solution.step} of {solution.length}",
        "rounds": str(solution.rounds),
        "evaluations": str(solution.evaluations),
        "inflation": f"{solution.inflation:.2f}",
        "deviation, estimated": format_estimate(solution.deviation_estimate),
        "time": format_duration(solution.seconds.total),
    }


def _single_table(solution: Solution) -> str:
    rows = list(_figures(solution).items())
    return _markdown_table(("", "this run"), rows)


def _compared_table(solution: Solution, sequential: Solution) -> str:
    figures = _figures(solution)
    beside = _figures(sequential)
    beside["deviation, estimated"] = ""
    gains = dict.fromkeys(figures, "")
    gains["rounds"] = _fewer_rounds(solution, sequential)
    gains["time"] = _faster(solution, sequential)
    rows: list[TableRow] = []
    for name, figure in figures.items():
        if name == "deviation, estimated":
            rows += _deviation_rows(solution, sequential)
        rows.append((name, figure, beside[name], gains[name]))
    return _markdown_table(("", "this run", "sequential", "gain"), rows)


def _deviation_rows(solution: Solution, sequential: Solution) -> list[TableRow]:
    batch_dims = 0
    if solution.deviation is not None:
        batch_dims = solution.deviation.dim()
    deviation = Deviation.between(solution.state, sequential.state, batch_dims)
    rms_name = "deviation, rms"
    if batch_dims:
        rms_name = "deviation, rms of a sample"
    return [
        ("deviation, largest number", f"{deviation.largest:.1e}", "", ""),
        (rms_name, f"{deviation.rms:.1e}", "", ""),
    ]


def _fewer_rounds(solution: Solution, sequential: Solution) -> str:
    return format_gain(sequential.rounds / max(solution.rounds, 1), "fewer", "more")


def _faster(solution: Solution, sequential: Solution) -> str:
    """Return the speed-up in time in words; of a resumed run, of which only the end was timed, nothing."""
    rounds_before = solution.rounds - sum(entry.rounds for entry in solution.log)
    if rounds_before or not solution.seconds.total:
        return ""
    return format_gain(sequential.seconds.total / solution.seconds.total, "faster", "slower")


def _seconds_table(solution: Solution) -> str:
    total = solution.seconds.total or 1.0
    rows = []
    for name in SECONDS_NAMES:
        seconds = getattr(solution.seconds, name)
        rows.append((name, format_duration(seconds), f"{seconds / total:.0%}"))
    return _markdown_table(("where the time went", "", "share"), rows)


def _markdown_table(heading: TableRow, rows: Sequence[TableRow]) -> str:
    """Return an aligned markdown table; all columns but the first stand to the right."""
    lines = [heading, *rows]
    widths = [max(MIN_COLUMN, *map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0]]
    for width in widths[1:]:
        rule.append("-" * (width - 1) + ":")
    aligned = [_align_cells(line, widths) for line in lines]
    aligned.insert(1, rule)
    table_lines = []
    for cells in aligned:
        table_lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(table_lines)


def _align_cells(cells: TableRow, widths: Sequence[int]) -> list[str]:
    aligned = [cells[0].ljust(widths[0])]
    for cell, width in zip(cells[1:], widths[1:], strict=True):
        aligned.append(cell.rjust(width))
    return aligned
