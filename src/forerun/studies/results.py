"""Results of studies: figures and verdicts of a run, with where and when, as one JSON file each."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from forerun.studies.discovery import StudyEntry
from forerun.studies.environment import describe_environment
from forerun.studies.study import ClaimVerdict, Figures, Scale

PACKAGED_RESULTS = Path(__file__).parent / "results"  # in an installed package
COMMITTED_RESULTS = Path(__file__).parents[3] / "docs" / "studies" / "results"  # in a checkout


@dataclass(frozen=True)
class StudyResult:
    """What a run of a study came to.

    Attributes:
        name: of the study.
        scale: quick or full.
        figures: by name.
        verdicts: every claim beside what came out.
        engine: what running ahead added, in words.
        deviates: what was not the paper's setting.
        minutes: that it took, here.
        environment: date, device, processor, versions.
    """

    name: str
    scale: Scale
    figures: Figures
    verdicts: tuple[ClaimVerdict, ...]
    engine: str
    deviates: str
    minutes: float
    environment: dict[str, str]

    @property
    def held_claims(self) -> int:
        """How many claims hold."""
        return sum(verdict.holds for verdict in self.verdicts)

    @property
    def summary(self) -> str:
        """How many claims hold, in words."""
        if self.held_claims == len(self.verdicts):
            return f"all {len(self.verdicts)} claims hold"
        return f"{self.held_claims} of {len(self.verdicts)} claims hold"

    def save(self, path: Path) -> None:
        """Write the result as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")


def run_study(entry: StudyEntry, scale: Scale) -> StudyResult:
    """Run a study, and hold its claims against what comes out; one that does not hold is a result too."""
    begin = time.perf_counter()
    torch.manual_seed(0)
    figures = dict(entry.study.run(scale))
    minutes = round((time.perf_counter() - begin) / 60, 1)
    return judge_figures(entry, scale, figures, minutes=minutes, environment=describe_environment())


def judge_figures(
    entry: StudyEntry, scale: Scale, figures: Figures, *, minutes: float, environment: dict[str, str]
) -> StudyResult:
    """Return the result of a study for figures of a run, as its claims and sentences are now."""
    return StudyResult(
        name=entry.name,
        scale=scale,
        figures=figures,
        verdicts=entry.study.judge(figures),
        engine=entry.study.engine.format_map(figures),
        deviates=entry.study.deviates.format_map(figures),
        minutes=minutes,
        environment=environment,
    )


def judge_again(entry: StudyEntry, result: StudyResult) -> StudyResult:
    """Return a saved result with the claims and sentences of its study as they are now."""
    return judge_figures(entry, result.scale, result.figures, minutes=result.minutes, environment=result.environment)


def load_result(name: str, folder: Path | None = None) -> StudyResult | None:
    """Return a result that was saved; None where there is none.

    Args:
        name: of the study.
        folder: where results are; None for those that were committed.
    """
    path = (folder or results_folder()) / f"{name}.json"
    if not path.exists():
        return None
    fields = json.loads(path.read_text())
    fields["verdicts"] = tuple(ClaimVerdict(**verdict) for verdict in fields["verdicts"])
    return StudyResult(**fields)


def results_folder() -> Path:
    """Return where the committed results are."""
    return PACKAGED_RESULTS if PACKAGED_RESULTS.exists() else COMMITTED_RESULTS


def save_result(entry: StudyEntry, result: StudyResult, folder: Path) -> list[Path]:
    """Write the figures and verdicts of a study as JSON, and its picture; return both paths."""
    path = folder / "results" / f"{entry.name}.json"
    result.save(path)
    picture = folder / "pictures" / f"{entry.name}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    entry.study.draw(result.figures).savefig(picture)
    return [picture, path]
