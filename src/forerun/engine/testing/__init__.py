"""The contracts as checks, for other people's processes, methods, windows, guesses, tolerances, backends and maps."""

from forerun.engine.testing.agreement import ContractBroken
from forerun.engine.testing.backends import check_backend
from forerun.engine.testing.guesses import check_guess
from forerun.engine.testing.limit_methods import check_limit_method
from forerun.engine.testing.maps import check_map
from forerun.engine.testing.methods import check_method
from forerun.engine.testing.processes import check_process
from forerun.engine.testing.tolerances import check_tolerance
from forerun.engine.testing.windows import check_window

__all__ = [
    "ContractBroken",
    "check_backend",
    "check_guess",
    "check_limit_method",
    "check_map",
    "check_method",
    "check_process",
    "check_tolerance",
    "check_window",
]
