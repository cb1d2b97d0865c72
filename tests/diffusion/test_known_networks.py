"""Networks that agreed with themselves alone are called alone less often, until anything of them changes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import diffusers
import pytest
import torch
from diffusion.zoo.catalogue import ZOO
from torch import nn

import forerun
from forerun.diffusion.pipelines import witnessed_path
from forerun.diffusion.pipelines.parallel import parallel
from forerun.engine.witness import WitnessWarning

STEPS = 16


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    level = diffusers.logging.get_verbosity()
    diffusers.logging.set_verbosity_error()
    monkeypatch.setattr(witnessed_path, "AGREED_NETWORKS", witnessed_path.AgreedNetworks())
    pipe = ZOO["sd"].build()
    shared_unet = pipe.unet
    pipe.unet = copy.deepcopy(shared_unet)
    yield pipe
    pipe.unet = shared_unet
    diffusers.logging.set_verbosity(level)


def run(pipe: Any) -> int:
    with parallel(pipe, window=forerun.Full()) as run:
        ZOO["sd"].run(pipe, steps=STEPS)
    return int(run.solution.witnessed)


def test_a_network_that_agreed_is_witnessed_less_often(pipe: Any) -> None:
    assert run(pipe) == 4
    counts = [run(pipe) for _ in range(4)]
    assert max(counts) <= 2
    assert min(counts) == 1


def add_noise_to_weight(network: nn.Module) -> None:
    with torch.no_grad():
        next(network.parameters()).mul_(1.001)


@pytest.mark.parametrize(
    "change",
    [
        add_noise_to_weight,
        lambda network: network.register_forward_pre_hook(lambda module, args: None),
        lambda network: setattr(network.conv_in, "scale_of_ours", 2.0),
    ],
)
def test_a_changed_network_is_witnessed_as_at_first(pipe: Any, change: Callable[[nn.Module], Any]) -> None:
    run(pipe)
    change(pipe.unet)
    assert run(pipe) == 4


def test_a_network_that_looks_at_other_rows_later_is_found_out(pipe: Any) -> None:
    assert run(pipe) == 4
    plain_forward = pipe.unet.forward

    def forward(sample: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        output = plain_forward(sample, *args, **{**kwargs, "return_dict": False})
        return (output[0] + 0.1 * (len(sample) - 2),)

    pipe.unet.forward = forward
    with pytest.warns((WitnessWarning, RuntimeWarning), match="within a batch|in a batch"):
        run(pipe)
