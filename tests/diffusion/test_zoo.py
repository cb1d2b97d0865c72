"""The zoo: every pipeline is deterministic, depends on its seed and on its network, and stays finite."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from diffusion.zoo.catalogue import ENTRIES, LEFT_OUT, ZOO
from diffusion.zoo.entry import Entry, quiet, tensor

STEPS = 3


def those(wanted: str) -> list[object]:
    """Entries with a flag, the slow ones marked."""
    chosen = [entry for entry in ENTRIES if getattr(entry, wanted)]
    return [pytest.param(entry, marks=pytest.mark.slow if entry.slow else ()) for entry in chosen]


@functools.cache
def plain(entry: Entry) -> Tensor:
    return entry.run(steps=STEPS)


@pytest.mark.parametrize("entry", those("name"), ids=repr)
def test_is_deterministic_and_depends_on_its_seed(entry):
    first = plain(entry)
    torch.manual_seed(3)  # nothing may come from the global generator
    assert torch.equal(first, entry.run(steps=STEPS))
    assert torch.isfinite(first).all()
    assert far(first, entry.run(steps=STEPS, seed=1)) > 1e-3


@pytest.mark.parametrize("entry", those("name"), ids=repr)
def test_an_early_model_output_matters(entry):
    """The first two, as Dance Diffusion gives no weight to the first."""
    seen = []

    def louder(module: nn.Module, args: object, output: object) -> object:
        seen.append(module)
        return pytree.tree_map_only(Tensor, lambda leaf: 1.5 * leaf, output) if len(seen) <= 2 else output

    handle = entry.build().components[entry.network].register_forward_hook(louder)
    try:
        changed = entry.run(steps=STEPS)
    finally:
        handle.remove()
    assert far(plain(entry), changed) > 1e-5


@pytest.mark.parametrize("entry", those("guides"), ids=repr)
def test_guidance_matters(entry):
    assert far(plain(entry), entry.run(steps=STEPS, guidance=False)) > 1e-3


@pytest.mark.parametrize("entry", those("batches"), ids=repr)
def test_takes_several_prompts_and_images(entry):
    images = 2 if entry.several else 1
    several = entry.run(steps=2, batch=2, images=images)
    assert several.shape == (2 * images * len(plain(entry)), *plain(entry).shape[1:])


@pytest.mark.parametrize("entry", those("half"), ids=repr)
def test_runs_in_half_precision(entry):
    pipe = entry.build(torch.bfloat16)
    assert pipe.components[entry.network].dtype == torch.bfloat16
    assert torch.isfinite(entry.run(pipe, steps=2, dtype=torch.bfloat16)).all()


@pytest.mark.parametrize("name", ["sd", "flux", "pixart-sigma", "dit", "wan"])
def test_many_steps_stay_finite(name):
    assert torch.isfinite(ZOO[name].run(steps=50)).all()


def test_a_fresh_pipeline_is_the_cached_one_again():
    entry = ZOO["sd"]
    state = torch.get_rng_state()
    fresh = entry.fresh()
    assert torch.equal(torch.get_rng_state(), state)
    assert fresh is not entry.build()
    assert entry.build() is entry.build()
    with quiet():
        assert torch.equal(tensor(fresh(**entry.call(steps=2))), entry.run(steps=2))


def test_names_are_unique_and_what_is_missing_says_why():
    assert len(ZOO) == len(ENTRIES)
    assert not ZOO.keys() & LEFT_OUT.keys()
    assert all(LEFT_OUT.values())


def far(one: Tensor, other: Tensor) -> float:
    """Their difference, relative to the first."""
    return float((one.float() - other.float()).norm() / one.float().norm())
