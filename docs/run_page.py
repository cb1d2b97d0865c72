"""Draw docs/pictures/run-page.png, the page that `make demo` leaves, with a browser: `python docs/run_page.py`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "forerun-out" / "run.html"
PICTURE = ROOT / "docs" / "pictures" / "run-page.png"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=30000")


def main() -> None:
    """Write the picture.

    Raises:
        SystemExit: there is no page, or no browser.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"none of {', '.join(BROWSERS)} is on PATH; install one of them")
    if not PAGE.exists():
        sys.exit(f"there is no {PAGE}; type make demo first")
    subprocess.run([browser, *FLAGS, "--window-size=1080,860", f"--screenshot={PICTURE}", PAGE.as_uri()], check=True)


if __name__ == "__main__":
    main()
