"""What is shown while a run goes on."""

import logging

import pytest
import torch

from forerun import Absolute, Bar, Process, Sequential, Sliding, solve
from forerun.engine.progress import Log, Silent
from forerun.engine.rounds import Round, RoundTiming

PROCESS = Process.from_step(lambda i, x: torch.sin(x) + 0.1 * i, 30)
STATE = torch.linspace(-1, 1, 4, dtype=torch.float64)


def entry(start, stop, accepted, seconds=0.1):
    return Round(start, stop, accepted, (0.0,) * (stop - start), 1e-3, 1, stop - start, RoundTiming(evaluate=seconds))


def test_silence(capfd):
    solve(PROCESS, STATE, progress=Silent())
    assert capfd.readouterr() == ("", "")


def test_the_bar_counts_accepted_steps(capfd):
    solve(PROCESS, STATE, window=Sliding(8), progress=Bar())
    shown = capfd.readouterr().err
    assert "30/30" in shown
    assert "steps a round" in shown
    assert "100%" in shown


def test_the_bar_begins_where_a_run_is_resumed(capfd):
    part = solve(PROCESS, STATE, window=Sliding(8), callback=lambda event: event.step >= 10)
    capfd.readouterr()
    solve(PROCESS, STATE, window=Sliding(8), progress=Bar(), resume=part.checkpoint)
    assert f"{part.step}/30" in capfd.readouterr().err


def test_the_bar_goes_back_with_the_run(capfd):
    with Bar().track(0, 30) as report:
        for each in (entry(0, 30, 30), entry(4, 30, 2), entry(6, 30, 24)):
            report(each)
    shown = capfd.readouterr().err
    assert "30/30" in shown
    assert "31/30" not in shown


def test_the_bar_tells_the_speed_up_once_it_saw_a_warm_single_step(capfd):
    with Bar().track(0, 21) as report:
        report(entry(0, 1, 1, seconds=5.0))
        report(entry(1, 2, 1, seconds=1.0))
        report(entry(2, 21, 19, seconds=1.0))
    assert "speed-up 3.0x" in capfd.readouterr().err  # 21 steps of 1 s in 7 s


def test_the_bar_is_closed_when_the_run_fails(capfd):
    broken = Process.from_step(lambda i, x: x[:2], 30, batched=True)
    with pytest.raises(ValueError, match=r"axis of \d+ steps"):
        solve(broken, torch.ones(5), window=Sliding(8), progress=Bar(leave=False))
    assert capfd.readouterr().err.endswith("\r")


def test_a_log_has_a_line_a_round(caplog):
    logger = logging.getLogger("forerun.test")
    with caplog.at_level(logging.INFO, logger="forerun.test"):
        found = solve(PROCESS, STATE, window=Sliding(8), tolerance=Absolute(1e-6), progress=Log(logger))
    assert len(caplog.messages) == len(found.log)
    assert caplog.messages[0].startswith("step 0 of 30: accepted 1 of 1, 1 rounds, 1.0 steps a round, speed-up ?")


def test_the_log_goes_to_forerun_unless_told_otherwise(caplog):
    with caplog.at_level(logging.INFO, logger="forerun"):
        solve(PROCESS, STATE, method=Sequential(), progress=Log())
    assert {record.name for record in caplog.records} == {"forerun"}
