"""Study: a published system on a reference problem, its claims, its picture, and what running ahead adds to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Figures = Mapping[str, Any]  # what a run came to: numbers and short strings, by name
Scale = Literal["quick", "full"]  # seconds, in the tests; or minutes, for the committed results


@dataclass(frozen=True)
class Claim:
    """One thing that a paper says, or that this library adds, as a condition on figures.

    Attributes:
        sentence: what is claimed.
        paper: what the paper gives for it, in its own terms; "ours" for a claim of this library.
        here: what came out here, as a format string of figures: `"{rounds:.1f} rounds"`.
        holds: whether the figures show it. Seconds are no claim: they depend on the machine.
        stable: whether a quick run shows it too, which the tests then hold it to.
    """

    sentence: str
    paper: str
    here: str
    holds: Callable[[Figures], bool]
    stable: bool = True


@dataclass(frozen=True)
class ClaimVerdict:
    """A claim beside what came out.

    Attributes:
        claim: the sentence.
        paper: what the paper gives.
        here: what came out.
        holds: whether that shows the claim.
    """

    claim: str
    paper: str
    here: str
    holds: bool


@dataclass(frozen=True)
class Study:
    """A published system, run on a reference problem; one file in a group, found by walking the package.

    Third-party libraries are imported inside `run` and `draw`, so that all studies can be listed at once.

    Attributes:
        number: of the abstract that it belongs to.
        title: what it is about, in a few words.
        paper: who wrote it, and where it stands.
        claims: what is held against the figures.
        run: the system and its strongest simple rival, several seeds; with a progress bar.
        draw: one picture of the figures, readable as a thumbnail.
        engine: what running ahead adds here, in rounds, evaluations and deviation, or why nothing; a format string of
            figures, as is the next one.
        deviates: what is not the paper's setting: data, size, network, hardware.
    """

    number: int
    title: str
    paper: str
    claims: tuple[Claim, ...]
    run: Callable[[Scale], Figures]
    draw: Callable[[Figures], Figure]
    engine: str
    deviates: str

    def judge(self, figures: Figures) -> tuple[ClaimVerdict, ...]:
        """Return every claim beside what came out.

        Raises:
            KeyError: a claim asks for a figure that the run did not give.
        """
        return tuple(
            ClaimVerdict(claim.sentence, claim.paper, claim.here.format_map(figures), claim.holds(figures))
            for claim in self.claims
        )
