"""`forerun sample`: the images of a prompt, in order and in parallel over steps, compared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import torch
import typer

from forerun.cli.kit import options as kit
from forerun.cli.kit.allocator import keep_freed_memory
from forerun.cli.kit.command_line import repeat_line
from forerun.cli.kit.machine import package_version, timing_facts
from forerun.cli.kit.output_files import make_folders, write_summary
from forerun.cli.kit.stopping import RunInterrupted, end_interrupted, failing_in_one_line
from forerun.cli.kit.terminal import command_progress, refusing_input
from forerun.cli.sample import options as own
from forerun.cli.sample import ranks
from forerun.cli.sample.files import SampleFiles, sample_figures, write_images, write_report
from forerun.cli.sample.job import prepare_sample
from forerun.cli.sample.options import SampleOptions, SampleSettings
from forerun.cli.sample.runs import SampleOutcome, run_sample
from forerun.cli.sample.show import show_begin, show_end, show_figures
from forerun.diffusion.pipelines.calls import NotUnderstood


def sample(
    context: typer.Context,
    prompt: own.PromptArgument = None,
    *,
    pipeline: own.PipelineOption = None,
    scheduler: own.SchedulerOption = None,
    steps: own.StepsOption = 50,
    guidance: own.GuidanceOption = None,
    negative: own.NegativeOption = None,
    images: own.ImagesOption = 1,
    seed: kit.SeedOption = kit.DEFAULT_SEED,
    tolerance: own.ToleranceOption = None,
    method: kit.MethodOption = kit.DEFAULT_METHOD,
    window: own.UsualWindowOption = None,
    max_batch: own.MaxBatchOption = None,
    device: kit.DeviceOption = kit.DEFAULT_DEVICE,
    dtype: own.DtypeOption = "float32",
    threads: own.CoresOption = None,
    out: kit.OutOption = kit.DEFAULT_OUT,
    report: kit.ReportOption = None,
    compare: kit.CompareOption = True,
    strict: own.StrictOption = False,
) -> None:
    """Draw what a prompt says, in parallel over steps, and compare with the pipeline's own run."""
    keep_freed_memory()
    ranks.silence_other_ranks()
    with refusing_input():
        options = SampleOptions.from_parameters(context.params)
        settings = SampleSettings.from_options(options, ranks.count_ranks())
        torch.set_num_threads(options.threads)
        make_folders(out, None if report is None else report.parent)
    files = SampleFiles(out, report, _repeat_line(context))
    with ranks.process_group(settings.device) as is_first, _ending_in_one_line():
        machine = {**timing_facts(settings.device), "diffusers": package_version("diffusers")}
        outcome = _run(options, settings, machine, compare=compare)
        if is_first:
            _write_files(outcome, options, machine, files)


def _run(
    options: SampleOptions,
    settings: SampleSettings,
    machine: dict[str, str],
    *,
    compare: bool,
) -> SampleOutcome:
    with refusing_input():
        job = prepare_sample(options, settings)
    show_begin(job, options, machine)
    outcome = run_sample(
        job,
        options,
        settings,
        compare=compare,
        progress=command_progress(),
    )
    results = [outcome.ahead.sample, *outcome.ahead.pictures]
    ranks.require_agreement(results, settings.device)
    return outcome


def _write_files(
    outcome: SampleOutcome,
    options: SampleOptions,
    machine: dict[str, str],
    files: SampleFiles,
) -> None:
    names = write_images(outcome, files.out)
    figures = sample_figures(outcome, names)
    write_summary(files.out, machine=machine, options=asdict(options), jobs=[figures])
    show_figures(figures, options.window, options.threads)
    with_frames = False
    if files.report is not None:
        with_frames = write_report(outcome, machine, files.command, files.report)
    show_end(names, files.out, files.report, with_frames=with_frames)


@contextmanager
def _ending_in_one_line() -> Iterator[None]:
    """End the command with a line after Ctrl-C, and where a run fails."""
    try:
        with failing_in_one_line(NotUnderstood):
            yield
    except RunInterrupted as interrupted:
        end_interrupted(f" {interrupted.reached}. Nothing was written.")
    except KeyboardInterrupt:
        end_interrupted(". Nothing was written.")


def _repeat_line(context: typer.Context) -> str:
    """Return the line that repeats this run, with as many processes."""
    if ranks.count_ranks() == 1:
        return repeat_line(context)
    launcher = ("torchrun", f"--nproc-per-node={ranks.count_ranks()}", "-m", "forerun")
    return repeat_line(context, launcher=launcher)
