"""Pictures and pages of a run."""

from forerun.view.plot import wavefront
from forerun.view.report import report

__all__ = ["report", "wavefront"]
