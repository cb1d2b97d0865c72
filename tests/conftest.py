"""Settings of the whole suite."""

import os

import pytest
import torch

from forerun.engine.run_memory import RUN_MEMORY

os.environ.setdefault("FORERUN_NATIVE", "0")  # torch computes, in whatever order tests run; "1" tries native kernels

torch.set_num_threads(1)  # the tensors are small: several threads would only wait for each other


@pytest.fixture(autouse=True)
def forget_past_runs():
    """Let every test begin as a new process does: what runs have learnt is not handed on."""
    RUN_MEMORY.clear()
