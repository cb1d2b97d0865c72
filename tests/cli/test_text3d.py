import json

import pytest
from typer.testing import CliRunner

from forerun.cli.app import app
from forerun.view.pictures import save_animation

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
image = pytest.importorskip("PIL.Image")

SMALL = ("--steps", "24", "--size", "16", "--threads", "1")


def text3d(*arguments):
    return CliRunner().invoke(app, ["text3d", *map(str, arguments)])


@pytest.fixture(scope="module", autouse=True)
def few():
    """A turntable of few frames."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("forerun.cli.text3d.files.TURNTABLE_FRAMES", 6)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("cone")
    result = text3d("a yellow cone", *SMALL, "--compare", "--out", out)
    assert result.exit_code == 0, result.output
    return out, result.output


def test_the_figures_are_of_both_runs(made):
    job = json.loads((made[0] / "summary.json").read_text())["jobs"][0]
    assert job["prompt"] == "a yellow cone"
    assert job["ahead"]["steps"] == 24
    assert job["ahead"]["rounds"] < 24 <= job["ahead"]["evaluations"]
    assert job["deviation"]["estimate"] is None
    assert "--compare measures it" in made[1]
    assert job["in_order"]["likeness"] > 25
    assert job["ahead"]["quality"] == pytest.approx(job["in_order"]["quality"], abs=1)
    assert f"{job['ahead']['rounds']} for 24 steps" in made[1]


def test_pictures_and_a_turntable(made):
    with image.open(made[0] / "turntable.gif") as turntable:
        assert turntable.size == (128, 128)
        assert turntable.n_frames == 6
    with image.open(made[0] / "view-01.png") as view:
        assert len(view.convert("RGB").getcolors(1 << 15)) > 50
    assert (made[0] / "views.png").is_file()
    files = json.loads((made[0] / "summary.json").read_text())["jobs"][0]["files"]
    assert all((made[0] / name).is_file() for name in files)
    assert not list(made[0].glob("*checkpoint*"))


def test_the_mesh_is_coloured_and_there(made):
    trimesh = pytest.importorskip("trimesh")
    pytest.importorskip("skimage")
    for name in ("mesh.glb", "mesh.ply"):
        mesh = trimesh.load(made[0] / name, force="mesh")
        red, green, blue, _ = mesh.visual.vertex_colors.mean(0)
        assert min(red, green) > blue
        assert mesh.volume > 0.02


def test_an_unknown_prompt_lists_what_is_known(tmp_path):
    result = text3d("a purple dragon", "--out", tmp_path / "dragon")
    assert result.exit_code == 2
    assert "snowman" in result.stderr
    assert "purple" in result.stderr
    assert not (tmp_path / "dragon").exists()


@pytest.mark.parametrize(
    "wrong, words",
    [
        (("--method", "magic"), "choose from secant"),
        (("--window", "wide"), "or a number"),
        (("--size", "7"), "an even number of voxels"),
        (("--tolerance", "-1"), "is not a distance"),
    ],
)
def test_wrong_words_end_with_a_line(tmp_path, wrong, words):
    result = text3d("a yellow cone", *wrong, "--out", tmp_path)
    assert result.exit_code == 2
    assert words in result.stderr


def test_an_interrupted_run_goes_on_to_the_same_thing(tmp_path, made, monkeypatch):
    from forerun.worlds.solids.sculpture import Sculpture

    calls, original = [], Sculpture.window_losses

    def interrupted(self, *given):
        calls.append(len(given))  # not the tensors: what keeps a graph alive keeps its shapes
        if len(calls) == 12:  # after the preflight, within the run
            raise KeyboardInterrupt
        return original(self, *given)

    monkeypatch.setattr(Sculpture, "window_losses", interrupted)
    result = text3d("a yellow cone", *SMALL, "--out", tmp_path)
    assert result.exit_code == 130
    assert "of 24 steps are accepted" in result.stdout
    (checkpoint,) = tmp_path.glob("*.safetensors")
    assert f"--resume {checkpoint}" in result.stdout.replace("\n", "")
    assert "is decided by the checkpoint" in text3d("--resume", checkpoint, "--seed", 1).stderr
    result = text3d("--resume", checkpoint, "--out", tmp_path, "--threads", 1)
    assert result.exit_code == 0, result.output
    whole, resumed = (json.loads((out / "summary.json").read_text())["jobs"][0] for out in (made[0], tmp_path))
    assert resumed["ahead"]["quality"] == pytest.approx(whole["ahead"]["quality"], abs=0.05)
    assert resumed["ahead"]["seconds"] is None


def test_what_cannot_be_resumed_is_said(tmp_path):
    result = text3d("--resume", tmp_path / "none.safetensors")
    assert result.exit_code == 2
    assert "is not there" in result.stderr


def test_a_gif_goes_round_in_its_time(tmp_path):
    import torch

    pictures = [torch.full((8, 8, 3), shade, dtype=torch.uint8) for shade in (0, 80, 160, 240)]
    save_animation(pictures, tmp_path / "round.gif", seconds=2.0)
    with image.open(tmp_path / "round.gif") as found:
        assert found.n_frames == 4
        assert found.info["duration"] == 500
