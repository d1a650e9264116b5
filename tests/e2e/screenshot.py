"""Screenshot of the page for the README: python tests/e2e/screenshot.py URL OUT.png."""

from __future__ import annotations

import argparse
import base64
from pathlib import Path

from page import Page, browser, look
from selenium.webdriver.remote.webdriver import WebDriver

TEXT = """I love this cream
It ruined my skin
Smells lovely, but it broke after two days
Not bad at all, I would buy it again"""


def take(driver: WebDriver, out: Path, *, width: int, scheme: str = "light") -> None:
    """Write the entire current page at its full height to `out`."""
    driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
    look(driver, width=width, height=800, scheme=scheme)
    script = "return Math.ceil(document.body.getBoundingClientRect().bottom + window.scrollY);"
    look(driver, width=width, height=int(driver.execute_script(script)), scheme=scheme)
    # animations finish before the picture is taken
    driver.execute_async_script(
        "Promise.all(document.getAnimations().map((a) => a.finished)).then(arguments[0]);"
    )
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "optimizeForSpeed": False})
    out.write_bytes(base64.b64decode(shot["data"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="where the page is, such as http://localhost:8000/")
    parser.add_argument("out", type=Path, help="the PNG to write")
    parser.add_argument("--width", type=int, default=1200, help="in CSS pixels")
    parser.add_argument("--scheme", choices=("light", "dark"), default="light")
    parser.add_argument("--text", default=TEXT, help="what is typed")
    parser.add_argument("--whole", action="store_true", help="the whole text as one")
    args = parser.parse_args()
    with browser() as driver:
        look(driver, width=args.width, height=900, scheme=args.scheme)
        page = Page(driver).open(args.url)
        # the first click warms up the browser and the service; the picture shows the second
        page.classify(args.text, whole=args.whole).classify(args.text, whole=args.whole)
        driver.execute_script("document.activeElement.blur();")
        take(driver, args.out, width=args.width, scheme=args.scheme)
    print(f"{args.out}: {args.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
