"""Metrics of the replica, exported by Ray's Prometheus endpoint as `ray_sentiment_*`."""

from __future__ import annotations

import time
from collections import Counter as Counts
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

from ray.util.metrics import Counter, Gauge, Histogram

from serve_app.interface import LiveModel, LoadFailure

_SECONDS_MS = [1, 2, 5, 10, 20, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 2000, 5000, 10_000, 30_000]
_PROMISED_MS = 100
"""p95 latency of the SLO, which is met while at most one request in 20 takes longer. Late requests are
counted because the CloudWatch agent does not support histograms, and because the counts of pods can be added,
unlike percentiles."""
_ITEMS = [1, 2, 4, 8, 16, 32, 64, 128, 256]
Kind = Literal["inference", "rejected", "other"]
"""Kind of a request by its route and outcome. inference: the route takes texts and the service is responsible
for the outcome; alarms and autoscaler count only these. rejected: refused for an error of the client. other:
health, metadata, feedback."""

_TENTHS = [f"0.{tenth}" for tenth in range(10)]
_TOKENS = [16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768]


class Metrics:
    """Counters, gauges and histograms of the replica. Units are part of the names.

    Counts per request are buffered until `flush`, and may only be changed by the event loop's thread.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[Counter, tuple[tuple[str, str], ...]], float] = defaultdict(float)
        self._requests = Counter(
            "sentiment_requests",
            "Number of requests by route, HTTP status, and kind: inference, rejected, other.",
            tag_keys=("route", "status", "version", "kind"),
        )
        self._late = Counter(
            "sentiment_late_requests",
            "Number of inference requests that took longer than the SLO's 100 ms.",
            tag_keys=("route", "version"),
        )
        self._request_ms = Histogram(
            "sentiment_request_ms",
            "Time from a request's arrival at the replica to its response, in ms.",
            boundaries=_SECONDS_MS,
            tag_keys=("route", "version", "kind"),
        )
        self._tokenize_ms = Histogram(
            "sentiment_tokenize_ms",
            "Time to tokenise the texts of a request, in ms.",
            boundaries=_SECONDS_MS,
            tag_keys=("version",),
        )
        self._queue_ms = Histogram(
            "sentiment_queue_ms",
            "Time that a request waited for the device, in ms.",
            boundaries=_SECONDS_MS,
            tag_keys=("version",),
        )
        self._forward_ms = Histogram(
            "sentiment_forward_ms",
            "Time of the forward pass of a batch, in ms.",
            boundaries=_SECONDS_MS,
            tag_keys=("version",),
        )
        self._batch_items = Histogram(
            "sentiment_batch_items", "Number of texts in a batch.", boundaries=_ITEMS, tag_keys=("version",)
        )
        self._batch_tokens = Histogram(
            "sentiment_batch_tokens",
            "Number of tokens in a batch, without padding.",
            boundaries=_TOKENS,
            tag_keys=("version",),
        )
        self._tokens = Counter(
            "sentiment_tokens",
            "Number of tokens computed, by kind: text or padding.",
            tag_keys=("kind", "version"),
        )
        self._texts = Counter(
            "sentiment_predictions", "Number of texts by predicted label.", tag_keys=("label", "version")
        )
        self._neutral = Counter(
            "sentiment_neutral_texts",
            "Number of texts that were answered NEUTRAL because no score reached the threshold.",
            tag_keys=("version",),
        )
        self._scores = Counter(
            "sentiment_scores",
            "Number of texts by the score of the predicted label, in tenths: 0.9 is from 0.9 to 1.",
            tag_keys=("tenth", "version"),
        )
        self._request_labels = Counter(
            "sentiment_request_labels",
            "Number of answered requests by label; a request counts for each label with its fraction of the "
            "texts.",
            tag_keys=("label", "version"),
        )
        self._request_scores = Counter(
            "sentiment_request_scores",
            "Number of answered requests by score in tenths; a request counts for each with its fraction of "
            "the texts.",
            tag_keys=("tenth", "version"),
        )
        self._shadow = Counter(
            "sentiment_shadow_texts",
            "Number of texts offered to the shadow model, by outcome: agree, disagree, failed, dropped.",
            tag_keys=("outcome", "version"),
        )
        self._shadow_requests = Counter(
            "sentiment_shadow_requests",
            "Number of requests scored by the shadow model, by outcome: agree, disagree, failed; a request "
            "counts for each with its fraction of the texts.",
            tag_keys=("outcome", "version"),
        )
        self._failed_load = Gauge(
            "sentiment_failed_load",
            "1 while a model that is assigned to this replica could not be loaded, otherwise 0.",
            tag_keys=("uri", "reason"),
        )
        self._failed_batches = Counter(
            "sentiment_failed_batches", "Number of batches on which the model failed.", tag_keys=("version",)
        )
        self._waiting = Gauge("sentiment_queue_items", "Number of texts that wait for the device.")
        self._model = Gauge(
            "sentiment_model_info",
            "1 for the live model, and for the shadow model (role shadow); dtype is the precision in use.",
            tag_keys=("name", "version", "device", "dtype", "uri", "role"),
        )
        self._start_time = Gauge(
            "sentiment_process_start_time_seconds",
            "Unix time at which the counters of this process started at 0, in seconds.",
        )
        self._started_at = time.time()
        self._logged = Counter(
            "sentiment_log_records",
            "Number of rows of the prediction log and of feedback, by outcome: written, dropped because the "
            "buffer is full, failed.",
            tag_keys=("log", "outcome"),
        )
        self._log_bytes = Gauge(
            "sentiment_log_buffer_bytes", "Size of the unwritten log rows, in bytes.", tag_keys=("log",)
        )
        self._feedback = Counter(
            "sentiment_feedback",
            "Number of texts with feedback, by outcome: the prediction was right, wrong or is unknown to "
            "this replica.",
            tag_keys=("outcome", "version"),
        )
        self._feedback_requests = Counter(
            "sentiment_feedback_requests",
            "Number of requests with feedback, by outcome: right, wrong; a request counts for each with its "
            "fraction of the texts.",
            tag_keys=("outcome", "version"),
        )
        self._startup_s = Gauge(
            "sentiment_startup_s", "Duration of the cold start by phase, in seconds.", tag_keys=("phase",)
        )

    def request(self, route: str, status: int, seconds: float, *, version: str, kind: Kind) -> None:
        """Count one request with its outcome."""
        self._count(self._requests, route=route, status=str(status), version=version, kind=kind)
        self._request_ms.observe(1000 * seconds, {"route": route, "version": version, "kind": kind})
        if kind == "inference" and 1000 * seconds > _PROMISED_MS:
            self._count(self._late, route=route, version=version)

    def shed(self, route: str, *, version: str) -> None:
        """Count one request with texts that was refused with 429 before it reached a route."""
        self._count(self._requests, route=route, status="429", version=version, kind="inference")

    def flush(self) -> None:
        """Pass the buffered counts to Ray."""
        counts, self._counts = self._counts, defaultdict(float)
        for (counter, tags), count in counts.items():
            if count:  # Ray does not accept 0
                counter.inc(count, dict(tags))

    def stages(self, *, tokenize_s: float, queue_s: float, version: str) -> None:
        """Record the times of one request before its forward pass."""
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
        """Count a batch on which the model failed."""
        self._failed_batches.inc(1, {"version": version})

    def predictions(self, labels: Sequence[str], scores: Sequence[float], *, version: str) -> None:
        """Count a request's texts, and the request by fractions, by predicted label and by its score."""
        tenths = Counts(_TENTHS[min(9, int(10 * score))] for score in scores)
        self._count_texts(self._texts, self._request_labels, "label", Counts(labels), version)
        self._count_texts(self._scores, self._request_scores, "tenth", tenths, version)

    def neutral(self, texts: int, *, version: str) -> None:
        """Count the texts of a request that are answered NEUTRAL; the other metrics keep the best label."""
        self._count(self._neutral, texts, version=version)

    def dropped_shadow(self, texts: int, *, version: str) -> None:
        """Count texts that the full queue of the shadow model dropped; `version` is the shadow model's."""
        self._count(self._shadow, texts, outcome="dropped", version=version)

    def shadow(self, outcomes: Mapping[str, int], *, version: str) -> None:
        """Count a request's texts, and the request by fractions, by the outcome of the shadow model."""
        self._count_texts(self._shadow, self._shadow_requests, "outcome", outcomes, version)

    def logged(self, log: str, outcome: str, rows: int) -> None:
        """Count rows of a log by outcome."""
        self._logged.inc(rows, {"log": log, "outcome": outcome})

    def log_buffer(self, log: str, size_bytes: int) -> None:
        """Set the size of the unwritten rows of a log."""
        self._log_bytes.set(size_bytes, {"log": log})

    def feedback(self, outcome: str, *, version: str) -> None:
        """Count the feedback on one text: right, wrong or unknown."""
        self._count(self._feedback, outcome=outcome, version=version)

    def request_feedback(self, right: int, wrong: int, *, version: str) -> None:
        """Count a request by the fractions of its texts that are right and wrong by feedback."""
        for outcome, texts in (("right", right), ("wrong", wrong)):
            self._count(self._feedback_requests, texts / (right + wrong), outcome=outcome, version=version)

    def waiting(self, items: int) -> None:
        """Set the number of queued texts."""
        self._waiting.set(items)

    def model(self, model: LiveModel, *, role: str) -> None:
        """Report a loaded model and its role; Ray drops a model that is no longer reported."""
        self._start_time.set(self._started_at)
        tags = {"name": model.name, "version": model.version, "device": model.device, "dtype": model.dtype}
        self._model.set(1.0, {**tags, "uri": model.uri, "role": role})

    def failed_load(self, failure: LoadFailure, *, now: bool) -> None:
        """Report that a model could not be loaded, or that this no longer applies."""
        self._failed_load.set(float(now), {"uri": failure.uri, "reason": failure.reason})

    def startup(self, phases: dict[str, float]) -> None:
        """Record the seconds of each phase of the cold start."""
        for phase, seconds in phases.items():
            self._startup_s.set(seconds, {"phase": phase})

    def _count_texts(
        self, texts: Counter, requests: Counter, tag: str, of: Mapping[str, int], version: str
    ) -> None:
        """Count a request's texts by the value of a tag, and the request by each value's fraction."""
        total = sum(of.values())
        for value, count in of.items():
            tags = {tag: value, "version": version}
            self._count(texts, count, **tags)
            self._count(requests, count / total, **tags)

    def _count(self, counter: Counter, by: float = 1, **tags: str) -> None:
        self._counts[counter, tuple(tags.items())] += by
