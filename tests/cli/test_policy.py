"""`forerun policy` and `forerun train-policy`: from demonstrations to a moving arm."""

import json
import re

import pytest
from typer.testing import CliRunner

pytest.importorskip("metaworld", reason="Meta-World is not installed: pip install 'forerun[robots]'")
pytest.importorskip("mujoco", reason="MuJoCo is not installed: pip install 'forerun[robots]'")

from forerun.cli import words
from forerun.cli.app import app
from forerun.worlds.robots import arm, tasks, video
from forerun.worlds.robots.policy import ChunkPolicy


def forerun_(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def flat(result):
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A policy of the command, hardly trained."""
    folder = tmp_path_factory.mktemp("trained")
    line = ("train-policy", "push", "--out", folder / "policy", "--work", folder / "work")
    result = forerun_(*line, "--demonstrations", 2, "--steps", 6, "--seed", 3)
    assert result.exit_code == 0, result.output
    return folder, result


def test_training_writes_a_policy_and_says_how_to_run_it(trained):
    folder, result = trained
    assert "push: 2 of 2 demonstrations" in result.output
    assert f"forerun policy push --policy {folder}/policy" in flat(result)
    policy = ChunkPolicy.load(folder / "policy")
    assert policy.shape.observed == 25
    about = json.loads((folder / "policy" / "config.json").read_text())["training"]
    assert about["command"] == "forerun train-policy push --demonstrations 2 --steps 6 --seed 3"
    assert about["seed"] == 3


def test_a_policy_runs_in_order_and_ahead(trained, tmp_path):
    out = tmp_path / "figures"
    result = forerun_("policy", "push", "--policy", trained[0] / "policy", "--episodes", 1, "--steps", 10, "--out", out)
    assert result.exit_code == 0, result.output
    found = json.loads((out / "summary.json").read_text())
    assert found["in order"]["rounds"] == 10
    assert len(found["warm"]["episodes"]) == 1
    assert found["warm"]["evaluations"] >= found["warm"]["rounds"]
    assert found["warm"]["median"] <= found["warm"]["slowest"]
    assert re.search(r"warm\s+\d/1", result.output)


@pytest.mark.parametrize("mode, options", [("exact", ("--check",)), ("rti", ()), ("deadline", ("--deadline", 1000))])
def test_the_shipped_policy_does_its_task(mode, options, tmp_path):
    out = tmp_path / "figures"
    line = ("policy", "pick-place", "--mode", mode, "--episodes", 2, "--no-compare", "--out", out)
    result = forerun_(*line, *options)
    assert result.exit_code == 0, result.output
    found = json.loads((out / "summary.json").read_text())
    assert set(found) == {"task", "options", mode, "machine"}
    assert found[mode]["success"] == 1
    assert found[mode]["rounds"] < 15
    assert found[mode]["evaluations"] < 500


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("policy", "juggle"), "there is no task juggle; choose from pick-place, pillar, peg-insert, push"),
        (("policy", "push"), "no policy of push comes with forerun; type: forerun train-policy push --out my-policy"),
        (("train-policy", "juggle"), "there is no task juggle"),
        (("policy", "push", "--mode", "fast"), "--mode fast is not known; choose from exact, warm, deadline, rti"),
        (("policy", "pick-place", "--steps", 101), "type --steps 100, or fewer"),
        (("policy", "pick-place", "--executed", 17), "type --executed 8"),
        (("policy", "pick-place", "--scheduler", "euler"), "choose from ddpm, ddim"),
        (("policy", "push", "--policy", "nowhere"), "forerun train-policy"),
        (("policy", "pick-place", "--video", "arm.avi"), "name it arm.mp4 or arm.gif"),
        (("train-policy", "push", "--network", "huge"), "choose from small, medium, large, unet"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(map(str, value)),
)
def test_bad_input_ends_with_a_line(arguments, said):
    result = forerun_(*arguments)
    assert result.exit_code == 2, result.output
    assert said in flat(result)


def test_a_policy_of_another_task_is_refused(trained):
    result = forerun_("policy", "pillar", "--policy", trained[0] / "policy")
    assert result.exit_code == 2
    assert "sees 25 numbers, but pillar shows 27" in flat(result)


def test_without_meta_world_the_line_to_type_is_said(monkeypatch):
    monkeypatch.setattr(words, "find_spec", lambda name: None)
    result = forerun_("policy", "push")
    assert result.exit_code == 2
    assert "pip install 'forerun[robots]'" in flat(result)


def test_without_osmesa_there_is_no_video_and_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(arm.ctypes.util, "find_library", lambda name: None)
    line = ("policy", "pick-place", "--episodes", 1, "--no-compare", "--steps", 10, "--video", tmp_path / "arm.gif")
    result = forerun_(*line, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert "apt-get install libosmesa6" in flat(result)
    assert not (tmp_path / "arm.gif").exists()


@pytest.mark.skipif(arm.ctypes.util.find_library("OSMesa") is None, reason="OSMesa is not installed")
@pytest.mark.parametrize("kind", ["gif", "mp4"])
def test_a_video_shows_the_arm_move(kind, tmp_path):
    import numpy as np

    path = tmp_path / f"arm.{kind}"
    if kind == "mp4":
        imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    video.check_video(path, tasks.PILLAR)
    environment, recorder = tasks.PILLAR.environment(), video.VideoRecorder(every=5, width=64, height=48, max_frames=2)
    environment.reset(0)
    for _ in range(20):
        environment.step(np.array([1.0, 1.0, 0.0, 0.0]))
        recorder.record_step(environment)
    assert len(recorder.frames) == 2
    assert np.abs(recorder.frames[0].astype(float) - recorder.frames[1]).max() > 50
    recorder.save(path)
    if kind == "mp4":
        assert imageio_ffmpeg.count_frames_and_secs(str(path))[0] == 2
    else:
        from PIL import Image

        with Image.open(path) as picture:
            assert picture.n_frames == 2
            assert picture.size == (64, 48)
