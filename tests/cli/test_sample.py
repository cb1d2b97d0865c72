import json
import os
import re
import subprocess
import sys
from contextlib import nullcontext
from importlib import resources
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import forerun
from forerun.cli import words
from forerun.cli.app import app
from forerun.cli.sample import ranks
from forerun.engine.progress import Progress

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
Image = pytest.importorskip("PIL.Image")

SHIPPED = resources.files("forerun.worlds.scenes") / "weights"
QUICK = ("--steps", "8")


def sample(*arguments):
    return CliRunner().invoke(app, ["sample", *map(str, arguments)])


def pixels(path):
    image = Image.open(path).convert("RGB")
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(image.height, image.width, 3).int()


def told(out):
    (job,) = json.loads((out / "summary.json").read_text())["jobs"]
    return job


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Two images of a prompt, compared, with the page."""
    out = tmp_path_factory.mktemp("whole")
    arguments = ("a red torus left of a blue cube", "--steps", 14, "--images", 2, "--seed", 3)
    result = sample(*arguments, "--out", out, "--report", out / "page" / "run.html")
    assert result.exit_code == 0, result.output
    return out, result.output


def test_the_images_are_the_pipelines_own_in_fewer_rounds(whole):
    from forerun.cli.sample.options import SHIPPED_GUIDANCE
    from forerun.worlds.scenes.load import load_scenes_pipeline

    out, _ = whole
    pipe = load_scenes_pipeline()
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(3)
    asked = {"num_inference_steps": 14, "num_images_per_prompt": 2, "guidance_scale": SHIPPED_GUIDANCE}
    own = pipe("a red torus left of a blue cube", generator=generator, **asked).images
    for number, image in enumerate(own, 1):
        image.save(out / "own.png")
        assert (pixels(out / f"image-{number}.png") - pixels(out / "own.png")).abs().max() <= 2
    job = told(out)
    assert job["job"] == "DDIM, 14 steps"
    assert job["ahead"]["rounds"] < job["in_order"]["rounds"] == job["in_order"]["evaluations"] == 14
    assert 0 < job["deviation"]["rms"] <= 1e-3
    assert job["deviation"]["pixels"] <= 2
    assert job["speed_up"]["time"] == pytest.approx(job["in_order"]["seconds"] / job["ahead"]["seconds"])


def test_the_table_has_the_figures_of_the_summary_and_80_columns(whole):
    out, printed = whole
    job = told(out)
    (row,) = [line.split() for line in printed.splitlines() if re.match(r" +ahead ", line)]
    assert row[1:3] == [str(job["ahead"]["rounds"]), str(job["ahead"]["evaluations"])]
    assert row[3:6] == [f"{job['deviation'][name]:.1e}" for name in ("largest", "rms", "estimate")]
    assert max(len(line) for line in printed.splitlines() if str(out) not in line) <= 80
    slower = job["speed_up"]["time"] < 1
    assert ("Running ahead was " in printed) == slower
    assert all(name in printed for name in ("a red torus left of a blue cube", "image-2.png", "grid.png", "run.html"))


def test_the_grid_shows_both_runs_and_what_lies_between(whole):
    grid, own = pixels(whole[0] / "grid.png"), pixels(whole[0] / "image-1.png")
    cell = 192
    assert grid.shape == (3 * (cell + 8) + 8, 96 + 2 * (cell + 8), 3)
    ahead = grid[8 + cell + 8 :][: cell : cell // 64, 96 : 96 + cell : cell // 64]
    assert torch.equal(ahead, own)
    assert grid[8 + 2 * (cell + 8) : -8, 96 : 96 + cell].max() <= 20
    assert (grid[:, :88] < 128).any(), "no labels"


def test_the_page_shows_the_images_coming(whole):
    html = (whole[0] / "page" / "run.html").read_text()
    data = json.loads(re.search(r'id="run">(.*?)</script>', html)[1])
    job = told(whole[0])
    assert data["rounds"] == job["ahead"]["rounds"]
    assert [frame["round"] for frame in data["frames"]] == list(range(1, data["rounds"]))
    assert len({source for frame in data["frames"] for source in frame["sources"]}) >= len(data["frames"])
    assert (data["log"][0]["start"], data["log"][0]["stop"], data["log"][0]["rounds"]) == (0, 1, 1)
    command = f"--steps 14 --images 2 --seed 3 --out {whole[0]} --report {whole[0] / 'page' / 'run.html'}"
    assert f"forerun sample &#x27;a red torus left of a blue cube&#x27; {command}" in html
    assert sum(data["seconds"].values()) == pytest.approx(job["ahead"]["seconds"])


def test_frames_come_closer_to_the_image_round_by_round():
    from forerun.cli.sample.frames import decode_frames
    from forerun.cli.sample.job import prepare_sample
    from forerun.cli.sample.options import SampleOptions, SampleSettings
    from forerun.cli.sample.runs import run_sample
    from forerun.engine.progress import Silent

    options = SampleOptions(
        prompt=None,
        pipeline=None,
        scheduler="dpm++ 2m",
        steps=12,
        guidance=2.0,
        negative=None,
        images=1,
        seed=0,
        tolerance=None,
        method="secant",
        window="full",
        max_batch=5,
        device="cpu",
        dtype="float32",
        strict=True,
    )
    settings = SampleSettings.from_options(options, 1)
    job = prepare_sample(options, settings)
    outcome = run_sample(job, options, settings, compare=False, progress=Silent())
    found = decode_frames(job, outcome.solution, outcome.watch, outcome.ahead.pictures)
    (end,) = outcome.ahead.pictures
    apart = [float((frame.pictures[0].int() - end.int()).abs().float().mean()) for frame in found]
    assert apart[0] > 4 * apart[len(apart) // 2] > 0
    assert apart[-1] < 0.5
    assert "forward" not in vars(job.pipe.unet)


def test_a_pipeline_of_ones_own_with_another_scheduler(tmp_path):
    arguments = ("--pipeline", SHIPPED, "a big grey ball", "--scheduler", "unipc", "--negative", "red", "--guidance", 2)
    more = ("--method", "picard", "--window", 4, "--max-batch", 3, "--tolerance", "1e-2", "--strict", "--no-compare")
    result = sample(*arguments, *QUICK, *more, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    job = told(tmp_path)
    assert (job["job"], job["in_order"], job["speed_up"]["time"]) == ("UniPC, 8 steps", None, None)
    assert "--no-compare" in result.output
    assert len(list(tmp_path.glob("*.png"))) == 2


def test_half_precision_and_a_window_that_declines(tmp_path):
    result = sample("a ball", *QUICK, "--dtype", "bfloat16", "--window", "auto", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert told(tmp_path)["deviation"]["rms"] < 0.1


def test_a_pipeline_without_prompts(tmp_path):
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    network = UNet2DModel(16, layers_per_block=1, block_out_channels=(8, 8), norm_num_groups=4, **blocks)
    DDPMPipeline(network, DDPMScheduler()).save_pretrained(tmp_path / "mine")
    arguments = ("--pipeline", tmp_path / "mine", "--steps", 5, "--out", tmp_path)
    result = sample(*arguments, "--images", 2, "--report", tmp_path / "run.html", "--window", "full")
    assert result.exit_code == 0, result.output
    assert pixels(tmp_path / "image-2.png").shape == (16, 16, 3)
    refused = sample(*arguments, "a ball")
    assert (refused.exit_code, refused.stderr) == (2, "error: DDPMPipeline takes no prompt; leave PROMPT out\n")


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("a red sofa and a lamp",), ["sofa, lamp", "cylinder", "--pipeline FOLDER_OR_ID"]),
        (("a ball", "--negative", "blurry"), ["--negative", "blurry"]),
        (("--steps", "1"), ["--steps 1", "--steps 50"]),
        (("--steps", "1001"), ["--steps 1001", "1000"]),
        (("--scheduler", "magic"), ["magic", "UniPC", "DPM++ 2M", "DDIMScheduler"]),
        (("--scheduler", "MagicScheduler"), ["MagicScheduler", "not a class of diffusers", "EulerDiscreteScheduler"]),
        (("--window", "0"), ["--window 0", "full"]),
        (("--method", "magic"), ["--method magic", "secant"]),
        (("--images", "0"), ["--images 0", "--images 1"]),
        (("--max-batch", "0"), ["--max-batch 0"]),
        (("--tolerance", "nan"), ["--tolerance nan", "1e-3"]),
        (("--device", "cuda:99"), ["--device cuda:99", "cpu"]),
        (("--dtype", "int8"), ["--dtype int8", "bfloat16"]),
        (("--pipeline", "nowhere"), ["nowhere", "save_pretrained"]),
        (("--pipeline", "{folder}"), ["folder of a pipeline", "model_index.json"]),
        (("--pipeline", str(SHIPPED)), ["draws a prompt", '"a prompt"']),
    ],
)
def test_an_error_is_one_line_and_says_what_to_type(arguments, said, tmp_path):
    result = sample(*(each.format(folder=tmp_path) for each in arguments), "--out", tmp_path)
    assert result.exit_code == 2
    assert re.fullmatch(r"error: .+\n", result.stderr)
    assert all(word in result.stderr for word in said), result.stderr
    assert result.stdout == ""


def test_a_missing_extra_is_named_before_the_work(monkeypatch, tmp_path):
    monkeypatch.setattr("forerun.cli.sample.options.find_spec", lambda name: None)
    result = sample("--out", tmp_path)
    assert result.exit_code == 2
    assert "pip install 'forerun[diffusers]'" in result.stderr


def test_the_command_is_there_without_loading_diffusers():
    code = "import sys, forerun.cli.app; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"diffusers", "transformers", "PIL", "matplotlib"} & set(loaded)


@pytest.mark.parametrize("word", ["DPM++ 2M", "dpm++2m", "dpm++-2m", "DPMSolverMultistepScheduler"])
def test_schedulers_have_short_names(word):
    assert words.find_scheduler(word) == "DPMSolverMultistepScheduler"


def test_every_short_name_is_a_scheduler_of_diffusers():
    import diffusers

    assert all(hasattr(diffusers, name) for name in words.PIPELINE_SCHEDULERS.values())


class Impatient(Progress):
    """Presses Ctrl-C in the third round."""

    def track(self, start, length):
        rounds = iter(range(3))

        def report(entry):
            if next(rounds) == 2:
                raise KeyboardInterrupt

        return nullcontext(report)


def test_control_c_says_what_was_accepted(monkeypatch, tmp_path):
    monkeypatch.setattr("forerun.cli.kit.terminal.Silent", Impatient)
    result = sample("a ball", *QUICK, "--no-compare", "--out", tmp_path)
    assert result.exit_code == 130, result.output
    assert re.search(
        r"Interrupted in parallel over steps; [1-7] of 8 steps were accepted, after \d rounds", result.output
    )
    assert not list(tmp_path.iterdir())


def test_control_c_in_the_run_in_order(monkeypatch, tmp_path):
    from forerun.cli.sample.loop_tape import LoopTape

    step_scheduler = LoopTape.step_scheduler

    def stepped(self, scheduler, asked):
        result = step_scheduler(self, scheduler, asked)
        if self.steps == 3:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(LoopTape, "step_scheduler", stepped)
    result = sample("a ball", *QUICK, "--out", tmp_path)
    assert (result.exit_code, "in order, after 3 steps" in result.output) == (130, True)


def test_what_fails_in_a_run_is_one_line(monkeypatch, tmp_path):
    def lost(*arguments, **options):
        raise RuntimeError("a rank\nis lost")

    monkeypatch.setattr("forerun.cli.sample.runs.parallel", lost)
    result = sample("a ball", *QUICK, "--no-compare", "--out", tmp_path)
    assert (result.exit_code, result.stderr) == (1, "error: a rank is lost\n")


def test_ranks_have_a_gpu_each(monkeypatch):
    assert (ranks.count_ranks(), ranks.choose_rank_device("cuda:1")) == (1, "cuda:1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert [ranks.choose_rank_device(device) for device in ("cpu", "cuda")] == ["cpu", "cuda:3"]
    with pytest.raises(ValueError, match="type --device cuda"):
        ranks.choose_rank_device("cuda:1")


@pytest.mark.torchrun
def test_two_processes_draw_one_image(tmp_path):
    """As a user would; they compare their images themselves, and fail where they differ."""
    path = os.pathsep.join([str(Path(forerun.__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = ["a red ball", *QUICK, "--out", str(tmp_path / "two")]
    done = subprocess.run(
        [*command, "-m", "forerun", "sample", *arguments],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("a red ball") == done.stdout.count("In ") == 1
    assert sample("a red ball", *QUICK, "--out", tmp_path / "one", "--no-compare").exit_code == 0
    apart = pixels(tmp_path / "two" / "image-1.png") - pixels(tmp_path / "one" / "image-1.png")
    assert apart.abs().max() <= 2
    assert told(tmp_path / "two")["ahead"]["rounds"] == told(tmp_path / "one")["ahead"]["rounds"]
