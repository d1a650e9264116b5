"""Tests of the extraction of an error from a traceback."""

import pytest

from serve_app.tracebacks import last_error


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("one\ntwo\n\n", "two"),
        ("Traceback (most recent call last):\n  File x\nKeyError: 'a'\n", "KeyError: 'a'"),
        ("Traceback (most recent call last):\n  File x\nSystemExit\n", "SystemExit"),
        ("Traceback (most recent call last):\n  File x\n", "File x"),
        ("", ""),
    ],
)
def test_the_line_that_says_what_went_wrong(text: str, line: str) -> None:
    assert last_error(text) == line


def test_a_long_error_keeps_the_beginning_and_the_end() -> None:
    error = f"RuntimeError: HAProxy crashed: {'x' * 999}\n[ALERT] cannot bind\n"
    line = last_error(f"Traceback (most recent call last):\n{error}")
    assert line.startswith("RuntimeError: HAProxy crashed: x") and line.endswith("x [ALERT] cannot bind")
    assert len(line) < 420
