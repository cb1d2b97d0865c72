import pytest
import torch

from forerun import Picard, Sequential, Sliding

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from forerun.optim import StepLength
from forerun.optim.text3d.camera import held_out_cameras, random_cameras
from forerun.worlds.solids.prior import train
from forerun.worlds.solids.prior.load import PRIOR_SIDE, load_prior
from forerun.worlds.solids.prompts import parse_prompt
from forerun.worlds.solids.render import render_solid
from forerun.worlds.solids.sculpture import Sculpture, SculptureOptions, psnr

IN_ORDER = {"method": Sequential(), "window": Sliding(1)}


def shape_sculpture(prompt, settings, **options):
    sculpture = Sculpture(prompt, settings)
    solution = sculpture.build_loop(**options).run(settings.steps).solution()
    return sculpture, solution


def noise_error(prompt, pictures, cameras, share=0.4):
    """Return how wrong the prior is about the noise in pictures, given a prompt."""
    prior = load_prior(prompt)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(pictures.shape, generator=generator)
    timesteps = prior.timesteps_at(torch.full((len(pictures),), share))
    signal, rate = (column[:, None, None, None] for column in prior.signal_and_noise(timesteps))
    with torch.no_grad():
        predicted = prior.guided_noise(
            signal * prior.space.encode_pictures(pictures) + rate * noise, timesteps, cameras
        )
    return float((predicted - noise).square().mean())


def test_the_shipped_prior_knows_prompts_cameras_and_backgrounds():
    cameras = random_cameras(12, torch.Generator().manual_seed(1))
    pictures = render_solid(parse_prompt("a green mug"), cameras, PRIOR_SIDE)
    right = noise_error("a green mug", pictures, cameras)
    assert right < 0.6 * noise_error("a red mug", pictures, cameras)
    assert right < 0.6 * noise_error("a green cone", pictures, cameras)
    turned = type(cameras)(cameras.azimuth + 1.5, cameras.elevation, cameras.background)
    assert right < 0.9 * noise_error("a green mug", pictures, turned)
    swapped = type(cameras)(cameras.azimuth, cameras.elevation, 1 - cameras.background)
    assert right < 0.6 * noise_error("a green mug", pictures, swapped)


def test_a_prompt_takes_its_shape():
    settings = SculptureOptions(steps=40, size=16)
    sculpture, _ = shape_sculpture("a yellow cone", settings, **IN_ORDER)
    assert sculpture.field.shape == (4, 16, 16, 16)
    true = {
        name: render_solid(parse_prompt(name), held_out_cameras(), PRIOR_SIDE)
        for name in ("a yellow cone", "a red torus", "a blue cube")
    }
    near = {
        name: psnr(sculpture.render_views(held_out_cameras(), PRIOR_SIDE), pictures) for name, pictures in true.items()
    }
    assert near["a yellow cone"] == pytest.approx(sculpture.measure_quality())
    assert near["a yellow cone"] > 17
    assert near["a yellow cone"] > 3 + max(near["a red torus"], near["a blue cube"])


@pytest.mark.parametrize("views", [1, 2])
def test_ahead_is_in_order_over_the_change_of_grid(views):
    settings = SculptureOptions(steps=12, size=12, views=views)
    order, _ = shape_sculpture("a red torus", settings, **IN_ORDER)
    ahead, solution = shape_sculpture(
        "a red torus", settings, method=Picard(), window=Sliding(4), tolerance=StepLength(0.01)
    )
    assert solution.rounds < 12
    assert any(entry.width > 1 for entry in solution.log)
    assert psnr(ahead.render_views(held_out_cameras(), 16), order.render_views(held_out_cameras(), 16)) > 45


def test_seeds_and_steps_have_cameras_of_their_own():
    def azimuths(seed, steps):
        return Sculpture("a red torus", SculptureOptions(seed=seed, size=8)).draw_cameras(torch.tensor(steps)).azimuth

    cameras = azimuths(0, [3, 4, 3])
    assert cameras[0] == cameras[2] != cameras[1]
    assert azimuths(1, [3])[0] != cameras[0]


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"views": 0}, {"size": 4}, {"size": 15}])
def test_settings_that_make_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SculptureOptions(**wrong)


def test_the_training_command_makes_a_prior(tmp_path):
    small = ["--views", "2", "--steps", "2", "--batch", "4", "--text-steps", "2"]
    train.main(["--out", str(tmp_path / "prior"), "--work", str(tmp_path / "work"), *small])
    prior = load_prior("a red torus", tmp_path / "prior")
    sculpture = Sculpture("a red torus", SculptureOptions(steps=2, size=8), prior)
    assert sculpture.build_loop(**IN_ORDER).run(2).solution().step == 2
