"""parallel: any diffusers pipeline, its own `__call__` and its own scheduler, in parallel over the steps.

The pipeline takes the first step of its loop itself. From what it did there the adapter traces how a sample becomes
the model output (`call_graph`) and how the scheduler steps (`forerun.diffusion.schedulers`), solves the rest of the
loop, and then lets the pipeline go on: the networks return what they returned on the solved path, guidance and
scheduler do their own arithmetic. Every input that the pipeline arrives at is compared with the one that was
evaluated; where they differ, the network is called, and the rest is solved again from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Unpack

from forerun.diffusion.pipelines.hooks import watch_pipeline
from forerun.diffusion.pipelines.pipeline_run import PipelineRun
from forerun.engine.options import SolveKeywords, SolveOptions


@contextmanager
def parallel(
    pipe: Any,
    *,
    options: SolveOptions | None = None,
    **keywords: Unpack[SolveKeywords],
) -> Iterator[PipelineRun]:
    """Run what a diffusers pipeline samples inside of the context many steps at a time: the same sample, fewer rounds.

        with forerun.diffusion.parallel(pipe) as run:
            image = pipe(prompt, num_inference_steps=100, generator=generator).images[0]
        print(run.solution)

    Nothing changes for the pipeline: callbacks, progress bars, decoding and output types go on as before, and leaving
    the context puts everything back. What cannot be repeated safely runs in order, with one warning that says why.

    Args:
        pipe: a pipeline of diffusers, modular or not, with a scheduler and a network among its components.
        options: how to solve, as one object. A plain number as tolerance is the root mean square by which a sample may
            be off, in units of the standard deviation of the samples of its step; by default 1e-3, or four roundings
            of the samples' dtype where that is more (bfloat16: 0.031). A `Tolerance` is in the units of the samples.
            The guess is by default the last output, held; where a sampler draws no noise and the first window is wide,
            a few outputs are evaluated over it first (`forerun.engine.guesses.Probe`).
        keywords: the options one by one; `SolveOptions` says what they mean.

    Yields:
        A `PipelineRun`: `.solution` of the last loop, `.solutions` of all.

    Raises:
        TypeError: the pipeline has no scheduler with a step, or no network; or an option is of the wrong kind.
        RuntimeError: another `parallel` watches it already.
    """
    run = PipelineRun(pipe, SolveOptions.gather(options, keywords))
    try:
        with watch_pipeline(pipe, run):
            yield run
    finally:
        run.finish()
