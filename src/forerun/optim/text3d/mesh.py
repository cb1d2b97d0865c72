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

MESH_REFINEMENT = 2  # points of the grid that is marched, for each of the field's along an axis
CRUMB_SHARE = 0.02  # share of the largest component's faces below which a component is left out


def extract_surface(field: Tensor, *, halves: float = 1.0) -> trimesh.Trimesh:
    """Return the surface where a voxel of the field absorbs half of the light.

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
    density = _padded_density(field)
    densest = float(density.max())
    if not densest > level:
        raise ValueError(f"the field is empty: its density is at most {densest:.3g}, and a surface has {level:.3g}")
    points, faces, _, _ = marching_cubes(density.numpy(), level)  # type: ignore[no-untyped-call]
    # voxel centres of the padded grid, and its axes z, y, x
    vertices = torch.from_numpy(points[:, ::-1].copy()).float()
    vertices = (vertices - 0.5) * 2 / (side * MESH_REFINEMENT) - 1
    colours = _vertex_colours(field, vertices)
    mesh = trimesh.Trimesh(vertices.numpy(), faces, vertex_colors=colours.numpy())
    return _without_crumbs(mesh)


def write_mesh(mesh: trimesh.Trimesh, path: Path) -> None:
    """Write a mesh; the ending of the name says how: `.glb` (glTF), `.ply`, `.obj`."""
    mesh.export(path)


def _padded_density(field: Tensor) -> Tensor:
    """Return the density on a finer grid, in a shell of nothing that closes what touches the border."""
    fine = functional.interpolate(
        field[None].float(),
        scale_factor=MESH_REFINEMENT,
        mode="trilinear",
        align_corners=False,
    )
    return functional.pad(density_from_raw(fine[0, 0]), (1, 1) * 3)


def _vertex_colours(field: Tensor, vertices: Tensor) -> Tensor:
    """Return the colours of the field at points, with an opaque alpha: uint8 `(N, 4)`."""
    raw = functional.grid_sample(
        field[None, 1:].float(),
        vertices.reshape(1, -1, 1, 1, 3),
        align_corners=False,
        padding_mode="border",
    )
    opaque = torch.ones(1, len(vertices))
    colours = torch.cat([raw.reshape(3, -1).sigmoid(), opaque])
    return (colours.T * 255).round().byte()


def _without_crumbs(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """Return a mesh without its small components."""
    import trimesh

    components = mesh.split(only_watertight=False)
    largest = max(len(component.faces) for component in components)
    large = [component for component in components if len(component.faces) >= CRUMB_SHARE * largest]
    joined_mesh: Any = trimesh.util.concatenate(large)
    result: trimesh.Trimesh = joined_mesh
    return result
