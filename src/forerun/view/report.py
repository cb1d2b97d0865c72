"""One page of a run, in markdown."""

from __future__ import annotations

from forerun.engine.solution import Solution


def report(solution: Solution, sequential: Solution | None = None) -> str:
    """What a run cost, how close it is, and what it decided; beside the sequential run where one is given.

    Args:
        solution: the run.
        sequential: the same process solved by `Sequential()`.
    """
    runs = [("ahead", solution), *([] if sequential is None else [("sequential", sequential)])]
    lines = [
        "| | " + " | ".join(name for name, _ in runs) + " |",
        "|---|" + "--:|" * len(runs),
        *(f"| {label} | " + " | ".join(values) + " |" for label, values in _rows([run for _, run in runs])),
        "",
        solution.status.value,
    ]
    if sequential is not None:
        faster = sequential.seconds.total / max(solution.seconds.total, 1e-12)
        fewer = sequential.rounds / max(solution.rounds, 1)
        lines.append(f"{fewer:.1f} times fewer rounds, {faster:.1f} times faster.")
    return "\n".join([*lines, *(f"- {note}" for note in solution.notes)]) + "\n"


def _rows(runs: list[Solution]) -> list[tuple[str, list[str]]]:
    return [
        ("steps", [f"{run.step} of {run.length}" for run in runs]),
        ("rounds", [str(run.rounds) for run in runs]),
        ("evaluations", [str(run.evaluations) for run in runs]),
        ("inflation", [f"{run.inflation:.2f}" for run in runs]),
        ("deviation, estimate", [_number(run.deviation_estimate) for run in runs]),
        ("seconds", [f"{run.seconds.total:.3g}" for run in runs]),
        ("of it evaluate", [f"{run.seconds.evaluate:.3g}" for run in runs]),
        ("of it advance", [f"{run.seconds.advance:.3g}" for run in runs]),
        ("of it communicate", [f"{run.seconds.communicate:.3g}" for run in runs]),
        ("of it rest", [f"{run.seconds.rest:.3g}" for run in runs]),
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"
