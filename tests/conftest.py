"""Settings of the whole suite."""

import os

import torch

os.environ.setdefault("FORERUN_NATIVE", "0")  # torch computes, in whatever order tests run; "1" tries native kernels

torch.set_num_threads(1)  # the tensors are small: several threads would only wait for each other
