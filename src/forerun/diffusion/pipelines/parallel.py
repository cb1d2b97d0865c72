"""parallel: any diffusers pipeline, its own `__call__` and its own scheduler, ahead of order.

The pipeline takes the first step of its loop itself. From what it did there the adapter learns how a sample becomes
the model output (`recipe`) and how the scheduler steps (`forerun.diffusion.schedulers`), solves the rest of the loop,
and then lets the pipeline walk on: the networks hand back what they gave on the solved path, guidance and scheduler
do their own arithmetic. Every input that the pipeline arrives at is compared with the one that was evaluated; where
they differ, the network is called, and the rest is solved again from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from forerun.diffusion.pipelines.hooks import watching
from forerun.diffusion.pipelines.loop_ledger import Settings
from forerun.diffusion.pipelines.pipeline_run import Ahead
from forerun.engine.backends import Backend, Local
from forerun.engine.check import Check
from forerun.engine.event import RoundEvent
from forerun.engine.guesses import Guess
from forerun.engine.methods import Method, Secant
from forerun.engine.progress import Progress, Silent
from forerun.engine.tolerance import Tolerance
from forerun.engine.windows import Auto, Window


@contextmanager
def parallel(
    pipe: Any,
    *,
    method: Method = Secant(),
    window: Window = Auto(),
    tolerance: float | Tolerance | None = None,
    check: bool | Check = True,
    guess: Guess | None = None,
    backend: Backend = Local(),
    progress: Progress = Silent(),
    callback: Callable[[RoundEvent], Any] = lambda event: None,
    strict: bool = False,
) -> Iterator[Ahead]:
    """Run what a diffusers pipeline samples inside of the context ahead of order; the same sample, in fewer rounds.

        with forerun.diffusion.parallel(pipe) as run:
            image = pipe(prompt, num_inference_steps=100, generator=generator).images[0]
        print(run.solution)

    Nothing changes for the pipeline: callbacks, progress bars, decoding and output types go on as before, and leaving
    the context puts everything back. What cannot be repeated safely runs in order, with one warning that says why.

    Args:
        pipe: a pipeline of diffusers, modular or not, with a scheduler and a network among its components.
        method: see `forerun.solve`.
        window: see `forerun.solve`.
        tolerance: root mean square by which a sample may be off, in units of the standard deviation of the samples of
            its step; by default 1e-3, or four roundings of the samples' dtype where that is more (bfloat16: 0.031).
            Or a `Tolerance`, in the units of the samples themselves.
        check: see `forerun.solve`.
        guess: what stands in a slot before its first evaluation; by default the last output, held, and where a sampler
            draws no noise, a few outputs over the first window, if that is wide (`forerun.engine.guesses.Probe`).
        backend: where rounds are evaluated; `Local(max_batch=16)` bounds memory.
        progress: shown while a loop is solved; the pipeline's own bar goes on as well.
        callback: see `forerun.solve`.
        strict: raise where something is not understood, rather than go on in order.

    Yields:
        An `Ahead`: `.solution` of the last loop, `.solutions` of all.

    Raises:
        TypeError: the pipeline has no scheduler with a step, or no network.
        RuntimeError: it runs ahead already.
    """
    settings = Settings(method, window, tolerance, check, guess, backend, progress, callback, strict)
    ahead = Ahead(pipe, settings)
    with watching(pipe, ahead):
        yield ahead
