"""What the benchmarks of pipelines share: quiet libraries, and which weights were measured."""

from __future__ import annotations

import json
import warnings
from importlib import resources

import diffusers
import transformers

warnings.filterwarnings("ignore")
diffusers.utils.logging.set_verbosity_error()
diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.disable_progress_bar()


def describe_weights() -> str:
    """Which weights were measured, from the file beside them."""
    file = resources.files("forerun.worlds.scenes") / "weights" / "training.json"
    facts = json.loads(file.read_text())
    done = facts.get("stages", {}).get("unet", facts)
    return f"Weights: {json.dumps(done)}"
