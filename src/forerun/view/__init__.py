"""Looking at a run: the wavefront, samples side by side, figures in markdown, a page for the browser."""

from forerun.view.deviation import Deviation
from forerun.view.page import PageFrame, RunPage
from forerun.view.page_html import write_page
from forerun.view.report import format_report
from forerun.view.side_by_side import draw_side_by_side
from forerun.view.wavefront import draw_wavefront

__all__ = [
    "Deviation",
    "PageFrame",
    "RunPage",
    "draw_side_by_side",
    "draw_wavefront",
    "format_report",
    "write_page",
]
