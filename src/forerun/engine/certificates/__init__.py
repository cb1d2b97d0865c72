"""What is known of the error at a limit, or of there being no limit."""

from forerun.engine.certificates.banach import Banach
from forerun.engine.certificates.base import Certificate, Evidence, Knowledge
from forerun.engine.certificates.cycle import Cycle
from forerun.engine.certificates.measured_rate import MeasuredRate

__all__ = ["Banach", "Certificate", "Cycle", "Evidence", "Knowledge", "MeasuredRate"]
