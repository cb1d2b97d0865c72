"""SchedulerForm: what probing finds out of the steps of a scheduler; and a memory, so that each is probed once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final, final

from torch import Tensor

from forerun.diffusion.schedulers.clipping import SampleClipping
from forerun.diffusion.schedulers.linear import StepMatrices
from forerun.diffusion.schedulers.prediction import PredictionSplit
from forerun.diffusion.schedulers.replay import DryRun

REMEMBERED_FORM_STEPS: Final = 8192  # of all schedulers whose forms are kept, together


@dataclass(frozen=True)
class SchedulerForm:
    """The steps of a scheduler, as probing found them.

    Attributes:
        dry_run: the scheduler before every step.
        splits: what the network predicts in each.
        matrices: of the steps; None where they are not linear.
        clipping: what is clamped besides; None where nothing is.
        scales: by how much each scales the sample for the network, float64 `(length,)`.
    """

    dry_run: DryRun
    splits: Sequence[PredictionSplit]
    matrices: StepMatrices | None
    clipping: SampleClipping | None
    scales: Tensor


@final
class FormMemory:
    """Keeps the forms of the schedulers that were probed last.

    Args:
        max_steps: that all forms in it have together, at most.
    """

    def __init__(self, max_steps: int) -> None:
        self._max_steps = max_steps
        self._forms: OrderedDict[Hashable, SchedulerForm] = OrderedDict()
        self._lock = threading.Lock()  # pipelines may run in several threads

    def __len__(self) -> int:
        return len(self._forms)

    def recall(self, key: Hashable | None) -> SchedulerForm | None:
        """Return the form of a scheduler with this key; None where it was not probed, or has been changed since."""
        with self._lock:
            form = self._forms.pop(key, None)
            if form is None or not form.dry_run.is_intact:
                return None
            self._forms[key] = form  # the last that was asked for
            return form

    def remember(self, key: Hashable | None, form: SchedulerForm) -> None:
        """Keep a form, unless its scheduler has no key; the oldest are forgotten."""
        if key is None:
            return
        with self._lock:
            self._forms[key] = form
            while self._count_steps() > self._max_steps:
                self._forms.popitem(last=False)

    def clear(self) -> None:
        """Forget all forms."""
        self._forms.clear()

    def _count_steps(self) -> int:
        return sum(len(form.splits) for form in self._forms.values())


SCHEDULER_FORMS: Final = FormMemory(REMEMBERED_FORM_STEPS)
