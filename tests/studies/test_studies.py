"""Every study: found, complete, run in quick within its budget, its stable claims held, its page as committed."""

import json
import subprocess
import sys
import time
from pathlib import Path

import house
import pytest
from house import MODULES, ROOT
from typer.testing import CliRunner

from forerun.cli import study as command
from forerun.studies import Claim, Study, StudyEntry, find_studies, load_result, run_study
from forerun.studies.equal_deviation import geometric_grid, loosest_tolerance, ratio_range
from forerun.studies.gallery import gallery_pages

# Seconds of processor time that the quick run of each study may take; all together less than four minutes.
BUDGETS = {
    "trainability_fractal": 4,
    "periodic_activation": 4,
    "two_point_escape": 4,
    "incremental_learning": 4,
    "givens_rotations": 4,
    "refined_schedules": 5,
    "schedule_free": 4,
    "coordinate_quantisation": 4,
    "paradigms": 30,
    "dynamics_of_acceleration": 15,
    "template_estimation": 30,
    "local_minimax": 15,
    "halpern_infeasibility": 6,
    "iterate_to_accelerate": 6,
    "learning_to_relax": 6,
    "iterative_operators": 10,
    "neural_pcg": 8,
    "lie_characters": 4,
    "markoff_orbits": 4,
    "apery_series": 4,
    "newman_rankings": 8,
    "mathieu_moments": 4,
    "paradise_fish": 8,
    "learners_languages": 4,
    "stable_rationality": 4,
    "approximate_singularities": 8,
    "flat_matrix_models": 6,
    "landau_determinants": 4,
    "radial_atoms": 4,
}
MAX_SECONDS = 240
MAX_LINES = 150
MAX_TEXT = 120  # of a figure that is a string

STUDIES = find_studies()
PAGES = ROOT / "docs" / "studies"
every_study = pytest.mark.parametrize("name", STUDIES)


def incomplete(entry, folder=PAGES, budgets=BUDGETS):
    """What a study lacks, in words."""
    name, lacks = entry.name, []
    path = Path(sys.modules[entry.module].__file__) if entry.module in sys.modules else None
    if path is not None and len(path.read_text().splitlines()) > MAX_LINES:
        lacks.append(f"{path.name} has more than {MAX_LINES} lines: move its algorithm into the library")
    if not 1 <= entry.study.number <= 71:
        lacks.append(f"{name} has the number {entry.study.number}: give that of its abstract, 1 to 71")
    if not entry.study.claims:
        lacks.append(f"{name} has no claims: say what the paper claims, and which figures show it")
    if name not in budgets:
        lacks.append(f"{name} has no budget: add its seconds to BUDGETS in tests/studies/test_studies.py")
    if load_result(name, folder / "results") is None:
        lacks.append(f"{name} has no result: type `python -m forerun.studies docs/studies {name}`")
    if not (folder / "pictures" / f"{name}.png").exists():
        lacks.append(f"{name} has no picture: type `python -m forerun.studies docs/studies {name} --pages`")
    return lacks


@every_study
def test_a_study_is_complete(name):
    assert not incomplete(STUDIES[name])


def test_numbers_are_unique_and_budgets_are_kept_together():
    numbers = [entry.study.number for entry in STUDIES.values()]
    assert len(set(numbers)) == len(numbers)
    assert set(BUDGETS) <= set(STUDIES), "a budget is left of a study that is gone"
    assert sum(BUDGETS.values()) <= MAX_SECONDS


@every_study
def test_a_quick_run_keeps_its_budget_and_its_stable_claims(name):
    entry = STUDIES[name]
    begin = time.process_time()
    result = run_study(entry, "quick")
    assert time.process_time() - begin <= BUDGETS[name]
    check_figures(result.figures)
    json.dumps(dict(result.figures))
    for claim, verdict in zip(entry.study.claims, result.verdicts, strict=True):
        assert verdict.here
        assert verdict.holds or not claim.stable, f"{claim.sentence}: {verdict.here}"
    figure = entry.study.draw(result.figures)
    assert figure.get_axes()


def check_figures(figures):
    """A flat dict of numbers and short strings."""
    for name, value in figures.items():
        assert isinstance(value, int | float | str), f"the figure {name!r} is {value!r}: give a number or a string"
        assert not isinstance(value, str) or len(value) <= MAX_TEXT, f"the figure {name!r} is a long string"


@every_study
def test_the_committed_result_is_one_of_the_study_as_it_is(name):
    """A claim that was changed after the run is judged again by the figures that were saved."""
    result = load_result(name, PAGES / "results")
    study = STUDIES[name].study
    assert result.scale == "full"
    assert {"date", "device", "processor", "versions"} <= result.environment.keys()
    assert result.verdicts == study.judge(result.figures), "the claims have changed: run the study again"
    assert result.engine == study.engine.format_map(result.figures)
    assert result.deviates == study.deviates.format_map(result.figures)


def test_the_pages_are_those_of_the_studies_and_their_results():
    for page, text in gallery_pages(STUDIES, PAGES):
        committed = PAGES / page
        assert committed.exists(), f"{page} is missing: type `python -m forerun.studies docs/studies --pages`"
        assert committed.read_text() == text, f"{page} is old: type `python -m forerun.studies docs/studies --pages`"


def test_listing_studies_imports_no_extra():
    code = "import sys; from forerun.studies import find_studies; find_studies(); print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    loaded = house.optional_modules() & set(ran.stdout.split())
    assert loaded <= {"numpy"}, "import third-party libraries inside run() and draw()"


def test_every_file_of_a_group_is_found():
    files = [module for module in MODULES.values() if module.folder == "studies" and module.name.count(".") == 2]
    names = {module.name.split(".")[-1] for module in files if not module.is_package}
    assert {name for name in names if not name.startswith("_")} == set(STUDIES)


# The machinery, on a study made up.


def made_up():
    claims = (
        Claim("ebb follows flow", "twice a day", "{tides} tides", lambda figures: figures["tides"] == 2),
        Claim("there is no moon", "ours", "{moons:.1f} moons", lambda figures: figures["moons"] == 0),
    )
    return Study(
        number=71,
        title="Tides",
        paper="Moon (2026)",
        claims=claims,
        run=lambda scale: {"tides": 2, "moons": 1.0},
        draw=lambda figures: drawn(),
        engine="Nothing: {tides} tides wait for nobody.",
        deviates="A small sea.",
    )


def drawn():
    from forerun.view.canvas import new_axes, root_figure

    axes = new_axes(3, 2)
    axes.plot([0, 1], [1, 0])
    return root_figure(axes)


ENTRY = StudyEntry("tides", "sea", made_up())


def test_a_claim_that_does_not_hold_is_a_result(tmp_path):
    result = run_study(ENTRY, "quick")
    assert [verdict.holds for verdict in result.verdicts] == [True, False]
    assert result.verdicts[1].here == "1.0 moons"
    assert result.summary == "1 of 2 claims hold"
    assert result.engine == "Nothing: 2 tides wait for nobody."
    result.save(tmp_path / "tides.json")
    assert load_result("tides", tmp_path) == result
    assert load_result("ebb", tmp_path) is None


def test_what_a_study_lacks_is_said_in_words(tmp_path):
    lacks = incomplete(ENTRY, tmp_path, {})
    assert [sentence.split(":")[0] for sentence in lacks] == [
        "tides has no budget",
        "tides has no result",
        "tides has no picture",
    ]


def test_a_figure_that_a_claim_wants_and_does_not_get_is_an_error():
    with pytest.raises(KeyError, match="moons"):
        made_up().judge({"tides": 2})


def test_the_command_lists_and_runs_and_writes(tmp_path, monkeypatch):
    from forerun.cli.app import app

    monkeypatch.setattr(command, "find_studies", lambda: {"tides": ENTRY})
    monkeypatch.setenv("COLUMNS", "200")
    listed = CliRunner().invoke(app, ["study"])
    assert "tides" in listed.output
    assert "not run yet" in listed.output
    ran = CliRunner().invoke(app, ["study", "tides", "--out", str(tmp_path)])
    assert ran.exit_code == 0, ran.output
    assert "1 of 2 claims hold" in ran.output
    assert (tmp_path / "pictures" / "tides.png").stat().st_size > 1000
    assert json.loads((tmp_path / "results" / "tides.json").read_text())["figures"] == {"tides": 2, "moons": 1.0}
    assert "| there is no moon | ours | 1.0 moons | **no** |" in (tmp_path / "tides.md").read_text()
    wrong = CliRunner().invoke(app, ["study", "tide"])
    assert wrong.exit_code == 2


def test_a_wrong_name_gets_a_close_one():
    with pytest.raises(ValueError, match="no study called tide; did you mean tides"):
        command.find_entry({"tides": ENTRY}, "tide")


def test_the_gallery_has_a_card_for_a_study_that_was_not_run(tmp_path):
    pages = dict(gallery_pages({"tides": ENTRY}, tmp_path))
    assert "**[Tides](tides.md)**" in pages["index.md"]
    assert "Not run yet" in pages["tides.md"]


# Rivals at equal deviation.


@pytest.mark.parametrize("threshold", [0.9, 0.3, 0.05, 0.011])
def test_the_loosest_tolerance_is_found(threshold):
    grid = geometric_grid(1.0, ratio=0.7, count=12)
    best = max(size for size in grid if size <= threshold) if threshold >= grid[-1] else None
    assert loosest_tolerance(lambda size: size <= threshold, grid) == best


def test_a_look_finds_a_looser_tolerance_that_keeps_the_bound_by_chance():
    grid = [8.0, 4.0, 2.0, 1.0]
    assert loosest_tolerance(lambda size: size in {4.0, 1.0}, grid) == 4.0


def test_ratios_are_taken_over_all_cases():
    figures = {"rounds, a, x": 2, "rounds, a, y": 4, "rounds, b, x": 3, "rounds, b, y": 4, "deviation, a, x": 1}
    assert ratio_range(figures, "rounds", "x", "y") == {"smallest rounds, x / y": 0.5, "largest rounds, x / y": 0.75}
