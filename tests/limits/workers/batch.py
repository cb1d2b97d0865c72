"""A batch of maps, split over the ranks that torchrun started; writes what each rank found."""

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from forerun import Distributed, fixed_point
from forerun.limits import BatchMap, Plain


class Rates(BatchMap):
    """Affine maps of different rates; elementwise, so that the bits do not depend on the batch."""

    calls = 0  # problems that this rank was asked for

    def __init__(self, rates):
        self.rates = rates

    def evaluate(self, x):
        Rates.calls += len(x)
        return self.rates[:, None] * x + 1.0

    def select(self, problems):
        return Rates(self.rates[problems])


rates = torch.linspace(0.1, 0.9, 6, dtype=torch.float64)
alone = fixed_point(Rates(rates), torch.zeros(6, 4, dtype=torch.float64), method=Plain())
calls_alone, Rates.calls = Rates.calls, 0
together = fixed_point(Rates(rates), torch.zeros(6, 4, dtype=torch.float64), method=Plain(), backend=Distributed())
result = {
    "same": torch.equal(alone.value, together.value),
    "evaluations": [alone.evaluations, together.evaluations],
    "calls": [calls_alone, Rates.calls],
}
(Path(sys.argv[1]) / f"{os.environ['RANK']}.json").write_text(json.dumps(result))
dist.destroy_process_group()  # before the process ends: its threads may abort one that ends with it
