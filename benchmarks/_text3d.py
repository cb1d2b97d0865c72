"""What the benchmarks of text to 3-D share: one run of a sculpture, kept in a file, and the pictures it ends in."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from forerun.engine.solution import Solution
from forerun.optim.text3d.camera import held_out_cameras
from forerun.worlds.solids.prior.load import PRIOR_SIDE
from forerun.worlds.solids.sculpture import Sculpture


@dataclass(frozen=True)
class SculptureRun:
    """A finished run: its figures, and the sixteen views that measure it, `(16, 3, 32, 32)`."""

    rounds: int
    evaluations: int
    quality: float
    cpu: float
    pictures: Tensor


def cached_run(file: Path, build: Callable[[], Sculpture], run: Callable[[Sculpture], Solution]) -> SculptureRun | None:
    """A run, or what its file tells of it where it has been made before; CPU seconds are those of the run alone.

    With FORERUN_FINISHED=1 in the environment nothing is run: None where there is no file.
    """
    if not file.exists() and os.environ.get("FORERUN_FINISHED"):
        return None
    if not file.exists():
        sculpture = build()
        begun = time.process_time()
        solution = run(sculpture)
        cpu = time.process_time() - begun
        found = SculptureRun(
            solution.rounds,
            solution.evaluations,
            sculpture.measure_quality(),
            cpu,
            sculpture.render_views(held_out_cameras(), PRIOR_SIDE),
        )
        _write_run(found, file)
        print(file.stem, found.rounds, found.evaluations, f"{found.quality:.2f} dB, {found.cpu:.1f} s", flush=True)
    figures = json.loads(file.read_text())
    return SculptureRun(**figures, pictures=load_file(file.with_suffix(".safetensors"))["pictures"])


def mean_of(values: list[float]) -> float:
    """The mean, of one value at least."""
    return sum(values) / len(values)


def _write_run(found: SculptureRun, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({"pictures": found.pictures.contiguous()}, file.with_suffix(".safetensors"))
    figures = {name: value for name, value in asdict(found).items() if name != "pictures"}
    file.write_text(json.dumps(figures))  # last, so that it tells a whole run


torch.set_num_threads(1)
