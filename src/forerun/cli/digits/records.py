"""What a sampling leaves behind: pictures, a page and figures of each job, and a way to go on after Ctrl-C."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from forerun.cli.digits.job import Interrupted, Options, Outcome
from forerun.view import draw_side_by_side, draw_wavefront, format_report
from forerun.view.formatting import format_gain


@dataclass(frozen=True)
class Record:
    """A finished job in plain values: its figures, and its page of the report."""

    figures: dict[str, Any]
    page: str


@dataclass(frozen=True)
class Plan:
    """What is to be done: the jobs by their sampler, and those finished before an interrupt.

    Attributes:
        options: of all jobs.
        samplers: words of the samplers to run, in order.
        steps: of the sampler; None for its usual number.
        finished: records of the jobs before.
        resume: checkpoint of the first of `samplers`.
    """

    options: Options
    samplers: Sequence[str]
    steps: int | None = None
    finished: Sequence[Record] = ()
    resume: Path | None = None

    @classmethod
    def load(cls, checkpoint: Path) -> Plan:
        """The plan that was interrupted, from the file beside its checkpoint.

        Raises:
            OSError: there is no such file.
            ValueError: it is not a plan.
        """
        for path in (checkpoint, _beside(checkpoint)):
            if not path.is_file():
                raise FileNotFoundError(f"--resume {checkpoint} needs the file {path}, and it is not there")
        try:
            found = json.loads(_beside(checkpoint).read_text())
            finished = [Record(**record) for record in found["finished"]]
            return cls(Options(**found["options"]), found["samplers"], found["steps"], finished, checkpoint)
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(
                f"{_beside(checkpoint)} does not say what to go on with; pass a file that Ctrl-C wrote"
            ) from error

    def pause(self, interrupted: Interrupted, done: Sequence[Record], out: Path) -> Path:
        """Write the checkpoint of an interrupted job and, beside it, all that is needed to go on."""
        path = out / f"{interrupted.job.key}.checkpoint.safetensors"
        interrupted.solution.checkpoint.save(path)
        plan = {
            "options": asdict(self.options),
            "samplers": list(self.samplers)[len(done) - len(self.finished) :],
            "steps": self.steps,
            "finished": [asdict(record) for record in done],
        }
        _beside(path).write_text(json.dumps(plan, indent=2) + "\n")
        return path


def keep(outcome: Outcome, out: Path) -> Record:
    """Draw a job's pictures into `out`, and write its record."""
    job, ahead = outcome.job, outcome.ahead
    pictures = {"digits": f"{job.key}-digits.png", "wavefront": f"{job.key}-wavefront.png"}
    figure = draw_side_by_side(
        images(outcome.sequential.state), images(ahead.state), title=job.name, subtitle=headline(outcome)
    )
    figure.savefig(out / pictures["digits"])
    draw_wavefront(ahead).savefig(out / pictures["wavefront"])
    page = f"## {job.name}\n\n![the digits]({pictures['digits']})\n\n"
    page += format_report(ahead, outcome.sequential).replace("# ", "### ", 1)
    page += f"\n![the wavefront]({pictures['wavefront']})\n"
    return Record(_figures(outcome, pictures), page)


def headline(outcome: Outcome) -> str:
    """Rounds and time in a line."""
    fewer = format_gain(outcome.sequential.rounds / max(outcome.ahead.rounds, 1), "fewer", "more")
    line = f"{outcome.sequential.rounds} rounds in order, {outcome.ahead.rounds} ahead: {fewer}"
    return line if outcome.speed_up is None else f"{line}, {format_gain(outcome.speed_up, 'faster', 'slower')}"


def images(state: Tensor) -> Tensor:
    """Digits `(B, 64)` as pictures `(B, 8, 8)`."""
    return state.reshape(-1, 8, 8).float().cpu()


def write(out: Path, machine: Mapping[str, str], options: Options, records: Sequence[Record]) -> None:
    """`summary.json` for programs and `report.md` for people."""
    summary = {"machine": machine, "options": asdict(options), "jobs": [record.figures for record in records]}
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    facts = "\n".join(f"- {name}: {value}" for name, value in {**machine, **asdict(options)}.items())
    pages = "\n".join(record.page for record in records)
    (out / "report.md").write_text(f"# Digits, in order and ahead\n\n{facts}\n\n{pages}")


def _figures(outcome: Outcome, pictures: dict[str, str]) -> dict[str, Any]:
    sequential, ahead, resumed = outcome.sequential, outcome.ahead, outcome.resumed
    return {
        "job": outcome.job.name,
        "in_order": {
            "rounds": sequential.rounds,
            "evaluations": sequential.evaluations,
            "seconds": sequential.seconds.total,
        },
        "ahead": {
            "rounds": ahead.rounds,
            "evaluations": ahead.evaluations,
            "inflation": ahead.inflation,
            "seconds": None if resumed else ahead.seconds.total,
            "split": None if resumed else asdict(ahead.seconds),
        },
        "deviation": {**asdict(outcome.deviation), "estimate": ahead.deviation_estimate},
        "speed_up": {"rounds": sequential.rounds / max(ahead.rounds, 1), "time": outcome.speed_up},
        "status": ahead.status.value,
        "notes": list(ahead.notes),
        "pictures": pictures,
    }


def _beside(checkpoint: Path) -> Path:
    return checkpoint.with_suffix(".json")
