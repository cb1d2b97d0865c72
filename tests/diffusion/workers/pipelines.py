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
    own = entry.run(steps=STEPS)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with parallel(entry.build(), window=forerun.Full(), backend=forerun.Distributed(), tolerance=1e-4) as run:
            found = entry.run(steps=STEPS)
    return {
        "bits": hashlib.sha256(found.contiguous().numpy().tobytes()).hexdigest(),
        "distance": float((found - own).pow(2).mean().sqrt() / own.pow(2).mean().sqrt()),
        "rounds": run.solution.rounds,
        "notes": [str(each.message) for each in told if "forerun" in str(each.message)],
    }


def main():
    diffusers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    found = {name: ahead(name) for name in sys.argv[2:]}
    Path(sys.argv[1], f"{os.environ['RANK']}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


main()
