"""Is `scan` faster than the Python loop from 64 steps up, and as fast as a fused loop in C by its native kernels?

The rivals: the plain loop; `scan` by torch's own calls, and by native kernels; the same loop in C (gcc -O3
-march=native -ffast-math), called through ctypes; torch's own `associative_scan` (combine_mode="generic", the only one
on a CPU), eager and compiled. Float32, one thread, medians of rivals taken in turn, CPU time of the process. Needs gcc
and numba.
"""

from __future__ import annotations

import ctypes
import datetime
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch._higher_order_ops import associative_scan

from forerun.engine.numerics.native.loader import NATIVE_KERNELS
from forerun.engine.numerics.scan import affine_scan

ROOT = Path(__file__).parent.parent
LARGEST = 2**24  # elements of the slopes: beyond, rows take minutes
FUSED = """
void pointwise(long T, long B, long D, const float *restrict a, const float *restrict b, const float *x, float *y) {
  for (long i = 0, n = B * D; i < T; i++, x = y, y += n, a += n, b += n)
    #pragma GCC ivdep
    for (long j = 0; j < n; j++) y[j] = a[j] * x[j] + b[j];
}
void dense(long T, long B, long D, const float *restrict a, const float *restrict b, const float *x, float *y) {
  for (long i = 0, n = B * D; i < T; i++, x = y, y += n, a += n * D, b += n)
    for (long r = 0; r < n; r++) {
      const float *row = a + r * D, *state = x + r / D * D;
      float sum = b[r];
      for (long c = 0; c < D; c++) sum += row[c] * state[c];
      y[r] = sum;
    }
}
void scalar(long T, long B, long D, const float *restrict a, const float *restrict b, const float *x, float *y) {
  for (long i = 0, n = B * D; i < T; i++, x = y, y += n, a += B, b += n)
    for (long s = 0; s < B; s++)
      #pragma GCC ivdep
      for (long j = s * D; j < s * D + D; j++) y[j] = a[s] * x[j] + b[j];
}
"""
AffineMaps = tuple[Tensor, Tensor, Tensor]


def compile_fused() -> ctypes.CDLL:
    """The C rival, built for this machine."""
    folder = Path(tempfile.mkdtemp())
    (folder / "fused.c").write_text(FUSED)
    flags = ["-O3", "-march=native", "-ffast-math", "-shared", "-fPIC"]
    subprocess.run(["gcc", *flags, "-o", folder / "fused.so", folder / "fused.c"], check=True)
    return ctypes.CDLL(str(folder / "fused.so"))


def fused(library: ctypes.CDLL, kind: str, maps: AffineMaps) -> Tensor:
    """The path by the C rival; allocates its result, as `scan` does."""
    shifts = maps[1]
    path = torch.empty_like(shifts)
    function = {"dense": library.dense, "diagonal": library.pointwise, "scalar": library.scalar}[kind]
    pointers = [ctypes.c_void_p(t.data_ptr()) for t in (*maps, path)]
    function(*(ctypes.c_long(n) for n in shifts.shape), *pointers)
    return path


def native(slopes: Tensor, shifts: Tensor, start: Tensor) -> Tensor:
    """The path by a native kernel."""
    NATIVE_KERNELS.setting = "1"
    return affine_scan(slopes, shifts, start)


def by_torch(slopes: Tensor, shifts: Tensor, start: Tensor) -> Tensor:
    """The path by torch's own calls."""
    NATIVE_KERNELS.setting = "0"
    return affine_scan(slopes, shifts, start)


def loop(slopes: Tensor, shifts: Tensor, state: Tensor) -> Tensor:
    """The path by the plain Python loop."""
    path = []
    for slope, shift in zip(slopes, shifts, strict=True):
        dense = slope.dim() > state.dim()
        state = (slope @ state.unsqueeze(-1)).squeeze(-1) + shift if dense else slope * state + shift
        path.append(state)
    return torch.stack(path)


def shipped(slopes: Tensor, shifts: Tensor, start: Tensor) -> Tensor:
    """The scan that torch ships, on pairs (A, b)."""

    def apply(slope: Tensor, state: Tensor) -> Tensor:
        return (slope @ state.unsqueeze(-1)).squeeze(-1) if dense else slope * state

    def combine(first: tuple[Tensor, Tensor], then: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        product = then[0] @ first[0] if dense else then[0] * first[0]
        return product, apply(then[0], first[1]) + then[1]

    dense = slopes.dim() > shifts.dim()
    shifts = torch.cat((apply(slopes[:1], start[None]) + shifts[:1], shifts[1:]))
    path: Tensor = associative_scan(combine, (slopes, shifts), 0, combine_mode="generic")[1]
    return path


def problem(kind: str, length: int, batch: int, width: int) -> AffineMaps:
    """Contracting maps, so that no rival meets an overflow."""
    torch.manual_seed(0)
    shape = {"diagonal": (width,), "scalar": (1,), "dense": (width, width)}[kind]
    slopes = (1.6 * torch.rand(length, batch, *shape) - 0.8) / (width**0.5 if kind == "dense" else 1)
    return slopes, torch.randn(length, batch, width), torch.randn(batch, width)


def milliseconds(rivals: list[Callable[[], Tensor]], repeats: int = 5) -> list[float]:
    """Median milliseconds of each rival, taken in turn, once they are seen to agree."""
    expected = rivals[0]()
    for rival in rivals[1:]:
        torch.testing.assert_close(rival(), expected, rtol=1e-3, atol=1e-4)
    times: list[list[float]] = [[] for _ in rivals]
    for _, (rival, own) in itertools.product(range(repeats), list(zip(rivals, times, strict=True))):
        begin = time.process_time()
        rival()
        own.append(1e3 * (time.process_time() - begin))
    return [statistics.median(own) for own in times]


def table() -> list[str]:
    """Eager rivals over kinds, lengths, batches and widths."""
    library = compile_fused()
    lines = [
        "| kind | T | batch | D | loop | scan, torch | scan, native | loop / native | C | native / C | assoc. scan |"
    ]
    lines.append("|---" + "|--:" * 10 + "|")
    gains: dict[int, list[float]] = {}
    costs: dict[int, list[float]] = {}
    widths = {"scalar": (1, 64, 1024), "diagonal": (1, 64, 1024), "dense": (2, 4, 16)}
    for kind, length, batch in itertools.product(widths, (64, 1000, 10_000), (1, 16)):
        for width in widths[kind]:
            if length * batch * width * (width if kind == "dense" else 1) > LARGEST:
                continue
            maps = problem(kind, length, batch, width)
            rivals = [lambda m=maps, f=f: f(*m) for f in (loop, by_torch, native, shipped)]
            slow, ours, kernel, theirs, best = milliseconds([*rivals, lambda k=kind, m=maps: fused(library, k, m)])
            gains.setdefault(length, []).append(slow / kernel)
            costs.setdefault(length, []).append(kernel / best)
            lines.append(
                f"| {kind} | {length} | {batch} | {width} | {slow:.3g} | {ours:.3g} | {kernel:.3g} "
                f"| {slow / kernel:.1f} | {best:.3g} | {kernel / best:.1f} | {theirs:.3g} |"
            )
            print(lines[-1], flush=True)
    return [*lines, "", *(verdict(length, gains[length], costs[length]) for length in gains)]


def verdict(length: int, gains: list[float], costs: list[float]) -> str:
    """How many rows of a length keep the promise."""
    faster, near = sum(g > 1 for g in gains), sum(c <= 2 for c in costs)
    return (
        f"- T = {length}: native, faster than the loop in {faster} of {len(gains)} rows "
        f"({min(gains):.2f}x to {max(gains):.0f}x); within 2x of C in {near} "
        f"({min(costs):.1f}x to {max(costs):.0f}x)"
    )


START = """
import os, time
import torch
from forerun.engine.numerics.scan import affine_scan
from forerun.engine.numerics.native.scans import scan_natively
maps = torch.ones(100, 1, 4, 4), torch.ones(100, 1, 4), torch.ones(1, 4)
begin = time.process_time()
import numba
imported = time.process_time()
scan_natively(*maps, reverse=False)
print(imported - begin, time.process_time() - imported)
"""


def loading_table() -> list[str]:
    """Seconds to import numba, and to the end of the first scan: compiled now, and from the disk."""
    lines = ["| kernel of a dense scan | import numba, s | load it and scan once, s |", "|---|--:|--:|"]
    with tempfile.TemporaryDirectory() as folder:
        variables = {**os.environ, "NUMBA_CACHE_DIR": folder, "FORERUN_NATIVE": "1"}
        for name in ("compiled now", "from the disk"):
            run = subprocess.run(
                [sys.executable, "-c", START], env=variables, capture_output=True, text=True, check=True
            )
            imported, scanned = map(float, run.stdout.split())
            lines.append(f"| {name} | {imported:.2f} | {scanned:.3f} |")
    return lines


def compiled_table() -> list[str]:
    """`scan` and `associative_scan` under `torch.compile`."""
    lines = [
        "| kind | T | D | scan, compiled | associative_scan, compiled | seconds to compile: scan | associative_scan |"
    ]
    lines.append("|---" + "|--:" * 6 + "|")
    for kind, length, width in (("diagonal", 1000, 16), ("dense", 1000, 4)):
        maps, functions, waits = problem(kind, length, 1, width), [], []
        for function in (affine_scan, shipped):
            functions.append(torch.compile(function, fullgraph=True, dynamic=False))
            begin = time.perf_counter()
            functions[-1](*maps)
            waits.append(time.perf_counter() - begin)
        ours, theirs = milliseconds([lambda m=maps, f=f: f(*m) for f in functions])
        lines.append(f"| {kind} | {length} | {width} | {ours:.3g} | {theirs:.3g} | {waits[0]:.1f} | {waits[1]:.1f} |")
        print(lines[-1], flush=True)
    return lines


def environment() -> list[str]:
    """Where, when and with what this was measured."""
    cpu = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [
        f"- date: {datetime.date.today().isoformat()}",
        f"- command: python benchmarks/{Path(sys.argv[0]).name}",
        f"- commit: {commit.stdout.strip()}",
        f"- processor: {cpu.partition(':')[2].strip()}, {torch.get_num_threads()} thread, shared machine",
        f"- versions: Python {sys.version.split()[0]}, torch {torch.__version__}",
    ]


def main() -> None:
    """Measure and write the result."""
    torch.set_num_threads(1)
    text = ["# scan is faster than the loop", "", *environment(), "", "Milliseconds, float32, forward.", "", *table()]
    text += ["", "## Loading the kernels", "", *loading_table()]
    text += ["", "## Compiled", "", *compiled_table(), ""]
    (ROOT / "benchmarks" / "results" / "scan_is_faster_than_the_loop.md").write_text("\n".join(text))


if __name__ == "__main__":
    main()
