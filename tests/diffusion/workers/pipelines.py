"""Pipelines on all ranks; started by torchrun."""

import hashlib
import json
import os
import sys
import warnings
from pathlib import Path

import diffusers
import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from diffusion.zoo.catalogue import ZOO

import forerun
from forerun.diffusion.pipelines.parallel import parallel

STEPS = 16


def ahead(name):
    """Both ways, and the bits at the end."""
    entry = ZOO[name]
    expected = entry.run(steps=STEPS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with parallel(entry.build(), window=forerun.Full(), backend=forerun.Distributed(), tolerance=1e-4) as run:
            sample = entry.run(steps=STEPS)
    return {
        "bits": hashlib.sha256(sample.contiguous().numpy().tobytes()).hexdigest(),
        "distance": float((sample - expected).pow(2).mean().sqrt() / expected.pow(2).mean().sqrt()),
        "rounds": run.solution.rounds,
        "notes": [str(warning.message) for warning in caught if "forerun" in str(warning.message)],
    }


def main():
    diffusers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rows = {name: ahead(name) for name in sys.argv[2:]}
    Path(sys.argv[1], f"{os.environ['RANK']}.json").write_text(json.dumps(rows))
    dist.destroy_process_group()


main()
