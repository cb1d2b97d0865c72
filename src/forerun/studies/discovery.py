"""Discovery of studies: every module of a group that has a STUDY, found by walking the package."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from forerun.studies.study import Study


@dataclass(frozen=True)
class StudyEntry:
    """A study and where it stands.

    Attributes:
        name: of its file, which is typed after `forerun study`.
        group: the folder that it stands in.
        study: what it does.
    """

    name: str
    group: str
    study: Study

    @property
    def module(self) -> str:
        """The name to import."""
        return f"forerun.studies.{self.group}.{self.name}"


def find_studies() -> dict[str, StudyEntry]:
    """Return all studies by name, in the order of their numbers.

    Raises:
        TypeError: a module of a group has no `STUDY`.
        ValueError: two studies have the same name.
    """
    entries = sorted(_entries(), key=lambda entry: (entry.study.number, entry.name))
    studies: dict[str, StudyEntry] = {}
    for entry in entries:
        if entry.name in studies:
            raise ValueError(f"{entry.module} and {studies[entry.name].module} have the same name; rename one of them")
        studies[entry.name] = entry
    return studies


def _entries() -> Iterator[StudyEntry]:
    root = Path(__file__).parent
    for group in iter_modules([str(root)]):
        if not group.ispkg:
            continue
        for module in iter_modules([str(root / group.name)]):
            if not module.name.startswith("_"):
                yield _entry(group.name, module.name)


def _entry(group: str, name: str) -> StudyEntry:
    module = import_module(f"forerun.studies.{group}.{name}")
    study = getattr(module, "STUDY", None)
    if not isinstance(study, Study):
        raise TypeError(f"{module.__name__} has no study; write STUDY = Study(number=..., title=..., ...) in it")
    return StudyEntry(name, group, study)
