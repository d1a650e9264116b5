"""Extraction of the error from a traceback or a log."""

import re

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*(: |$)")
_LONGEST_CHARS = 400


def last_error(text: str) -> str:
    """Return the exception of the last traceback in a text, or its last line, on one line.

    An exception's message may have several lines: they follow the line that names the exception. Of a long
    one the beginning and the end are kept: a program that failed prints the reason last.
    """
    rows = [row.rstrip() for row in _ANSI.sub("", text).splitlines() if row.strip()]
    begins = max((number for number, row in enumerate(rows) if "Traceback (most recent" in row), default=None)
    if begins is None:
        # Ray's tracebacks have no such heading: frames are indented, the exception is not.
        begins = max((number for number, row in enumerate(rows) if row.startswith("  File ")), default=None)
    if begins is not None:
        for number in range(begins + 1, len(rows)):
            if _EXCEPTION.match(rows[number]):
                return _one_line(rows[number:])
    return _one_line(rows[-1:])


def _one_line(rows: list[str]) -> str:
    line = " ".join(row.strip() for row in rows)
    half = _LONGEST_CHARS // 2
    return line if len(line) <= _LONGEST_CHARS else f"{line[:half]} … {line[-half:]}"
