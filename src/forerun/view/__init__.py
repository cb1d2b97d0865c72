"""Looking at a run: the wavefront, samples side by side, figures in markdown, a page for the browser."""

from forerun.view.deviation import Deviation
from forerun.view.images import side_by_side
from forerun.view.page import Frame, Page, write_page
from forerun.view.plot import wavefront
from forerun.view.report import report

__all__ = ["Deviation", "Frame", "Page", "report", "side_by_side", "wavefront", "write_page"]
