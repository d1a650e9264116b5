"""Every metric of the replica, declared once. Seen at Ray's Prometheus endpoint as `ray_sentiment_*`."""

from __future__ import annotations

import time
from collections import Counter as Counts
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

from ray.util.metrics import Counter, Gauge, Histogram

from serve_app.service import LiveModel, LoadFailure

_SECONDS_MS = [1, 2, 5, 10, 20, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 2000, 5000, 10_000, 30_000]
_PROMISED_MS = 100
"""p95 of the promise: it holds while at most one request in twenty is later. Counted, since the CloudWatch
agent takes no histograms, and since counts of many pods add up, as their percentiles do not."""
_ITEMS = [1, 2, 4, 8, 16, 32, 64, 128, 256]
Kind = Literal["inference", "rejected", "other"]
"""Kind of a request by its route and outcome. inference: it takes texts, and its outcome is the service's;
the alarms and the autoscaler count these alone. rejected: refused for a fault of the caller. other: health,
metadata, feedback."""

_TENTHS = [f"0.{tenth}" for tenth in range(10)]
_TOKENS = [16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768]


class Metrics:
    """The replica's counters, gauges and histograms. Units stand in the names.

    What is counted for every request is kept here until `flush`; only the event loop's thread may count so.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[Counter, tuple[tuple[str, str], ...]], float] = defaultdict(float)
        self._requests = Counter(
            "sentiment_requests",
            "Requests by route, HTTP status, and kind: inference, rejected, other.",
            tag_keys=("route", "status", "version", "kind"),
        )
        self._late = Counter(
            "sentiment_late_requests",
            "Inference requests that took longer than the promised 100 ms.",
            tag_keys=("route", "version"),
        )
        self._request_ms = Histogram(
            "sentiment_request_ms",
            "From the request's arrival at the replica to its answer, ms.",
            boundaries=_SECONDS_MS,
            tag_keys=("route", "version", "kind"),
        )
        self._tokenize_ms = Histogram(
            "sentiment_tokenize_ms",
            "Tokenising a request's texts, ms.",
            boundaries=_SECONDS_MS,
            tag_keys=("version",),
        )
        self._queue_ms = Histogram(
            "sentiment_queue_ms",
            "A request's wait for the device, ms.",
            boundaries=_SECONDS_MS,
            tag_keys=("version",),
        )
        self._forward_ms = Histogram(
            "sentiment_forward_ms",
            "A batch on the device, ms.",
            boundaries=_SECONDS_MS,
            tag_keys=("version",),
        )
        self._batch_items = Histogram(
            "sentiment_batch_items", "Texts in a batch.", boundaries=_ITEMS, tag_keys=("version",)
        )
        self._batch_tokens = Histogram(
            "sentiment_batch_tokens",
            "Tokens in a batch, without padding.",
            boundaries=_TOKENS,
            tag_keys=("version",),
        )
        self._tokens = Counter(
            "sentiment_tokens", "Tokens computed: real ones, and padding.", tag_keys=("kind", "version")
        )
        self._texts = Counter(
            "sentiment_predictions", "Texts by the label they were given.", tag_keys=("label", "version")
        )
        self._scores = Counter(
            "sentiment_scores",
            "Texts by their label's score, in tenths: 0.9 is from 0.9 to 1.",
            tag_keys=("tenth", "version"),
        )
        self._request_labels = Counter(
            "sentiment_request_labels",
            "Answered requests, each divided among the labels by the share of its texts.",
            tag_keys=("label", "version"),
        )
        self._request_scores = Counter(
            "sentiment_request_scores",
            "Answered requests, each divided among the tenths of the score by the share of its texts.",
            tag_keys=("tenth", "version"),
        )
        self._shadow = Counter(
            "sentiment_shadow_texts",
            "Texts offered to the model that scores aside: agree, disagree, failed, dropped.",
            tag_keys=("outcome", "version"),
        )
        self._shadow_requests = Counter(
            "sentiment_shadow_requests",
            "Requests scored aside, each divided among agree, disagree, failed by the share of its texts.",
            tag_keys=("outcome", "version"),
        )
        self._failed_load = Gauge(
            "sentiment_failed_load",
            "1 while a model that this replica is to serve could not be loaded.",
            tag_keys=("uri", "reason"),
        )
        self._failed_batches = Counter(
            "sentiment_failed_batches", "Batches the model failed on.", tag_keys=("version",)
        )
        self._waiting = Gauge("sentiment_queue_items", "Texts that wait for the device.")
        self._model = Gauge(
            "sentiment_model_info",
            "1 for the model that is live, and for one that scores aside (role shadow).",
            tag_keys=("name", "version", "device", "dtype", "uri", "role"),
        )
        self._start_time = Gauge(
            "sentiment_process_start_time_seconds",
            "When this process began to count, Unix time: a later one says that its totals began again at 0.",
        )
        self._started_at = time.time()
        self._logged = Counter(
            "sentiment_log_records",
            "Rows of the prediction log and of feedback: written, dropped for want of room, failed.",
            tag_keys=("log", "outcome"),
        )
        self._log_bytes = Gauge(
            "sentiment_log_buffer_bytes", "Memory of the rows that are not written yet.", tag_keys=("log",)
        )
        self._feedback = Counter(
            "sentiment_feedback",
            "Feedback by what it says of the answer; unknown: this replica does not remember it.",
            tag_keys=("outcome", "version"),
        )
        self._feedback_requests = Counter(
            "sentiment_feedback_requests",
            "Requests by feedback on them, each divided among right and wrong by the share of its texts.",
            tag_keys=("outcome", "version"),
        )
        self._startup_s = Gauge("sentiment_startup_s", "Cold start by phase, seconds.", tag_keys=("phase",))

    def request(self, route: str, status: int, seconds: float, *, version: str, kind: Kind) -> None:
        """Count one request with its outcome."""
        self._count(self._requests, route=route, status=str(status), version=version, kind=kind)
        self._request_ms.observe(1000 * seconds, {"route": route, "version": version, "kind": kind})
        if kind == "inference" and 1000 * seconds > _PROMISED_MS:
            self._count(self._late, route=route, version=version)

    def shed(self, route: str, *, version: str) -> None:
        """Count one request with texts that was refused for want of room, as cheaply as can be."""
        self._count(self._requests, route=route, status="429", version=version, kind="inference")

    def flush(self) -> None:
        """Hand Ray what was counted since the last time."""
        counts, self._counts = self._counts, defaultdict(float)
        for (counter, tags), count in counts.items():
            if count:  # Ray takes no 0
                counter.inc(count, dict(tags))

    def stages(self, *, tokenize_s: float, queue_s: float, version: str) -> None:
        """Record where one request's time went before the device."""
        self._tokenize_ms.observe(1000 * tokenize_s, {"version": version})
        self._queue_ms.observe(1000 * queue_s, {"version": version})

    def batch(self, *, items: int, tokens: int, computed_tokens: int, forward_s: float, version: str) -> None:
        """Record one batch; `computed_tokens` counts padding, `tokens` does not."""
        tags = {"version": version}
        self._batch_items.observe(items, tags)
        self._batch_tokens.observe(tokens, tags)
        self._forward_ms.observe(1000 * forward_s, tags)
        self._tokens.inc(tokens, {"kind": "text", "version": version})
        if computed_tokens > tokens:
            self._tokens.inc(computed_tokens - tokens, {"kind": "padding", "version": version})

    def failed_batch(self, *, version: str) -> None:
        """Count a batch that the model failed on."""
        self._failed_batches.inc(1, {"version": version})

    def predictions(self, labels: Sequence[str], scores: Sequence[float], *, version: str) -> None:
        """Count a request's texts by label and by that label's score, and the request by their shares."""
        for label, texts in Counts(labels).items():
            self._count(self._texts, texts, label=label, version=version)
            self._count(self._request_labels, texts / len(labels), label=label, version=version)
        tenths = Counts(_TENTHS[min(9, int(10 * score))] for score in scores)
        for tenth, texts in tenths.items():
            self._count(self._scores, texts, tenth=tenth, version=version)
            self._count(self._request_scores, texts / len(scores), tenth=tenth, version=version)

    def dropped_shadow(self, texts: int, *, version: str) -> None:
        """Count texts that the model that scores aside had no room for; `version` is that model's."""
        self._count(self._shadow, texts, outcome="dropped", version=version)

    def shadow(self, outcomes: Mapping[str, int], *, version: str) -> None:
        """Count a request's texts by what scoring them aside came to, and the request by their shares."""
        for outcome, texts in outcomes.items():
            share = texts / sum(outcomes.values())
            self._count(self._shadow, texts, outcome=outcome, version=version)
            self._count(self._shadow_requests, share, outcome=outcome, version=version)

    def logged(self, log: str, outcome: str, rows: int) -> None:
        """Count rows of a log by what became of them."""
        self._logged.inc(rows, {"log": log, "outcome": outcome})

    def log_buffer(self, log: str, size_bytes: int) -> None:
        """Set how much of a log is not written yet."""
        self._log_bytes.set(size_bytes, {"log": log})

    def feedback(self, outcome: str, *, version: str) -> None:
        """Count one text's feedback: right, wrong or unknown."""
        self._count(self._feedback, outcome=outcome, version=version)

    def request_feedback(self, right: int, wrong: int, *, version: str) -> None:
        """Count a request by the shares of its texts that feedback calls right and wrong."""
        for outcome, texts in (("right", right), ("wrong", wrong)):
            self._count(self._feedback_requests, texts / (right + wrong), outcome=outcome, version=version)

    def waiting(self, items: int) -> None:
        """Set the number of texts that wait."""
        self._waiting.set(items)

    def model(self, model: LiveModel, *, role: str) -> None:
        """Say which model is live, and as what; one that no longer is drops out by itself."""
        self._start_time.set(self._started_at)
        tags = {"name": model.name, "version": model.version, "device": model.device, "dtype": model.dtype}
        self._model.set(1.0, {**tags, "uri": model.uri, "role": role})

    def failed_load(self, failure: LoadFailure, *, now: bool) -> None:
        """Say that a model could not be loaded, or that this no longer matters."""
        self._failed_load.set(float(now), {"uri": failure.uri, "reason": failure.reason})

    def startup(self, phases: dict[str, float]) -> None:
        """Record the seconds of each phase of the cold start."""
        for phase, seconds in phases.items():
            self._startup_s.set(seconds, {"phase": phase})

    def _count(self, counter: Counter, by: float = 1, **tags: str) -> None:
        self._counts[counter, tuple(tags.items())] += by
