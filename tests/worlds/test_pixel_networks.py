"""The shipped image networks of the digits: their facts are true, and the command trains."""

import json
from importlib import resources

import pytest
import torch

from forerun.worlds.digits import load_digit_levels, load_made, load_pixelcnn
from forerun.worlds.digits import train_autoregressive as train


@pytest.mark.parametrize("name", ["made", "pixelcnn"])
def test_the_shipped_weights_say_how_they_were_trained(name):
    weights = resources.files("forerun.worlds.digits") / "weights"
    facts = json.loads((weights / f"{name}.json").read_text())
    assert facts["command"].startswith(f"python -m forerun.worlds.digits.train_autoregressive {name} ")
    network = load_made() if name == "made" else load_pixelcnn()
    levels = load_digit_levels()
    levels = levels[torch.randperm(len(levels), generator=torch.Generator().manual_seed(facts["seed"]))]
    with torch.no_grad():
        held_out_bits = train.mean_bits(network, levels[: train.HELD_OUT]).item()
    assert held_out_bits == pytest.approx(facts["bits a pixel, held out"], abs=0.01)
    assert len((weights / f"{name}.safetensors").read_bytes()) < 400_000


def test_training_writes_a_network_that_can_be_read(tmp_path, capsys):
    train.main(["made", "--steps", "3", "--out", str(tmp_path)])
    assert json.loads((tmp_path / "made.json").read_text())["steps"] == 3
    assert (tmp_path / "made.safetensors").exists()
    assert "bits a pixel" in capsys.readouterr().out
