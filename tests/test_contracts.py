"""Every process, method, window, guess, tolerance and backend of the package keeps its contract.

The classes are found by walking the package, and tried on the settings in instances.py: a new one needs an entry there.
"""

import house
import pytest
import torch
import torch.distributed as dist
from house import MODULES
from instances import INSTANCES

from forerun.engine import testing


def together(setting):
    """An entry that may be one thing or several."""
    return setting if isinstance(setting, tuple) else (setting,)


def check_method(method, problems=None):
    testing.check_method(method, problems=problems)


def check_guess(guess, *problem):
    testing.check_guess(guess, problems=[problem] if problem else None)


def check_tolerance(tolerance, inputs=None):
    testing.check_tolerance(tolerance, inputs=inputs)


CHECKS = {
    "Process": testing.check_process,
    "Method": check_method,
    "Window": testing.check_window,
    "Guess": check_guess,
    "Tolerance": check_tolerance,
    "Backend": testing.check_backend,
}


def found_classes(modules=MODULES):
    """Pairs of an abstract class and a class built on it; those that the checks themselves use are left out."""
    return [
        (base, name)
        for base in CHECKS
        for name, module in house.subclasses(base, modules).items()
        if not module.name.startswith("engine.testing")
    ]


def without_an_instance(modules=MODULES):
    return [
        f"{base} {name} has no settings to be checked with: add an entry {name!r} to tests/instances.py"
        for base, name in found_classes(modules)
        if name not in INSTANCES
    ]


@pytest.fixture
def group():
    """A process group of this process alone, for the backends that want one."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("base, name", found_classes())
def test_the_contract_is_kept(base, name):
    assert name in INSTANCES, without_an_instance()
    torch.manual_seed(0)
    CHECKS[base](*together(INSTANCES[name]()))


def test_every_class_has_an_instance_and_every_instance_a_class():
    assert not without_an_instance()
    assert INSTANCES.keys() == {name for _, name in found_classes()}


def test_a_class_without_an_instance_is_named():
    text = "class Tide(Process):\n    length = 3\nclass Ebb(Tide):\n    pass"
    sentences = set(without_an_instance(MODULES | {"tides": house.Module("tides", text)})) - set(without_an_instance())
    ebb, tide = sorted(sentences)
    assert ebb.startswith("Process Ebb has no settings")
    assert tide.startswith("Process Tide has no settings")
    assert "tests/instances.py" in tide
