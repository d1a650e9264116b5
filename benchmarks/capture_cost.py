"""CPU time of a replica per text that capture costs: `python -m benchmarks.capture_cost`.

The CPU time of this process is measured, not elapsed time: it is valid on a machine that others use.
"""

from __future__ import annotations

import tempfile
import time

from loadtest.synthetic_texts import invent
from serve_app.metrics import Metrics
from serve_app.prediction_log.logger import open_logger
from serve_app.prediction_log.parquet import prediction_files
from serve_app.settings import LogPrivacy, Settings
from tests.unit.train.prediction_log.logs import answered

ROWS = 1000
"""Rows per file: ten seconds of a hundred texts per second."""
ROUNDS = 5


def main() -> int:
    """Measure and print a table with the best of several rounds."""
    records = [answered(f"{number}", text) for number, text in enumerate(invent(ROWS, 0))]
    print("| where | CPU a text |\n| --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        capture = open_logger(Settings(log_uri=folder, log_flush_s=3600), Metrics())
        assert capture is not None
        costs = []
        for _ in range(ROUNDS):
            began = time.thread_time()
            for record in records:
                capture.record_prediction(record)
            costs.append(time.thread_time() - began)
        print(f"| event loop, before the answer | {1e6 * min(costs) / ROWS:.0f} µs |", flush=True)
        capture.close()
    levels: tuple[LogPrivacy, ...] = ("full", "redacted", "hash")
    for privacy in levels:
        costs = []
        for _ in range(ROUNDS):
            began = time.process_time()
            prediction_files(records, privacy)
            costs.append(time.process_time() - began)
        print(f"| the log's thread, {privacy} | {1e6 * min(costs) / ROWS:.0f} µs |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
