"""Studies: published systems, each run on a reference problem and held against what was claimed."""

from forerun.studies.discovery import StudyEntry, find_studies
from forerun.studies.results import StudyResult, load_result, run_study
from forerun.studies.study import Claim, ClaimVerdict, Figures, Scale, Study

__all__ = [
    "Claim",
    "ClaimVerdict",
    "Figures",
    "Scale",
    "Study",
    "StudyEntry",
    "StudyResult",
    "find_studies",
    "load_result",
    "run_study",
]
