"""What is known of the error at a limit, or of there being no limit."""

from forerun.engine.certificates.alpha_test import AlphaTest
from forerun.engine.certificates.banach import Banach
from forerun.engine.certificates.base import Certificate, Evidence, Knowledge
from forerun.engine.certificates.cycle import Cycle
from forerun.engine.certificates.displacement import Displacement
from forerun.engine.certificates.measured_rate import MeasuredRate
from forerun.engine.certificates.spectral import Spectral

__all__ = [
    "AlphaTest",
    "Banach",
    "Certificate",
    "Cycle",
    "Displacement",
    "Evidence",
    "Knowledge",
    "MeasuredRate",
    "Spectral",
]
