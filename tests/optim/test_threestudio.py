"""The recipe of docs/threestudio.md, executed against a stand-in with the interface of a threestudio system."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from optim.loops import EXACT, SEED, same
from torch import nn

from forerun import Sliding
from forerun.optim import StepLength, seeded

PAGE = Path(__file__).parents[2] / "docs" / "threestudio.md"
STEPS = 16


def recipe():
    """`loop_of` as it is printed."""
    block = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    found = {}
    exec(compile(block[1], str(PAGE), "exec"), found)
    return found["loop_of"]


class Cameras:
    """A dataset as `RandomCameraIterableDataset`: a batch of random cameras, of a size that grows by the step."""

    def __init__(self):
        self.size = 2

    def update_step(self, epoch, global_step, on_load_weights=False):
        self.size = 2 if global_step < 8 else 3

    def collate(self, batch):
        return {
            "rays": torch.rand(self.size, 3),
            "azimuth": torch.tensor(np.random.rand(1)).float(),
            "height": self.size,
        }


class System(nn.Module):
    """A system as `BaseLift3DSystem`: annealed weights, a guidance whose LoRA is trained too, noise in every step."""

    def __init__(self, pruning=False):
        super().__init__()
        torch.manual_seed(0)
        self.geometry = nn.Sequential(nn.Linear(3, 8), nn.Softplus(), nn.Linear(8, 3))
        self.background = nn.Linear(1, 3)
        self.guidance = nn.Module()
        self.guidance.unet = nn.Linear(4, 3).requires_grad_(False)
        self.guidance.lora = nn.Linear(4, 3)
        self.register_buffer("occupancy", torch.zeros(4))
        self.pruning = pruning
        self.most = 0.98
        self._resumed_eval, self._status = False, {"global_step": 0}

    @property
    def device(self):
        return self.occupancy.device

    @property
    def true_global_step(self):
        return self._status["global_step"] if self._resumed_eval else 0

    def set_resume_status(self, current_epoch, global_step):
        self._resumed_eval = True
        self._status["global_step"] = global_step

    def C(self, value):  # noqa: N802 (threestudio calls it so)
        start, first, last, end = value
        return first + (last - first) * min(max((self.true_global_step - start) / (end - start), 0), 1)

    def do_update_step(self, epoch, global_step, on_load_weights=False):
        self.most = 0.98 if global_step < 6 else 0.5
        if self.pruning:
            self.occupancy.mul_(0.95)

    def preprocess_data(self, batch, stage):
        batch["rays"] = batch["rays"] * 2 - 1

    def configure_optimizers(self):
        groups = [
            {"params": self.geometry.parameters(), "lr": 0.02, "name": "geometry"},
            {"params": self.background.parameters(), "lr": 0.01, "name": "background"},
            {"params": self.guidance.lora.parameters(), "lr": 0.005, "name": "guidance"},
        ]
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), eps=1e-15)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.95)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def training_step(self, batch, batch_idx):
        colours = torch.sigmoid(self.geometry(batch["rays"]) + self.background(batch["azimuth"]))
        t = (0.02 + (self.most - 0.02) * torch.rand(1)).expand(len(colours), 1)
        noise = torch.randn_like(colours)
        noisy = torch.cat([colours.detach() * (1 - t) + noise * t, t], 1)
        with torch.no_grad():
            gradient = self.guidance.unet(noisy) - self.guidance.lora(noisy)
        loss_vsd = (gradient * colours).sum()
        loss_lora = (self.guidance.lora(noisy) - noise).square().mean()
        sparsity = colours.mean() * self.C((0, 0.1, 10.0, 12))
        return {"loss": loss_vsd + loss_lora + sparsity}


def plain():
    """What the trainer does."""
    system, dataset = System(), Cameras()
    made = system.configure_optimizers()
    for step in range(STEPS):
        with seeded(SEED, step):
            dataset.update_step(0, step)
            batch = dataset.collate(None)
            system.set_resume_status(0, step)
            system.preprocess_data(batch, "train")
            system.do_update_step(0, step)
            made["optimizer"].zero_grad()
            system.training_step(batch, step)["loss"].backward()
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    return system


def options(**other):
    return {name: value for name, value in EXACT.items() if name != "gradients"} | other


def test_a_system_ahead_has_the_bits_of_its_own_loop():
    truth, system = plain(), System()
    solution = recipe()(system, Cameras(), **options()).run(STEPS).solution()
    assert same(truth.state_dict(), system.state_dict())
    assert not same(System().guidance.lora.state_dict(), system.guidance.lora.state_dict())
    assert solution.rounds <= STEPS < solution.evaluations


def test_a_system_ahead_needs_fewer_rounds():
    truth, system = plain(), System()
    ahead = recipe()(system, Cameras(), **options(tolerance=StepLength(0.1), window=Sliding(4)))
    assert ahead.run(STEPS).solution().rounds < STEPS
    for one, other in zip(truth.parameters(), system.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=2e-2, rtol=0.2)


def test_an_occupancy_grid_that_steps_change_is_refused_by_name():
    with pytest.raises(ValueError, match=r"the loss changes the buffer\(s\) occupancy of a module"):
        recipe()(System(pruning=True), Cameras()).run(STEPS)
