"""Page as a user operates it: a headless Chromium, with actions to type and click, and readers.

Every wait is for a condition; the browser sends requests only to the page's host.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM = Path("/usr/bin/chromium")
CHROMEDRIVER = Path("/usr/bin/chromedriver")
TIMEOUT_S = 20
SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--lang=en-GB",
)


@contextmanager
def browser(width: int = 1200, height: int = 900) -> Iterator[WebDriver]:
    """Yield a new Chromium with an empty profile; both are removed when the block ends."""
    with TemporaryDirectory(prefix="page-", ignore_cleanup_errors=True) as profile:
        options = ChromeOptions()
        options.binary_location = str(CHROMIUM)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        for switch in (*SWITCHES, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
            options.add_argument(switch)
        driver = Chrome(options=options, service=Service(str(CHROMEDRIVER)))
        try:
            yield driver
        finally:
            driver.quit()


def look(driver: WebDriver, *, width: int, height: int, scheme: str = "light") -> None:
    """Set the size of the page in CSS pixels, also below a window's minimum width, and its colour scheme."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


@dataclass(frozen=True)
class Result:
    """Displayed answer to one text; `bars` contains (label, percent as written, drawn share of the track)."""

    text: str
    label: str
    bars: list[tuple[str, str, float]]
    facts: str


@dataclass(frozen=True)
class Page:
    """Actions on the page that `driver` shows."""

    driver: WebDriver

    def open(self, url: str) -> Page:
        self.driver.get_log("browser")  # discard messages of an earlier page
        self.driver.get_log("performance")
        self.driver.get(url)
        self.until(lambda: self.one("#live").get_attribute("data-state") != "asking", "asks what is live")
        return self

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text_of(self, selector: str) -> str:
        """Return all text in the element, including hidden or scrolled text, exactly as in the document."""
        return str(self.one(selector).get_property("textContent"))

    def until(self, condition: Any, what: str) -> None:
        WebDriverWait(self.driver, TIMEOUT_S, 0.05).until(lambda _: condition(), f"never happened: {what}")

    # -- doing

    def write(self, text: str, *, whole: bool = False) -> Page:
        """Insert `text` like a paste: at once, then the input event."""
        self.one(f"input[name=mode][value={'whole' if whole else 'lines'}]").click()
        self.driver.execute_script(
            "const box = document.getElementById('text'); box.value = arguments[0];"
            "box.dispatchEvent(new Event('input', {bubbles: true}));",
            text,
        )
        return self

    def type(self, text: str) -> Page:
        self.one("#text").send_keys(text)
        return self

    def press_classify(self) -> Page:
        self.one("#classify").click()
        return self

    def press_ctrl_enter(self) -> Page:
        self.one("#text").send_keys(Keys.CONTROL, Keys.ENTER)
        return self

    def wait_for_end(self) -> Page:
        self.until(lambda: self.one("#form").get_attribute("aria-busy") == "false", "the run ends")
        return self

    def classify(self, text: str, *, whole: bool = False) -> Page:
        return self.write(text, whole=whole).press_classify().wait_for_end()

    # -- reading

    def results(self) -> list[Result]:
        shown = self.driver.execute_script(
            """return [...document.querySelectorAll('#results > li')].map((item) => [
                 item.querySelector('.text').textContent, item.querySelector('.label').textContent,
                 [...item.querySelectorAll('.bars li')].map((bar) => [
                   bar.querySelector('.name').textContent, bar.querySelector('.value').textContent,
                   parseFloat(bar.querySelector('.fill').style.width) / 100]),
                 item.querySelector('.facts').textContent])"""
        )
        return [
            Result(text, label, [tuple(bar) for bar in bars], facts) for text, label, bars, facts in shown
        ]

    def input_text(self) -> str:
        return str(self.one("#text").get_property("value"))

    def curl(self) -> str:
        return self.text_of("#curl")

    def overflow_px(self) -> int:
        """Return how many pixels the page can be scrolled sideways."""
        script = (
            "const page = document.scrollingElement;"
            "return Math.max(page.scrollWidth, document.body.scrollWidth) - page.clientWidth;"
        )
        return int(self.driver.execute_script(script))

    def console(self) -> list[dict[str, Any]]:
        """Return the browser's console messages since the last call: errors, warnings, policy violations."""
        return list(self.driver.get_log("browser"))

    def requested(self) -> list[str]:
        """Return every address that the page requested since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]
