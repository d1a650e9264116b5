"""Process of `lone_text`: loads the built-in model, then measures as requested on its standard input.

Each input line is a JSON object with `threads`, `tokens` and `texts`; each output line has the latencies of
the texts in ms and the CPU time per text in ms.
"""

from __future__ import annotations

import json
import sys
import time

from benchmarks.latency.models import load_recorded
from serve_app.model.scorer import WARM_UP_TEXT, EncodedText, use_threads


def main() -> None:
    """Measure until the standard input ends."""
    classifier = load_recorded()
    [long] = classifier.preprocess([40 * f"{WARM_UP_TEXT} "])
    print("{}", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        text = EncodedText(long.ids[: request["tokens"] - 1] + long.ids[-1:], truncated=False)
        use_threads(request["threads"])
        classifier.forward([text])
        latencies_ms = []
        cpu_before_s = time.process_time()
        for _ in range(request["texts"]):
            began = time.perf_counter()
            classifier.forward([text])
            latencies_ms.append(1000 * (time.perf_counter() - began))
        cpu_ms = 1000 * (time.process_time() - cpu_before_s) / request["texts"]
        print(json.dumps({"latencies_ms": latencies_ms, "cpu_ms": cpu_ms}), flush=True)


if __name__ == "__main__":
    main()
