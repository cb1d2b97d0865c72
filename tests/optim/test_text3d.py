import math

import pytest
import torch

from forerun.optim.text3d.camera import (
    SCENE_RADIUS,
    Cameras,
    cameras_around,
    held_out_cameras,
    join_cameras,
    spread_cameras,
)
from forerun.optim.text3d.field import (
    DENSITY_SCALE,
    blob_field,
    density_from_raw,
    march_rays,
    render_fields,
    resize_field,
)
from forerun.worlds.solids.render import shade_shape


def solid_ball(side, radius, rgb=(0.9, 0.2, 0.1)):
    """A field that is opaque inside of a ball."""
    across = (torch.arange(side) + 0.5) * 2 / side - 1
    z, y, x = torch.meshgrid(across, across, across, indexing="ij")
    field = torch.empty(4, side, side, side)
    field[0] = 400 * (radius - (x * x + y * y + z * z).sqrt())
    field[1:] = torch.tensor(rgb).logit()[:, None, None, None]
    return field


def test_cameras_look_at_the_middle_from_all_sides():
    cameras = join_cameras([spread_cameras(4, 4, torch.Generator().manual_seed(seed)) for seed in (0, 1)])
    assert len(cameras) == 8
    turn = (cameras.azimuth[1:4] - cameras.azimuth[:3]).tolist()
    assert turn == pytest.approx([math.pi / 2] * 3, abs=1e-5)
    middle = cameras.rays(3)[:, 1, 1]
    torch.testing.assert_close(middle, -torch.nn.functional.normalize(cameras.positions, dim=-1))
    upper, lower = cameras.rays(3)[:, 0, 1, 1], cameras.rays(3)[:, 2, 1, 1]
    assert bool((upper > lower).all())
    assert set(held_out_cameras().background.tolist()) == {0.0, 1.0}


def test_even_fog_lets_through_what_beer_says():
    field = torch.full((1, 4, 8, 8, 8), 0.0)
    field[:, 0] = math.log(math.expm1(0.5 / DENSITY_SCALE))  # half an absorption a unit of length
    _, left = march_rays(field, cameras_around(1, elevation=0.0), 33)
    assert float(density_from_raw(field[:, 0]).mean()) == pytest.approx(0.5)
    assert float(left[0, 0, 16, 16]) == pytest.approx(math.exp(-0.5 * 2 * SCENE_RADIUS), rel=1e-3)
    assert float(left[0, 0, 0, 0]) == 1


def test_a_solid_field_looks_like_the_true_sphere():
    cameras = Cameras(torch.tensor([0.3, 2.0]), torch.tensor([0.2, 0.9]), torch.tensor([0.0, 1.0]))
    seen = render_fields(solid_ball(64, 0.8)[None], cameras, 32, samples=160)[0]
    true = shade_shape("sphere", cameras, 32)[:, :1]
    covered = (seen - cameras.background[:, None, None, None]) / (
        torch.tensor([0.9, 0.2, 0.1])[:, None, None] - cameras.background[:, None, None, None]
    )
    assert float((covered - true).abs().mean()) < 0.02


def test_fields_of_a_window_are_seen_together():
    fields = torch.stack([blob_field(8, seed=seed) for seed in range(3)]).requires_grad_()
    cameras = spread_cameras(6, 2, torch.Generator().manual_seed(0))
    together = render_fields(fields, cameras, 8)
    assert together.shape == (3, 2, 3, 8, 8)
    for index in range(3):
        alone = render_fields(fields[index : index + 1], cameras[2 * index : 2 * index + 2], 8)
        torch.testing.assert_close(together[index : index + 1], alone)
    (of_one,) = torch.autograd.grad(together[1].sum(), fields)
    assert float(of_one[0].abs().max()) == float(of_one[2].abs().max()) == 0 < float(of_one[1].abs().max())


def test_a_finer_grid_holds_the_same_field():
    field = solid_ball(16, 0.7)
    finer = resize_field(field, 32)
    assert finer.shape == (4, 32, 32, 32)
    views = [render_fields(each[None], cameras_around(2), 24) for each in (field, finer)]
    assert float((views[0] - views[1]).abs().mean()) < 0.01


def test_a_mesh_of_a_ball_is_a_ball():
    pytest.importorskip("skimage")
    pytest.importorskip("trimesh")
    from forerun.optim.text3d.mesh import extract_surface

    mesh = extract_surface(solid_ball(32, 0.7, rgb=(0.9, 0.2, 0.1)))
    assert mesh.is_watertight
    assert float(mesh.volume) == pytest.approx(4 / 3 * math.pi * 0.7**3, rel=0.06)
    assert mesh.visual.vertex_colors[0].tolist() == pytest.approx([230, 51, 26, 255], abs=1)
    with pytest.raises(ValueError, match="the field is empty"):
        extract_surface(torch.full((4, 8, 8, 8), -20.0))


@pytest.mark.parametrize("ending", ["glb", "ply"])
def test_meshes_are_read_again(tmp_path, ending):
    pytest.importorskip("skimage")
    trimesh = pytest.importorskip("trimesh")
    from forerun.optim.text3d.mesh import extract_surface, write_mesh

    mesh = extract_surface(solid_ball(16, 0.6))
    write_mesh(mesh, tmp_path / f"ball.{ending}")
    again = trimesh.load(tmp_path / f"ball.{ending}", force="mesh")
    assert len(again.faces) == len(mesh.faces)
    assert float(again.volume) == pytest.approx(float(mesh.volume), rel=1e-3)
