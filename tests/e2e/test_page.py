"""Tests of the page at / in headless Chromium, compared with the answers of the service.

The checks (`check_*`) take a driver and an address and are valid for any service with this API: they run
against `fake_service` and against the real one, or against the one at PAGE_URL (it ends with a slash). Cases
that need failures on demand run only against the fake.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

pytest.importorskip("selenium", reason="the page's tests need selenium (requirements for development)")

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver

from serve_app.dev_server.launcher import free_port
from tests.conftest import ROOT
from tests.e2e.fake_service import API_KEY, HANG_UP, HOLD, MAX_TOKENS, NOT_JSON, WEB, FakeService, serving
from tests.e2e.page import CHROMEDRIVER, CHROMIUM, Page, browser, look

pytestmark = pytest.mark.skipif(
    not (CHROMIUM.exists() and CHROMEDRIVER.exists()),
    reason=f"no {CHROMIUM} or {CHROMEDRIVER}: apt-get install chromium chromium-driver",
)
WIDE = {"width": 1200, "height": 900}
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</textarea><script>document.title = 'taken'</script>",
    "{{constructor.constructor('alert(1)')()}} &amp; &lt;b&gt;",
)
AWKWARD = """it's "quoted", isn't it? $HOME `id` $(id) \\ \\n ! !! %s \t #
a second line; 'a' '' "" | & > /dev/null
smile 🙂 é \u202ereversed\u202c \u00a0end"""


@pytest.fixture(scope="module")
def driver() -> Iterator[WebDriver]:
    with browser() as chromium:
        yield chromium


@pytest.fixture(scope="module", params=["fake", pytest.param("real", marks=pytest.mark.serve)])
def page_url(request: pytest.FixtureRequest) -> Iterator[str]:
    if url := os.environ.get("PAGE_URL"):
        yield url
    elif request.param == "real":
        yield request.getfixturevalue("service").url + "/"
    else:
        with serving(FakeService(prefix="/some/prefix/", max_texts=8)) as service:
            yield service.url


@pytest.fixture
def fake() -> Iterator[FakeService]:
    with serving(FakeService(max_texts=4)) as service:
        yield service


@pytest.fixture(autouse=True)
def wide(driver: WebDriver) -> None:
    look(driver, **WIDE)


def asked(url: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the service's answer without the page."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(url + path, data=data, headers={"content-type": "application/json"})
    with urlopen(request, timeout=30) as response:
        return dict(json.load(response))


def answered(url: str, texts: list[str]) -> list[dict[str, Any]]:
    return list(asked(url, "v1/classify", {"inputs": texts})["results"])


def assert_shows(page: Page, url: str, texts: list[str]) -> None:
    """Check that the page shows the service's answers to `texts`, in order."""
    shown = page.results()
    most = asked(url, "v1/model")["limits"]["max_texts_per_request"]
    expected = [
        answer
        for start in range(0, len(texts), most)
        for answer in answered(url, texts[start : start + most])
    ]
    assert [result.text for result in shown] == texts
    for result, answer in zip(shown, expected, strict=True):
        assert result.label == answer["label"]
        assert {name for name, _, _ in result.bars} == set(answer["scores"])
        assert result.bars[0][0] == answer["label"]
        for name, written, drawn in result.bars:
            assert drawn == pytest.approx(answer["scores"][name], abs=2e-3)
            percent = float(written.strip("<> %\u00a0"))
            assert percent == pytest.approx(100 * answer["scores"][name], abs=0.2)
        assert f"{answer['tokens']:,} token" in result.facts
        assert ("truncated" in result.facts) == answer["truncated"]


def problem_of(page: Page) -> str:
    return page.one("#alert").text


# ---- checks for any service ----


def check_text_is_classified(driver: WebDriver, url: str) -> None:
    page = Page(driver).open(url).type("I love this cream").press_ctrl_enter()
    page.until(page.results, "a result is shown")
    page.wait_for_end()
    assert_shows(page, url, ["I love this cream"])
    model = asked(url, "v1/model")
    summary = page.one("#summary").text
    assert f"Answered by {model['name']} {model['version']}" in summary
    assert "1 text in " in summary and "measured in the browser" in summary and " ms" in summary
    assert all(part in summary for part in ("tokenize", "queue", "forward"))
    assert "without id" not in summary
    assert page.text_of("#status").startswith("1 text classified")


def check_what_is_live_is_shown(driver: WebDriver, url: str) -> None:
    page = Page(driver).open(url)
    model = asked(url, "v1/model")
    assert page.text_of("#live-text") == f"{model['name']} {model['version']} is live"
    shown = page.one("#model").text
    for fact in (model["name"], model["version"], model["device"], model["dtype"], *model["labels"]):
        assert str(fact) in shown
    assert f"{model['max_length']:,} tokens" in shown
    assert f"{model['limits']['max_texts_per_request']:,} texts" in shown
    assert f"{model['limits']['max_chars_per_text']:,} characters a text" in shown


def check_many_lines_come_back_in_order(driver: WebDriver, url: str) -> None:
    most = asked(url, "v1/model")["limits"]["max_texts_per_request"]
    texts = [f"review {n} is {'great' if n % 3 else 'bad'}" for n in range(2 * most + 1)]
    page = Page(driver).open(url)
    page.write("\n\n  \n".join(texts) + "\n")
    assert page.text_of("#count") == f"{len(texts)} texts · sent as 3 requests"
    page.press_classify().wait_for_end()
    assert_shows(page, url, texts)
    assert len(page.all("#summary .requests li")) == 3
    assert f"{len(texts)} texts in" in page.one("#summary").text


def check_whole_text_is_one(driver: WebDriver, url: str) -> None:
    text = "I love this cream\n\nbut it ruined my skin"
    page = Page(driver).open(url).classify(text, whole=True)
    assert_shows(page, url, [text])


def check_hostile_text_stays_text(driver: WebDriver, url: str) -> None:
    page = Page(driver).open(url)
    title = driver.title
    page.classify("\n".join(HOSTILE))
    assert_shows(page, url, list(HOSTILE))
    assert driver.title == title
    assert not page.all("main img, main script, main b:not(.legend b, .requests b)")
    assert HOSTILE[0] in page.curl()


def check_curl_line_does_the_same(driver: WebDriver, url: str, whole: bool) -> None:
    page = Page(driver).open(url).write(AWKWARD, whole=whole)
    texts = [AWKWARD] if whole else AWKWARD.split("\n")
    line = page.curl()
    assert "\n" not in line and "\u202e" not in line
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=True, timeout=30)
    results = json.loads(done.stdout)["results"]
    for result, answer in zip(results, answered(url, texts), strict=True):
        assert result["tokens"] == answer["tokens"]
        assert result["scores"] == pytest.approx(answer["scores"], abs=2e-3)


def check_curl_line_is_copied(driver: WebDriver, url: str) -> None:
    page = Page(driver).open(url).write(AWKWARD, whole=True)
    line = page.curl()
    page.one("#copy").click()
    page.until(lambda: page.text_of("#copy") == "Copied", "the line is copied")
    page.one("#clear").click()
    page.one("#text").send_keys(Keys.CONTROL, "v")
    page.until(lambda: page.input_text() == line, "the clipboard holds the line")


def check_only_its_own_host_and_a_clean_console(driver: WebDriver, url: str) -> None:
    page = Page(driver).open(url).classify("I love this cream\nIt ruined my skin")
    assert len(page.results()) == 2
    requested = page.requested()
    home = urlsplit(url).netloc
    foreign = [at for at in requested if not at.startswith("data:") and urlsplit(at).netloc != home]
    assert foreign == []
    assert any(at == url + "v1/classify" for at in requested)
    assert page.console() == []


def check_narrow_page_does_not_scroll_sideways(driver: WebDriver, url: str) -> None:
    page = Page(driver).open(url)
    long_word = "x" * 300
    for width in (360, 320):
        look(driver, width=width, height=740)
        page.classify(f"{long_word}\nI love this cream")
        assert len(page.results()) == 2
        assert driver.execute_script("return innerWidth") == width
        assert page.overflow_px() == 0
        wider = driver.execute_script(
            "return [...document.querySelectorAll('main *')].filter((e) => !e.closest('.hidden-text')"
            " && e.getBoundingClientRect().right > innerWidth).map((e) => e.outerHTML.slice(0, 80))"
        )
        assert wider == []


def check_keyboard_reaches_everything(driver: WebDriver, url: str) -> None:
    page = Page(driver).open(url)
    assert driver.switch_to.active_element == page.one("#text")
    page.type("I love this cream")
    reached = []
    while len(reached) < 20 and "curl-box" not in dict(reached):
        driver.switch_to.active_element.send_keys(Keys.TAB)
        focused = driver.switch_to.active_element
        outline = focused.value_of_css_property("outline-style")
        reached.append((focused.get_attribute("id") or focused.text, outline))
    assert [name for name, _ in reached if name in ("classify", "clear", "copy", "curl-box")] == [
        "classify",
        "clear",
        "copy",
        "curl-box",
    ]
    assert {outline for _, outline in reached} == {"solid"}
    driver.execute_script("document.getElementById('classify').focus()")
    driver.switch_to.active_element.send_keys(Keys.ENTER)
    page.until(page.results, "Enter on the button classifies")


def check_everything_has_a_name_and_contrast(driver: WebDriver, url: str) -> None:
    page = Page(driver).open(url).classify("I love this cream\nIt ruined my skin")
    for control in page.all("textarea, input, button, a, progress, summary"):
        if control.is_displayed():
            assert control.accessible_name, control.get_attribute("outerHTML")
    for scheme in ("light", "dark"):
        look(driver, **WIDE, scheme=scheme)
        assert low_contrast(driver) == []


def low_contrast(driver: WebDriver) -> list[str]:
    """Return texts below WCAG 2's contrast of 4.5 : 1 with the nearest painted background."""
    script = """
      const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
      const light = (colour) => numbers(colour).slice(0, 3).map((c) => c / 255)
        .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
      const behind = (e) => {
        for (; e; e = e.parentElement) {
          const colour = getComputedStyle(e).backgroundColor;
          if ((numbers(colour)[3] ?? 1) > 0) return colour;
        }
        return "rgb(255, 255, 255)";
      };
      const low = [];
      for (const e of document.querySelectorAll("body *")) {
        const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
        if (!own || !e.checkVisibility() || e.closest(":disabled, .hidden-text")) continue;
        const [a, b] = [getComputedStyle(e).color, behind(e)].map(light).sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < 4.5) low.push(`${ratio.toFixed(2)} ${e.outerHTML.slice(0, 80)}`);
      }
      return low;"""
    return list(driver.execute_script(script))


def check_overlong_text_is_warned_of_and_refused(driver: WebDriver, url: str) -> None:
    most = asked(url, "v1/model")["limits"]["max_chars_per_text"]
    text = "a fine text\n" + "x" * (most + 1)
    page = Page(driver).open(url).write(text)
    assert f"text 2 has more than {most:,} characters" in page.text_of("#count")
    assert "warn" in str(page.one("#count").get_attribute("class"))
    page.press_classify().wait_for_end()
    assert "HTTP 4" in problem_of(page)
    assert page.input_text() == text


CHECKS: list[Callable[[WebDriver, str], None]] = [
    check_text_is_classified,
    check_what_is_live_is_shown,
    check_many_lines_come_back_in_order,
    check_whole_text_is_one,
    check_hostile_text_stays_text,
    check_curl_line_is_copied,
    check_only_its_own_host_and_a_clean_console,
    check_narrow_page_does_not_scroll_sideways,
    check_keyboard_reaches_everything,
    check_everything_has_a_name_and_contrast,
    check_overlong_text_is_warned_of_and_refused,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_page(check: Callable[[WebDriver, str], None], driver: WebDriver, page_url: str) -> None:
    check(driver, page_url)


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl on this machine")
@pytest.mark.parametrize("whole", [False, True], ids=["lines", "whole"])
def test_curl_line_does_the_same(driver: WebDriver, page_url: str, whole: bool) -> None:
    check_curl_line_does_the_same(driver, page_url, whole)


# ---- checks that need a service that fails on demand ----


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fail: 422", ["The request has the wrong shape", "HTTP 422", "1 field is not as expected."]),
        ("fail: 422", ["inputs[1] at most 10000 characters, got 12000"]),
        (
            "fail: 429",
            ["The queue is full", "HTTP 429", "640 texts wait", "asks to wait: 3 seconds", "req-0001"],
        ),
        ("fail: 503", ["Not ready", "HTTP 503", "The model is being loaded."]),
        (NOT_JSON, ["Bad Gateway", "HTTP 502"]),
        (HANG_UP, ["The service cannot be reached", "is the network up?"]),
    ],
)
def test_error_is_said_plainly_and_the_input_kept(
    driver: WebDriver, fake: FakeService, text: str, said: list[str]
) -> None:
    page = Page(driver).open(fake.url).classify(f"a fine text\n{text}")
    for words in said:
        assert words in problem_of(page)
    assert page.input_text() == f"a fine text\n{text}"
    assert page.results() == []
    assert page.one("#alert").get_attribute("role") == "alert"
    page.classify("a fine text")
    assert len(page.results()) == 1
    assert problem_of(page) == ""


def test_error_names_the_text_it_is_about(driver: WebDriver, fake: FakeService) -> None:
    page = Page(driver).open(fake.url).classify("a fine text\nfail: 422")
    assert page.text_of("#alert q") == "fail: 422"


def test_unreachable_model_is_said_and_found_again(driver: WebDriver, fake: FakeService) -> None:
    page = Page(driver).open(fake.url)
    driver.execute_cdp_cmd("Network.enable", {})
    network = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": True, **network})
    try:
        page.classify("I love this cream")
        page.until(lambda: page.one("#live").get_attribute("data-state") == "down", "it shows as down")
    finally:
        driver.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": False, **network})
    assert "The service cannot be reached" in problem_of(page)
    page.one("#alert button").click()
    page.until(page.results, "trying again classifies")
    page.until(lambda: page.one("#live").get_attribute("data-state") == "up", "it shows as live again")


def test_progress_stop_and_continue(driver: WebDriver, fake: FakeService) -> None:
    texts = [*(f"text {n}" for n in range(5)), HOLD, *(f"text {n}" for n in range(6, 10))]
    page = Page(driver).open(fake.url).write("\n".join(texts)).press_classify()
    page.until(lambda: page.text_of("#progress-text") == "4 of 10 texts", "the first four are in")
    assert page.one("#progress").is_displayed()
    page.press_ctrl_enter()  # one run at a time
    page.one("#stop").click()
    page.wait_for_end()
    assert "Stopped" in problem_of(page) and "4 of 10 texts answered" in problem_of(page)
    assert [result.text for result in page.results()] == texts[:4]
    fake.gate.set()
    page.one("#alert button").click()
    page.until(lambda: len(page.results()) == 10, "the rest is in")
    page.wait_for_end()
    assert_shows(page, fake.url, texts)
    assert fake.seen[:4] == [texts[:4], texts[4:8], texts[4:8], texts[8:]]
    assert not page.one("#progress").is_displayed()


def test_answered_texts_stay_when_a_later_request_fails(driver: WebDriver, fake: FakeService) -> None:
    texts = ["one", "two", "three", "four", "fail: 429"]
    page = Page(driver).open(fake.url).classify("\n".join(texts))
    assert [result.text for result in page.results()] == texts[:4]
    assert "4 of 5 texts answered" in problem_of(page)


def test_key_is_asked_for_sent_and_left_out_of_the_curl_line(driver: WebDriver, fake: FakeService) -> None:
    page = Page(driver).open(fake.url)
    assert not page.one("#key").is_displayed()
    page.classify("fail: 401")
    assert "An API key is needed" in problem_of(page)
    assert driver.switch_to.active_element == page.one("#key")
    page.one("#key").send_keys(API_KEY, Keys.ENTER)
    page.until(page.results, "the key opens")
    assert API_KEY not in page.curl()
    env = {**os.environ, "API_KEY": API_KEY}
    done = subprocess.run(["bash", "-c", page.curl()], capture_output=True, check=True, timeout=30, env=env)
    assert len(json.loads(done.stdout)["results"]) == 1


@pytest.fixture(scope="module")
def keyed_url() -> Iterator[str]:
    """Yield the service's own routes, with the key `s3cret`."""
    port = free_port()
    command = [sys.executable, "-m", "tests.contract.serve_fake", str(port)]
    environment = os.environ | {"SENTIMENT_API_KEYS": "s3cret"}
    url = f"http://127.0.0.1:{port}/"
    with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
        try:
            deadline = time.monotonic() + 60
            while not answers(url):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
            yield url
        finally:
            process.terminate()


def answers(url: str) -> bool:
    try:
        with urlopen(f"{url}ping", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_the_page_works_where_the_routes_need_a_key(driver: WebDriver, keyed_url: str) -> None:
    page = Page(driver).open(keyed_url)
    page.until(lambda: page.one("#key").is_displayed(), "the key is asked for at once")
    page.one("#key").send_keys("s3cret")
    page.classify("I love this cream")
    page.until(page.results, "the key opens")
    page.until(lambda: "fake" in page.one("#model").text, "what is live is shown")


def test_the_documentation_works_where_the_routes_need_a_key(driver: WebDriver, keyed_url: str) -> None:
    # A browser that requests the password and receives the key reuses it for this address.
    driver.get(keyed_url.replace("://", "://anybody:s3cret@") + "docs")
    driver.get(keyed_url + "docs")
    page = Page(driver)
    page.until(lambda: driver.find_elements(By.CSS_SELECTOR, ".opblock"), "the operations are listed")
    assert driver.find_elements(By.CSS_SELECTOR, ".authorize")


def test_curl_sends_exactly_the_inputs(driver: WebDriver, fake: FakeService) -> None:
    page = Page(driver).open(fake.url).write(AWKWARD, whole=True)
    subprocess.run(["bash", "-c", page.curl()], capture_output=True, check=True, timeout=30)
    assert fake.seen == [[AWKWARD]]


def test_curl_of_a_text_too_long_for_an_argument(driver: WebDriver, fake: FakeService) -> None:
    fake.max_chars = 1_000_000
    text = "it's long\n" * 20_000
    page = Page(driver).open(fake.url).write(text, whole=True)
    subprocess.run(["bash"], input=page.curl().encode(), capture_output=True, check=True, timeout=30)
    assert fake.seen == [[text]]


def test_many_labels_and_a_truncated_text(driver: WebDriver) -> None:
    labels = tuple(f"LABEL_{n}" for n in range(28))
    text = "word " * (MAX_TOKENS + 5)
    with serving(FakeService(labels=labels)) as service:
        page = Page(driver).open(service.url).classify(text, whole=True)
        assert_shows(page, service.url, [text])
        assert "truncated" in page.results()[0].facts
        assert page.text_of("#results summary") == "23 more labels"
        hidden = page.one("#results details .bars")
        assert not hidden.is_displayed()
        page.one("#results summary").click()
        assert hidden.is_displayed()


def test_empty_input_asks_nothing(driver: WebDriver, fake: FakeService) -> None:
    page = Page(driver).open(fake.url).write(" \n\n").press_classify()
    assert "Nothing to classify yet" in page.text_of("#count")
    assert driver.switch_to.active_element == page.one("#text")
    assert fake.seen == []


def test_examples_add_lines(driver: WebDriver, fake: FakeService) -> None:
    page = Page(driver).open(fake.url).type("mine")
    chips = page.all("#examples button")
    for chip in chips[:2]:
        chip.click()
    assert page.input_text().split("\n") == ["mine", *(chip.text for chip in chips[:2])]
    page.press_classify().wait_for_end()
    assert_shows(page, fake.url, page.input_text().split("\n"))


def test_strict_policy_is_kept(driver: WebDriver, fake: FakeService) -> None:
    page = Page(driver).open(fake.url).classify("\n".join([*HOSTILE, "fail: 429"]))
    page.classify("\n".join(HOSTILE))
    assert fake.violations == []
    assert [entry for entry in page.console() if entry["source"] != "network"] == []


def test_page_is_small_and_asks_no_foreign_host() -> None:
    files = list(WEB.iterdir())
    assert sum(file.stat().st_size for file in files) < 30_000
    for file in files:
        source = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "://" not in source and "//cdn" not in source, file.name
        assert not any(word in source for word in ("innerHTML", "insertAdjacentHTML", "document.write")), (
            file.name
        )


def test_links_stay_below_the_prefix(driver: WebDriver, page_url: str) -> None:
    page = Page(driver).open(page_url)
    links = [link.get_property("href") for link in page.driver.find_elements(By.CSS_SELECTOR, "nav a")]
    assert links == [page_url + "docs", page_url + "openapi.json"]
