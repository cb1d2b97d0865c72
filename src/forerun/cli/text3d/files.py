"""The files that `forerun text3d` leaves: a turntable, views, a mesh and the figures."""

from __future__ import annotations

import math
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor

from forerun.cli.text3d.job import Text3dOutcome
from forerun.optim.text3d.camera import cameras_around
from forerun.optim.text3d.mesh import extract_surface, write_mesh
from forerun.view.pictures import save_animation, save_picture, tile_rows
from forerun.worlds.solids.render import render_solid
from forerun.worlds.solids.sculpture import Sculpture

TURNTABLE_FRAMES = 36
VIEW_SIDE = 128  # pixels
VIEW_ELEVATIONS = {"from the side": 10, "from above": 40}  # degrees
VIEWS_AROUND = 6
MESH_NAMES = ("mesh.glb", "mesh.ply")


def write_pictures(sculpture: Sculpture, out: Path) -> list[str]:
    """Write a turntable, a file a view, and all views beside the true ones; return the names of the files."""
    turntable = sculpture.render_views(cameras_around(TURNTABLE_FRAMES), VIEW_SIDE)
    save_animation(_to_bytes(turntable), out / "turntable.gif")
    rows: dict[str, list[Tensor]] = {}
    views: list[Tensor] = []
    for name, degrees in VIEW_ELEVATIONS.items():
        cameras = cameras_around(VIEWS_AROUND, elevation=math.radians(degrees))
        rows[name] = _to_bytes(sculpture.render_views(cameras, VIEW_SIDE))
        rows[f"true, {name}"] = _to_bytes(render_solid(sculpture.solid, cameras, VIEW_SIDE))
        views += rows[name]
    names = ["turntable.gif", "views.png"]
    for number, picture in enumerate(views, 1):
        names.append(f"view-{number:02}.png")
        save_picture(picture, out / names[-1])
    save_picture(tile_rows(rows), out / "views.png")
    return names


def write_meshes(sculpture: Sculpture, out: Path) -> tuple[list[str], str | None]:
    """Write the mesh, as glTF and PLY; return the names of the files, or why there are none."""
    if find_spec("skimage") is None or find_spec("trimesh") is None:
        return [], "no mesh was written, as scikit-image or trimesh is missing: pip install 'forerun[mesh]'"
    try:
        mesh = extract_surface(sculpture.field.detach())
    except ValueError as error:
        return [], f"no mesh was written: {error}"
    for name in MESH_NAMES:
        write_mesh(mesh, out / name)
    return list(MESH_NAMES), None


def text3d_figures(outcome: Text3dOutcome, files: list[str]) -> dict[str, Any]:
    """Return the figures of the run."""
    solution = outcome.solution
    return {
        "prompt": outcome.sculpture.solid.prompt,
        "ahead": {
            "steps": solution.step,
            "rounds": solution.rounds,
            "evaluations": solution.evaluations,
            "inflation": solution.inflation,
            "seconds": outcome.seconds,
            "split": asdict(solution.seconds),
            "quality": outcome.quality,
        },
        "in_order": None if outcome.in_order is None else asdict(outcome.in_order),
        "deviation": {"estimate": solution.deviation_estimate, "unit": "mean length of a step"},
        "status": solution.status.value,
        "notes": list(solution.notes),
        "files": files,
    }


def _to_bytes(pictures: Tensor) -> list[Tensor]:
    """Return pictures `(N, 3, H, W)` in [0, 1] as uint8, one by one."""
    return list((pictures.clamp(0, 1) * 255).round().byte())
