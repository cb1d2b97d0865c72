"""The plan of `forerun digits`: which jobs are to run, and which were finished before an interrupt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from forerun.cli import words
from forerun.cli.digits.job import DigitsJob, DigitsOptions, prepare_digits
from forerun.cli.kit.output_files import read_resume_record, unusable_record, write_resume_record
from forerun.engine.checkpoint import Checkpoint


@dataclass(frozen=True)
class DigitsRecord:
    """A finished job in plain values: its figures, and its page of the report."""

    figures: dict[str, Any]
    page: str


@dataclass(frozen=True)
class DigitsPlan:
    """What is to be done: the jobs by their sampler, and those finished before an interrupt.

    Attributes:
        options: of all jobs.
        samplers: words of the samplers to run, in order.
        steps: of the sampler; None for its usual number.
        finished: records of the jobs before.
        resume: checkpoint of the first of `samplers`.
    """

    options: DigitsOptions
    samplers: Sequence[str]
    steps: int | None = None
    finished: Sequence[DigitsRecord] = ()
    resume: Path | None = None

    @classmethod
    def load(cls, checkpoint: Path) -> DigitsPlan:
        """Return the plan that was interrupted, from the file beside its checkpoint.

        Raises:
            OSError: there is no such file.
            ValueError: it is not a plan.
        """
        content = read_resume_record(checkpoint)
        try:
            return cls(
                options=DigitsOptions(**content["options"]),
                samplers=content["samplers"],
                steps=content["steps"],
                finished=[DigitsRecord(**record) for record in content["finished"]],
                resume=checkpoint,
            )
        except (KeyError, TypeError) as error:
            raise unusable_record(checkpoint) from error

    def prepare_jobs(self) -> list[DigitsJob]:
        """Return the jobs, ready to run.

        Raises:
            ValueError: an option makes no sense.
        """
        if self.steps is not None and len(self.samplers) > 1:
            choices = " or ".join(f"--sampler {word}" for word in words.DIGITS_SAMPLERS)
            raise ValueError(f"--steps belongs to one sampler; add {choices}")
        samplers = [words.choose_word(word, words.DIGITS_SAMPLERS, "--sampler") for word in self.samplers]
        return [prepare_digits(sampler, self.steps, self.options) for sampler in samplers]

    def save(self, path: Path, checkpoint: Checkpoint, records: Sequence[DigitsRecord]) -> None:
        """Write the checkpoint of an interrupted job and, beside it, all that is needed to go on."""
        checkpoint.save(path)
        newly_finished = len(records) - len(self.finished)
        content = {
            "options": asdict(self.options),
            "samplers": list(self.samplers)[newly_finished:],
            "steps": self.steps,
            "finished": [asdict(record) for record in records],
        }
        write_resume_record(path, content)
