"""The table of quirks is about schedulers that diffusers has, and no other file looks at them."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from diffusers import schedulers
from diffusion import scheduler_matrix as matrix

import forerun.diffusion
from forerun.diffusion.schedulers import quirks
from forerun.diffusion.schedulers.quirks import PREDICTION_RULES, PredictionRule, SchedulerFact

FACTS = {name: value for name, value in vars(quirks).items() if isinstance(value, SchedulerFact)}
SOURCE = Path(forerun.diffusion.__file__).parent
LOOK_UPS = re.compile(r"scheduler\.config|(getattr|hasattr)\((type\()?(self\.)?_?scheduler\b")


@pytest.fixture(autouse=True, scope="module")
def no_warnings() -> Iterator[None]:
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def every_scheduler() -> list[object]:
    return [getattr(schedulers, name)() for name in matrix.names() if name not in matrix.NOT_COVERED]


@pytest.mark.parametrize("name", FACTS)
def test_every_fact_is_of_some_scheduler(name: str, every_scheduler: list[object]) -> None:
    fact = FACTS[name]
    assert fact.why
    holders = [scheduler for scheduler in every_scheduler if holds(fact, scheduler)]
    assert holders
    others = [scheduler for scheduler in every_scheduler if scheduler not in holders]
    assert all(fact.read(scheduler) == fact.default for scheduler in others)


def holds(fact: SchedulerFact, scheduler: object) -> bool:
    return fact.name in scheduler.config if fact.configured else hasattr(scheduler, fact.name)


@pytest.mark.parametrize("rule", PREDICTION_RULES, ids=lambda rule: rule.kind)
def test_every_rule_is_about_some_scheduler(rule: PredictionRule, every_scheduler: list[object]) -> None:
    assert any(rule.holds(scheduler) for scheduler in every_scheduler)
    assert not all(rule.holds(scheduler) for scheduler in every_scheduler)
    assert rule.why


def test_no_other_file_looks_at_a_scheduler() -> None:
    lines = [
        f"{path.name}:{number} {line.strip()}"
        for path in SOURCE.rglob("*.py")
        if path.name != "quirks.py"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if LOOK_UPS.search(line)
    ]
    assert not lines, "\n".join(["move these into schedulers/quirks.py:", *lines])


def test_no_file_reads_source_text() -> None:
    readers = [path.name for path in SOURCE.rglob("*.py") if "getsource" in path.read_text()]
    assert not readers
