"""One rank of a training loop; writes what it found as JSON."""

import hashlib
import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from forerun import Absolute, Distributed, Local, Sliding
from forerun.optim import Loop, OneByOne, SaveEvery, Vmapped

folder = Path(sys.argv[1])
asked = []


def batch(step):
    return torch.randn(8, 4)


def loss(params, step, xs):
    if not torch._C._functorch.is_batchedtensor(params["w"]):
        asked.append(step)
    return torch.tanh(xs @ params["w"] + params["b"]).square().mean() + (params["w"] - 1).square().mean()


def run(backend, gradients, save=None):
    torch.manual_seed(0)
    params = {"w": torch.nn.Parameter(torch.randn(4, 3)), "b": torch.nn.Parameter(torch.zeros(3))}
    optimizer = torch.optim.Adam(params.values(), 0.02)
    options = {"window": Sliding(6), "tolerance": Absolute(1e-4), "backend": backend, "gradients": gradients}
    options["witness"] = isinstance(gradients, Vmapped)  # calls of the witness are not counted below
    running = Loop(params, optimizer, loss, data=batch, **options).run(30, save=save)
    asked.clear()
    solution = running.solution()
    tensors = [*params.values(), *(entry["exp_avg_sq"] for entry in optimizer.state.values())]
    bits = b"".join(tensor.detach().numpy().tobytes() for tensor in tensors)
    return {"bits": hashlib.sha256(bits).hexdigest(), "rounds": solution.rounds, "asked": len(asked)} | {
        "evaluations": solution.evaluations,
        "communicate": solution.seconds.communicate,
    }


local = {"one by one": run(Local(), OneByOne())}
dist.init_process_group("gloo")
rank = dist.get_rank()
found = {
    "local": local,
    "one by one": run(Distributed(), OneByOne(), SaveEvery(10, folder / f"own-{rank}.safetensors")),
    "vmapped": run(Distributed(), Vmapped()),
    "wrote": (folder / f"own-{rank}.safetensors").exists(),
}
(folder / f"{rank}.json").write_text(json.dumps(found))
dist.destroy_process_group()
