"""The surface of a field as a coloured mesh: marching cubes by scikit-image, files by trimesh."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from forerun.optim.text3d.field import density_from_raw

if TYPE_CHECKING:
    import trimesh

FINER = 2  # points of the grid that is marched, for each of the field's along an axis
CRUMBS = 0.02  # share of the largest part's faces below which a part is left out


def extract_surface(field: Tensor, *, halves: float = 1.0) -> trimesh.Trimesh:
    """The surface where a voxel of the field absorbs half of the light.

    Args:
        field: `(4, D, D, D)`, as of `forerun.optim.text3d.field`.
        halves: that many half-lives a voxel; more of them shrink the mesh.

    Returns:
        A mesh with a colour at every vertex, y upwards, in the cube [-1, 1]^3.

    Raises:
        ImportError: scikit-image or trimesh is not installed.
        ValueError: the field is empty: it is nowhere as dense.
    """
    try:
        import trimesh
        from skimage.measure import marching_cubes
    except ImportError as error:
        raise ImportError("meshes are made by scikit-image and trimesh: pip install 'forerun[mesh]'") from error
    side = field.shape[-1]
    level = halves * 0.693 * side / 2
    fine = functional.interpolate(field[None].float(), scale_factor=FINER, mode="trilinear", align_corners=False)[0]
    # a shell of nothing closes what touches the border
    dense = functional.pad(density_from_raw(fine[0]), (1, 1) * 3)
    most = float(dense.max())
    if not most > level:
        raise ValueError(f"the field is empty: its density is at most {most:.3g}, and a surface has {level:.3g}")
    points, faces, _, _ = marching_cubes(dense.numpy(), level)  # type: ignore[no-untyped-call]
    # voxel centres of the padded grid, and its axes z, y, x
    places = torch.from_numpy(points[:, ::-1].copy()).float()
    places = (places - 0.5) * 2 / (side * FINER) - 1
    mesh = trimesh.Trimesh(places.numpy(), faces, vertex_colors=_colours(field, places).numpy())
    return _without_crumbs(mesh)


def write_mesh(mesh: trimesh.Trimesh, path: Path) -> None:
    """Write a mesh; the ending of the name says how: `.glb` (glTF), `.ply`, `.obj`."""
    mesh.export(path)


def _colours(field: Tensor, places: Tensor) -> Tensor:
    """uint8 `(N, 4)`."""
    at = places.reshape(1, -1, 1, 1, 3)
    raw = functional.grid_sample(field[None, 1:].float(), at, align_corners=False, padding_mode="border")
    solid = torch.ones(1, len(places))
    return (torch.cat([raw.reshape(3, -1).sigmoid(), solid]).T * 255).round().byte()


def _without_crumbs(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    import trimesh

    parts = mesh.split(only_watertight=False)
    largest = max(len(part.faces) for part in parts)
    kept: Any = trimesh.util.concatenate([part for part in parts if len(part.faces) >= CRUMBS * largest])
    whole: trimesh.Trimesh = kept
    return whole
