"""The harness of the benchmarks: its tables, its pages and the order of its timings."""

import harness


def test_table_is_aligned_and_keeps_the_order_of_the_columns():
    rows = [
        {"method": "Secant", "rounds": 8, "deviation": 0.0123456},
        {"method": "Picard", "rounds": 11, "note": "copied"},
    ]
    assert harness.table(rows).splitlines() == [
        "| method | rounds | deviation | note   |",
        "| ------ | -----: | --------: | ------ |",
        "| Secant |      8 |    0.0123 |        |",
        "| Picard |     11 |           | copied |",
    ]


def test_table_writes_failures_as_they_are():
    assert "nan" in harness.table([{"deviation": float("nan")}])
    assert "inf" in harness.table([{"deviation": float("inf")}])


def test_environment_says_where_when_and_with_what(monkeypatch):
    monkeypatch.setattr("sys.argv", [str(harness.ROOT / "benchmarks" / "a_claim.py"), "--seed", "1"])
    facts = harness.environment()
    assert list(facts) == ["date", "command", "commit", "device", "processor", "versions"]
    assert all(facts.values())
    assert facts["command"] == "python benchmarks/a_claim.py --seed 1"


def test_commit_is_unknown_outside_a_repository(monkeypatch, tmp_path):
    monkeypatch.setattr(harness, "ROOT", tmp_path)
    assert harness.commit() == "unknown"


def test_write_result_names_the_page_after_the_claim(tmp_path, capsys):
    path = harness.write_result("the_claim_holds", {"One": "text", "Two": "more"}, folder=tmp_path / "results")
    page = path.read_text()
    assert path.name == "the_claim_holds.md"
    assert page.startswith("# the claim holds\n\n- date: ")
    assert page.endswith("## One\n\ntext\n\n## Two\n\nmore\n")
    assert page in capsys.readouterr().out


def test_rivals_are_timed_in_turn():
    calls = []
    ratio = harness.paired_ratio(lambda: calls.append("a") or busy(), lambda: calls.append("b") or busy(), repeats=3)
    assert "".join(calls) == "ab" * 4
    for spread in (ratio.wall, ratio.cpu):
        assert 0 < spread.smallest <= spread.median <= spread.largest


def busy():
    sum(range(100_000))


def test_a_median_takes_one_call_more_than_its_repeats():
    calls = []
    assert harness.median_time(lambda: calls.append(1), repeats=5) >= 0
    assert len(calls) == 6


def test_spread_prints_the_median_and_its_bounds():
    assert str(harness.Spread(1, 1.5, 2)) == "1.50 (1.00 .. 2.00)"
