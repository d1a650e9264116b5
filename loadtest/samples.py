"""Every request of a run in a file, for whoever holds them against what else happened at the time."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from loadtest.errors import CannotRun
from loadtest.observations import Sample


@contextmanager
def recording(path: Path | None) -> Iterator[Callable[[Sample], None]]:
    """Take the run's requests while the block runs, and write each at once as a JSON object a line.

    An object has `due_s`, `sent_s`, `done_s` (Unix time), `version`, and `failure` (null of a right answer).

    Args:
        path: The file, written anew; None takes the requests and drops them.

    Raises:
        CannotRun: The file cannot be written.
    """
    if path is None:
        yield lambda sample: None
        return
    unix_s = time.time() - time.monotonic()
    try:
        file = path.open("w", encoding="utf-8", buffering=1)
    except OSError as error:
        raise CannotRun(f"--samples {path}: cannot be written: {error.strerror}") from error
    with file:

        def write(sample: Sample) -> None:
            times = {name: round(unix_s + getattr(sample, name), 4) for name in ("due_s", "sent_s", "done_s")}
            said = {**times, "version": sample.answer.version, "failure": sample.answer.failure}
            file.write(json.dumps(said) + "\n")

        yield write
