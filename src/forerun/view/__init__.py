"""Looking at a run: the wavefront, samples side by side, one page of figures."""

from forerun.view.deviation import Deviation
from forerun.view.images import side_by_side
from forerun.view.plot import wavefront
from forerun.view.report import report

__all__ = ["Deviation", "report", "side_by_side", "wavefront"]
