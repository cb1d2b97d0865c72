"""The solids: named by prompts, exact in their distances, and rendered as geometry says."""

import math
import random

import pytest
import torch

from forerun.optim.text3d.camera import CAMERA_DISTANCE, HALF_VIEW, SCENE_RADIUS, cameras_around
from forerun.worlds.solids.distances import SOLID_DISTANCES, surface_normals
from forerun.worlds.solids.prompts import (
    SHAPE_NAMES,
    SOLID_COLOURS,
    ColouredSolid,
    all_solids,
    parse_prompt,
    prompt_words,
    write_prompt,
)
from forerun.worlds.solids.render import render_solid, shade_shape


def test_prompts_name_things():
    assert parse_prompt("A Yellow CONE.") == ColouredSolid("yellow", "cone")
    assert parse_prompt("the cyan cup") == ColouredSolid("cyan", "mug")
    assert len(all_solids()) == len(SHAPE_NAMES) * len(SOLID_COLOURS)
    for solid in all_solids():
        assert parse_prompt(solid.prompt) == solid


@pytest.mark.parametrize("prompt", ["a yellow dragon", "cone", "", "a yellow cone and a red cube", "a cone yellow"])
def test_unknown_prompts_list_what_is_known(prompt):
    with pytest.raises(ValueError, match=r"colours are red, .*shapes sphere, ball, .*Write for example"):
        parse_prompt(prompt)


def test_captions_stay_within_the_words():
    captions = {write_prompt(solid, random.Random(number)) for number, solid in enumerate(all_solids())}
    assert {word for caption in captions for word in caption.split()} <= set(prompt_words())


@pytest.mark.parametrize("shape", SHAPE_NAMES)
def test_solids_are_signed_distances_inside_of_the_ball(shape):
    points = 2 * torch.rand(4096, 3, generator=torch.Generator().manual_seed(0)) - 1
    distance = SOLID_DISTANCES[shape](points)
    assert 0.02 < float((distance < 0).float().mean()) < 0.5
    assert not bool((distance < 0)[points.norm(dim=-1) > SCENE_RADIUS].any())
    # nothing that is farther than the distance says may be missed by the rays
    step = torch.nn.functional.normalize(torch.randn(4096, 3, generator=torch.Generator().manual_seed(1)), dim=-1)
    moved = SOLID_DISTANCES[shape](points + 0.05 * step)
    assert float((moved - distance).abs().max()) <= 0.05 + 1e-5
    assert torch.allclose(surface_normals(SOLID_DISTANCES[shape], points).norm(dim=-1), torch.ones(4096), atol=1e-4)


def test_a_sphere_covers_what_geometry_says():
    covered = shade_shape("sphere", cameras_around(3), 48)[:, 0]
    apparent_radius = math.tan(math.asin(0.8 / CAMERA_DISTANCE)) / HALF_VIEW
    assert covered.mean((1, 2)).tolist() == pytest.approx([math.pi * apparent_radius**2 / 4] * 3, rel=0.02)


def test_a_mug_has_a_handle_that_light_passes_through():
    views = shade_shape("mug", cameras_around(4, elevation=0.0), 32)[:, 0] > 0.5
    edges = [int(view[15].int().diff().abs().sum()) for view in views]
    assert edges[0] == edges[2] == 4  # the wall, the gap, the handle
    assert edges[1] == edges[3] == 2
    assert torch.equal(views[0].flip(1), views[2])


def test_lights_stay_with_the_thing():
    """The side that is lit turns with the solid: brightness belongs to the surface, as a field's colour does."""
    sphere = render_solid(ColouredSolid("red", "sphere"), cameras_around(4, elevation=0.0, background=0.0), 16)[:, 0]
    halves = sphere[..., :8].mean((1, 2)) - sphere[..., 8:].mean((1, 2))
    assert (halves > 0.01).any()
    assert (halves < -0.01).any()
