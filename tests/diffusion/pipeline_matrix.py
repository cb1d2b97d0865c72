"""Every pipeline of the zoo, as it is and in parallel over steps."""

import warnings
from dataclasses import dataclass

import torch
from diffusion.zoo.entry import Entry
from torch import Tensor, nn

import forerun
from forerun.diffusion.pipelines.parallel import parallel

# Pipelines whose loop does what cannot be repeated for many steps together, and why they run in order.
CHANGES = "its guidance changes from step to step"
IN_ORDER = {
    "pag-adaptive": CHANGES,
    "cogvideox-dynamic": CHANGES,
    "z-image-normalised": CHANGES,
    "sag": "the pipeline reads the attention that its network kept of the last call",
    "panorama": "it steps many crops of one picture, each with a scheduler of its own",
    "modular-sdxl-projected": "its guider carries a momentum from step to step",
    "cogvideox-dpm": "it carries an output from step to step, and hands it to step",
    "repaint": "it goes forth and back, and hands the masked picture to step",
    "ltx-i2v": "it keeps the first frame, and steps the others",
    "sana-sprint": "it turns the samples and the outputs by angles that belong to no prediction type",
    "sd-latent-upscale": "it mixes outputs and samples, with weights by the noise of the step",
}
# Pipelines whose networks or guidance change on the way, so that few steps are left to gain anything in.
PARTLY = ("sd3-skip", "wan-two-experts", "controlnet-ending", "lumina2-truncated")


@dataclass(frozen=True)
class Case:
    """How a pipeline is asked."""

    guidance: bool = True
    batch: int = 1
    images: int = 1
    dtype: torch.dtype = torch.float32

    def __str__(self) -> str:
        kind = "bf16" if self.dtype == torch.bfloat16 else "f32"
        return f"{kind}-{'guided' if self.guidance else 'plain'}-{self.batch}x{self.images}"


CASES = (
    Case(),
    Case(guidance=False),
    Case(batch=3),
    Case(images=2),
    Case(dtype=torch.bfloat16),
)


@dataclass(frozen=True)
class Row:
    """What came of it: outputs, rounds for how many steps, and why it ran in order."""

    own: Tensor
    ahead: Tensor
    exact: Tensor  # its own in float32
    rounds: int
    steps: int
    note: str
    restored: bool  # whether nothing of the watching was left behind

    @property
    def deviation(self) -> float:
        """Root mean square, over the root mean square of the output."""
        return apart(self.ahead, self.own)

    @property
    def rounding(self) -> float:
        """How far the pipeline's own output lies from its output in float32."""
        return apart(self.own, self.exact)


def apart(one: Tensor, other: Tensor) -> float:
    """Root mean square of their difference, over that of the other."""
    size = other.float().pow(2).mean().sqrt().clamp_min(1e-6)
    return float((one.float() - other.float()).pow(2).mean().sqrt() / size)


def applies(entry: Entry, case: Case) -> bool:
    """Whether a family can be asked so."""
    return (
        (case.guidance or entry.guides)
        and (case.batch == 1 or entry.batches)
        and (case.images == 1 or entry.several)
        and (case.dtype == torch.float32 or entry.half)
    )


def compare(entry: Entry, case: Case, *, steps: int = 12, tolerance: float | None = 1e-4) -> Row:
    """Run a pipeline both ways."""
    pipe = entry.build(case.dtype)
    request: dict[str, object] = {"steps": steps, "guidance": case.guidance, "batch": case.batch, "images": case.images}
    exact = entry.run(**request)
    request["dtype"] = case.dtype
    own = exact if case.dtype == torch.float32 else entry.run(pipe, **request)
    before = fingerprint(pipe)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with parallel(pipe, window=forerun.Full(), tolerance=tolerance) as run:
            ahead = entry.run(pipe, **request)
    solution = run.solution
    assert solution is not None
    notes = [str(warning.message) for warning in caught if "forerun" in str(warning.message)]
    return Row(own, ahead, exact, solution.rounds, solution.length, " ".join(notes), fingerprint(pipe) == before)


def fingerprint(pipe: object) -> dict[str, object]:
    """All that watching may not leave behind."""
    components = pipe.components  # type: ignore[attr-defined]
    networks = {name: set(vars(module)) for name, module in components.items() if isinstance(module, nn.Module)}
    return {**networks, "scheduler": type(components["scheduler"])}
