"""Studies run in full, and the gallery written: `python -m forerun.studies docs/studies`, or some of them by name."""

from __future__ import annotations

import argparse
from pathlib import Path

from forerun.studies.discovery import StudyEntry, find_studies
from forerun.studies.gallery import write_gallery
from forerun.studies.results import judge_again, load_result, run_study, save_result


def run_and_save(entry: StudyEntry, folder: Path) -> None:
    """Run a study in full; write its result and its picture."""
    result = run_study(entry, "full")
    save_result(entry, result, folder)
    print(f"{entry.name}: {result.summary}, in {result.minutes:.0f} minutes", flush=True)


def judge_and_save(entry: StudyEntry, folder: Path) -> None:
    """Hold the saved figures of a study against its claims as they are now; write its result and its picture."""
    result = load_result(entry.name, folder / "results")
    if result is not None:
        save_result(entry, judge_again(entry, result), folder)


def main() -> None:
    """Run what is asked for, and write the pages of all."""
    parser = argparse.ArgumentParser(prog="python -m forerun.studies", description=__doc__)
    parser.add_argument("folder", type=Path, help="where results, pictures and pages go, such as docs/studies")
    parser.add_argument("names", nargs="*", help="of studies; all of them where none is given")
    parser.add_argument("--pages", action="store_true", help="run nothing: judge, draw and write the saved figures")
    arguments = parser.parse_args()
    studies = find_studies()
    for name in arguments.names or studies:
        if arguments.pages:
            judge_and_save(studies[name], arguments.folder)
        else:
            run_and_save(studies[name], arguments.folder)
    for path in write_gallery(studies, arguments.folder):
        print(path)


if __name__ == "__main__":
    main()
