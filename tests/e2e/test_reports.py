"""Tests of the HTML reports at the width of a phone, in a browser that honors the viewport like a phone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver.remote.webdriver import WebDriver

from tests.e2e.page import CHROMEDRIVER, CHROMIUM, browser
from tests.unit.train.drift.builders import reference, traffic
from tests.unit.train.evaluation.synthetic import FakeModel, evaluated, texts
from train.drift import report as drift_report
from train.drift.detector import DriftCheck, judge
from train.drift.thresholds import read_thresholds as drift_thresholds
from train.evaluation.gate import decide
from train.evaluation.report import write_report
from train.evaluation.thresholds import read_thresholds

pytestmark = pytest.mark.skipif(
    not (CHROMIUM.exists() and CHROMEDRIVER.exists()),
    reason=f"no {CHROMIUM} or {CHROMEDRIVER}: apt-get install chromium chromium-driver",
)
WIDTH = 360
LONG = "a-segment-with-a-name-of-many-characters-" * 4


def evaluation(folder: Path) -> None:
    sets = {"shop": texts("shop", 400, seed=3, department=[LONG, "Hats"]), "even": texts("even", 300, seed=1)}
    found = evaluated(FakeModel(noise=4.0, reads_words=False), FakeModel(), sets, ["department"])
    write_report(found, folder, decide(found, read_thresholds()))


def drift(folder: Path) -> None:
    window = traffic(negative=400, segments={LONG: (14, 26)}, right=20, judged=90, audit=(150, 200))
    history = {LONG: np.tile((2, 38), (14, 1))}
    report = judge(reference(), window, drift_thresholds(), history=history)
    now = datetime(2026, 11, 26, tzinfo=UTC)
    drift_report.write_report(DriftCheck(report, reference(), window), folder, now)


@pytest.fixture(scope="module")
def phone() -> Iterator[WebDriver]:
    with browser(width=WIDTH, height=740) as driver:
        metrics = {"width": WIDTH, "height": 740, "deviceScaleFactor": 2, "mobile": True}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        yield driver


@pytest.mark.parametrize("make", [evaluation, drift], ids=lambda make: make.__name__)
def test_a_report_is_usable_at_phone_width(phone: WebDriver, make: object, tmp_path: Path) -> None:
    make(tmp_path)  # type: ignore[operator]
    phone.get((tmp_path / "report.html").as_uri())
    assert phone.execute_script("return innerWidth") == WIDTH, "no zoomed-out page of a desktop's width"
    assert phone.execute_script("return document.documentElement.scrollWidth") <= WIDTH
    # Plots keep a size at which their text is readable, and tables theirs: each scrolls in its own box.
    images = phone.execute_script("return [...document.images].map((e) => e.getBoundingClientRect().width)")
    assert images and min(images) >= 600
    boxes = phone.execute_script(
        "return [...document.querySelectorAll('table, img')].map((e) => e.parentElement)"
        ".filter((e) => e.scrollWidth > e.clientWidth && getComputedStyle(e).overflowX !== 'auto').length"
    )
    assert boxes == 0
    # A sentence in a table has room for more than one word per line.
    cells = phone.execute_script(
        "return [...document.querySelectorAll('td.text')].filter((e) => e.innerText.length > 60)"
        ".map((e) => e.getBoundingClientRect().width)"
    )
    assert cells and min(cells) >= 240
