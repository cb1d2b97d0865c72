"""What a thing leaves behind: a turntable, views, a mesh and the figures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor

from forerun.cli.text3d.job import Outcome
from forerun.cli.text3d.options import Options
from forerun.optim.text3d.camera import cameras_around
from forerun.optim.text3d.mesh import extract_surface, write_mesh
from forerun.view.pictures import save_animation, save_picture, tile_rows
from forerun.worlds.solids.render import render_solid
from forerun.worlds.solids.sculpture import Sculpture

FRAMES, SIDE = 36, 128
HEIGHTS = {"from the side": 10, "from above": 40}  # degrees
AROUND = 6
MESHES = ("mesh.glb", "mesh.ply")


def write_pictures(job: Sculpture, out: Path) -> list[str]:
    """A turntable, a file a view, and all views beside those of the true thing; the names of the files."""
    save_animation(_bytes(job.render_views(cameras_around(FRAMES), SIDE)), out / "turntable.gif")
    named: dict[str, list[Tensor]] = {}
    names = ["turntable.gif", "views.png"]
    for name, degrees in HEIGHTS.items():
        cameras = cameras_around(AROUND, elevation=math.radians(degrees))
        named[name] = _bytes(job.render_views(cameras, SIDE))
        named[f"true, {name}"] = _bytes(render_solid(job.solid, cameras, SIDE))
    for number, picture in enumerate([each for name in HEIGHTS for each in named[name]], 1):
        names.append(f"view-{number:02}.png")
        save_picture(picture, out / names[-1])
    save_picture(tile_rows(named), out / "views.png")
    return names


def write_meshes(job: Sculpture, out: Path) -> tuple[list[str], str | None]:
    """The mesh, as glTF and PLY; the names of the files, or why there are none."""
    if find_spec("skimage") is None or find_spec("trimesh") is None:
        return [], "no mesh was written, as scikit-image or trimesh is missing: pip install 'forerun[mesh]'"
    try:
        mesh = extract_surface(job.field.detach())
    except ValueError as error:
        return [], f"no mesh was written: {error}"
    for name in MESHES:
        write_mesh(mesh, out / name)
    return list(MESHES), None


def figures(outcome: Outcome, files: list[str]) -> dict[str, Any]:
    """The figures of the run."""
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
        "in_order": None if outcome.order is None else asdict(outcome.order),
        "deviation": {"estimate": solution.deviation_estimate, "unit": "mean length of a step"},
        "status": solution.status.value,
        "notes": list(solution.notes),
        "files": files,
    }


def write_figures(found: Mapping[str, Any], machine: Mapping[str, str], options: Options, out: Path) -> None:
    """`summary.json`."""
    summary = {"machine": machine, "options": asdict(options), "jobs": [found]}
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")


def _bytes(pictures: Tensor) -> list[Tensor]:
    return list((pictures.clamp(0, 1) * 255).round().byte())
