"""ParaDiGMS: diffusion models sampled in parallel over the steps, by diffusers' own pipeline and by forerun."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from forerun import Sliding
from forerun.studies.equal_deviation import compare_rivals, geometric_grid, largest_deviation, ratio_range
from forerun.studies.pictures import IN_ORDER_COLOUR, OURS_COLOUR, RIVAL_COLOUR, draw_rivals
from forerun.studies.study import Claim, Figures, Scale, Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEVIATION_BOUND = 1e-2  # of any number of the latents, in units of their root mean square


@dataclass(frozen=True)
class SamplerCase:
    """A scheduler of diffusers and its steps, with the window of both rivals and the seeds."""

    scheduler: str
    steps: int
    window: int
    seeds: int

    @property
    def name(self) -> str:
        """The name of the case in figures."""
        return f"{self.scheduler} {self.steps}"


CASES = {
    "quick": [SamplerCase("DDIM", 50, 25, seeds=1)],
    "full": [
        SamplerCase("DDIM", 50, 25, seeds=3),
        SamplerCase("DDIM", 100, 50, seeds=3),
        SamplerCase("DDPM", 100, 50, seeds=3),
        SamplerCase("DDPM", 1000, 100, seeds=2),
    ],
}
GRIDS = {
    "quick": {"ParaDiGMS": [0.0054], "forerun": [0.0016]},
    "full": {
        "ParaDiGMS": geometric_grid(0.16, ratio=0.7, count=12),
        "forerun": geometric_grid(0.008, ratio=0.7, count=12),
    },
}


def run(scale: Scale) -> Figures:
    """Run each case in order, by ParaDiGMS and by forerun, at the loosest tolerances that keep the bound."""
    cases = CASES[scale]
    figures: dict[str, Any] = {"cases": ", ".join(case.name for case in cases)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # diffusers has the pipeline of ParaDiGMS among those that it will drop
        for case in tqdm(cases, desc="samplers", leave=False):
            figures |= _compare(case, GRIDS[scale])
    figures |= {"steps": cases[-1].steps, "rounds": figures[f"rounds, {cases[-1].name}, ParaDiGMS"]}
    for quantity, over in (("rounds", "in order"), ("rounds", "forerun"), ("evaluations", "forerun")):
        figures |= ratio_range(figures, quantity, over, "ParaDiGMS")
    for run in ("ParaDiGMS", "one step"):
        figures[f"deviation, {run}"] = max(figures[f"deviation, {case.name}, {run}"] for case in cases)
    names = [f"{case.name}, forerun" for case in cases]
    figures["calls to verify"] = max(figures[f"calls, {name}"] - figures[f"rounds, {name}"] for name in names)
    return figures


def _compare(case: SamplerCase, grids: dict[str, list[float]]) -> dict[str, Any]:
    """Run one case; all have the same networks, prompts and noise."""
    import diffusers
    from diffusers.pipelines.deprecated.stable_diffusion_variants import pipeline_stable_diffusion_paradigms as theirs

    from forerun.worlds.scenes.counted_run import build_pipeline, count_seeds

    scheduler = getattr(diffusers, f"{case.scheduler}ParallelScheduler")
    in_order = build_pipeline(diffusers.StableDiffusionPipeline, scheduler)
    paradigms = build_pipeline(theirs.StableDiffusionParadigmsPipeline, scheduler)
    count = partial(count_seeds, num_inference_steps=case.steps)
    rivals = {
        "ParaDiGMS": lambda size: count(paradigms, case.seeds, parallel=case.window, tolerance=size),
        "forerun": lambda size: count(in_order, case.seeds, ahead={"tolerance": size, "window": Sliding(case.window)}),
    }
    truth = count(in_order, case.seeds)
    one_step = largest_deviation(count(paradigms, 1, parallel=1, tolerance=0.0), truth[:1])
    figures = compare_rivals(case.name, rivals, truth, bound=DEVIATION_BOUND, grids=grids)
    return figures | {f"deviation, {case.name}, one step": one_step}


def draw(figures: Figures) -> Figure:
    """Draw rounds and evaluations of the three, a line for each sampler."""
    colours = {"in order": IN_ORDER_COLOUR, "ParaDiGMS": RIVAL_COLOUR, "forerun": OURS_COLOUR}
    return draw_rivals(figures, figures["cases"].split(", "), colours)


RATIOS = "{{smallest {0}:.2g}} to {{largest {0}:.2g}}"
ROUNDS_RATIO = "rounds, forerun / ParaDiGMS"
EVALUATIONS_RATIO = "evaluations, forerun / ParaDiGMS"

STUDY = Study(
    number=2,
    title="Parallel sampling of diffusion models",
    paper="Shih, Belkhale, Ermon, Sadigh and Anari: ParaDiGMS, arXiv 2305.16317 (NeurIPS 2023)",
    claims=(
        Claim(
            "Picard's iteration over the steps takes far fewer rounds than there are steps",
            paper="2 to 4 times faster",
            here=RATIOS.format("rounds, in order / ParaDiGMS") + " times fewer rounds",
            holds=lambda figures: figures["smallest rounds, in order / ParaDiGMS"] >= 2,
        ),
        Claim(
            "A thousand steps take less than a hundred rounds",
            paper="1000 steps of Stable Diffusion 2 in 16 s",
            here="{rounds:.1f} rounds for {steps} steps",
            holds=lambda figures: figures["steps"] == 1000 and figures["rounds"] < 100,
            stable=False,
        ),
        Claim(
            "The sample is that of the sequential run",
            paper="no measurable loss of quality",
            here="largest deviation {deviation, ParaDiGMS:.1e}; with a window of one step {deviation, one step:.0e}",
            holds=lambda figures: figures["deviation, ParaDiGMS"] <= 1e-2 and figures["deviation, one step"] < 1e-4,
        ),
        Claim(
            "forerun takes fewer rounds at equal deviation",
            paper="ours",
            here=RATIOS.format(ROUNDS_RATIO) + " of its rounds",
            holds=lambda figures: figures[f"largest {ROUNDS_RATIO}"] <= 0.85,
        ),
        Claim(
            "forerun takes fewer evaluations at equal deviation",
            paper="ours",
            here=RATIOS.format(EVALUATIONS_RATIO) + " of its evaluations",
            holds=lambda figures: figures[f"largest {EVALUATIONS_RATIO}"] <= 0.9,
        ),
    ),
    run=run,
    draw=draw,
    engine="At equal deviation, secant slopes on the denoised sample and outputs held in new slots take "
    f"{RATIOS.format(ROUNDS_RATIO)} of the rounds of ParaDiGMS, {RATIOS.format(EVALUATIONS_RATIO)} of its evaluations. "
    "Its witness and its check, which ParaDiGMS lacks, make up to {calls to verify:.0f} further calls.",
    deviates="The shipped pipeline of four million weights, 64 x 64 pictures and guidance 3 for Stable Diffusion 2; "
    "rounds and evaluations for seconds on eight GPUs; deviations of latents for FID and CLIP. Samplers: {cases}.",
)
