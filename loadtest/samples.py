"""Record of every request of a run in a file, for comparison with other events at the same time."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from loadtest.errors import LoadTestError
from loadtest.results import Sample


@contextmanager
def recording(path: Path | None) -> Iterator[Callable[[Sample], None]]:
    """Yield a function that writes each request immediately as a JSON object on one line.

    An object has `due_s`, `sent_s`, `done_s` (Unix time), `version`, and `failure` (null for a correct
    answer).

    Args:
        path: The file, which is replaced; with None the requests are discarded.

    Raises:
        LoadTestError: The file cannot be written.
    """
    if path is None:
        yield lambda sample: None
        return
    unix_s = time.time() - time.monotonic()
    try:
        file = path.open("w", encoding="utf-8", buffering=1)
    except OSError as error:
        raise LoadTestError(f"--samples {path}: cannot be written: {error.strerror}") from error
    with file:

        def write(sample: Sample) -> None:
            times = {name: round(unix_s + getattr(sample, name), 4) for name in ("due_s", "sent_s", "done_s")}
            said = {**times, "version": sample.answer.version, "failure": sample.answer.failure}
            file.write(json.dumps(said) + "\n")

        yield write
