"""The files that a command leaves: a summary in JSON, and what an interrupted run needs to go on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SUMMARY_NAME = "summary.json"


def make_folders(*folders: Path | None) -> None:
    """Make the folders that are written to; None stands for one that is not asked for."""
    for folder in folders:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file that reads well."""
    path.write_text(json.dumps(content, indent=2) + "\n")


def write_summary(
    out: Path,
    *,
    machine: Mapping[str, str],
    options: Mapping[str, Any],
    jobs: Sequence[Mapping[str, Any]],
) -> None:
    """Write `summary.json`: the machine, the options, and the figures of all jobs."""
    summary = {
        "machine": machine,
        "options": options,
        "jobs": list(jobs),
    }
    write_json(out / SUMMARY_NAME, summary)


def resume_record_path(checkpoint: Path) -> Path:
    """Return the file beside a checkpoint that says what the run was asked for."""
    return checkpoint.with_suffix(".json")


def write_resume_record(checkpoint: Path, record: Mapping[str, Any]) -> None:
    """Write what a run was asked for beside its checkpoint."""
    write_json(resume_record_path(checkpoint), record)


def read_resume_record(checkpoint: Path) -> dict[str, Any]:
    """Return what an interrupted run was asked for, from the file beside its checkpoint.

    Raises:
        FileNotFoundError: the checkpoint or the file beside it is missing.
        ValueError: the file is not JSON.
    """
    record = resume_record_path(checkpoint)
    for path in (checkpoint, record):
        if not path.is_file():
            raise FileNotFoundError(f"--resume {checkpoint} needs the file {path}, and it is not there")
    try:
        content: dict[str, Any] = json.loads(record.read_text())
    except json.JSONDecodeError as error:
        raise unusable_record(checkpoint) from error
    return content


def unusable_record(checkpoint: Path) -> ValueError:
    """Return the error for a file beside a checkpoint that lacks what a run needs."""
    return ValueError(
        f"{resume_record_path(checkpoint)} does not say what to go on with; pass a file that an interrupted run wrote"
    )


def remove_checkpoint(checkpoint: Path) -> None:
    """Remove a checkpoint and the file beside it, if they are there."""
    for path in (checkpoint, resume_record_path(checkpoint)):
        path.unlink(missing_ok=True)
