"""Open-loop load on the service: the project's load test in a separate process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from examples.canary_rollout.errors import ExampleError
from serve_app.dev_server.launcher import ROOT

_LONGEST_S = 3600
_TIMEOUT_S = 30
"""Timeout of a request in seconds; it is long because generator and pods share the cores."""
_END_S = 60


@dataclass(frozen=True, slots=True)
class RequestSample:
    """One request: when it was due and answered (Unix time, s), by which version, and its failure."""

    due_s: float
    done_s: float
    version: str
    failure: str | None

    @property
    def ms(self) -> float:
        """Return the milliseconds from the due time to the answer."""
        return 1000 * (self.done_s - self.due_s)


@dataclass(frozen=True, slots=True)
class LoadGenerator:
    """Running load test, and its results so far."""

    process: subprocess.Popen[bytes]
    samples_file: Path
    log_file: Path

    def samples(self) -> list[RequestSample]:
        """Return every finished request so far, in the order of the answers."""
        lines = self.samples_file.read_text().splitlines(keepends=True) if self.samples_file.exists() else []
        whole = [json.loads(line) for line in lines if line.endswith("\n")]
        return [
            RequestSample(said["due_s"], said["done_s"], said["version"], said["failure"]) for said in whole
        ]

    def check(self) -> None:
        """Raise ExampleError if the load test has ended early."""
        if self.process.poll() is not None:
            raise ExampleError(f"the load test ended: {self.log_file.read_text()[-1000:]}")


@contextmanager
def generating_load(
    url: str, folder: Path, texts: Sequence[str], *, pods: int, per_minute: float
) -> Iterator[LoadGenerator]:
    """Run `python -m loadtest` while the block runs; the exit waits for every answer.

    Args:
        url: address of the service.
        folder: folder for the texts, the samples and the log.
        texts: texts to send, one per request.
        pods: number of pods of the deployment.
        per_minute: requests per minute and pod.
    """
    given = folder / "texts.txt"
    given.write_text("\n".join(texts))
    load_files = folder / "samples.jsonl", folder / "load.log"
    command = [sys.executable, "-m", "loadtest", "slo", "--host", url, "--pods", str(pods)]
    command += ["--per-minute", str(per_minute), "--min-per-minute", str(per_minute), "--warmup", "0"]
    command += ["--timeout", str(_TIMEOUT_S), "--duration", str(_LONGEST_S)]
    command += ["--texts", str(given), "--samples", str(load_files[0])]
    with load_files[1].open("wb") as log:
        # The process has its own session: only this process receives Ctrl-C, and then stops the other one.
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
    try:
        yield LoadGenerator(process, *load_files)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
