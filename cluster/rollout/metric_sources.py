"""Counts by version from the metrics of the replicas: from Ray's endpoints, or from a Prometheus server.

Both sources give the same samples, running totals by label; a window is the difference of two readings. A
process that is not in the earlier reading has no difference yet: its totals are its baseline, since they may
have been counted for weeks (Prometheus's `increase` does the same). A known process starts every series at 0.
A process that restarted under the same labels, which its start time shows, has counted from 0 since then. A
series that is temporarily absent keeps its last value. A reading without one of the endpoints is incomplete,
and neither begins nor ends a window.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import httpx
from prometheus_client.parser import text_string_to_metric_families

from cluster.rollout.errors import MetricSourceError
from cluster.rollout.metric_window import BOUNDARIES_MS, TENTHS, Counts, ModelLoadFailure

_REQUESTS = "ray_sentiment_requests_total"
_LATENCY = "ray_sentiment_request_ms_bucket"
_LABELS = "ray_sentiment_request_labels_total"
_SCORES = "ray_sentiment_request_scores_total"
_SHADOW = "ray_sentiment_shadow_requests_total"
_FEEDBACK = "ray_sentiment_feedback_requests_total"
_MODEL = "ray_sentiment_model_info"
_FAILED = "ray_sentiment_failed_load"
_START = "ray_sentiment_process_start_time_seconds"
_GAUGES = (_MODEL, _FAILED, _START)
NAMES = (_REQUESTS, _LATENCY, _LABELS, _SCORES, _SHADOW, _FEEDBACK, *_GAUGES)
"""Metrics that are read. Feedback exists only if a service stores it (`outcome` right or wrong)."""
_ROUTES = ("/v1/classify", "/predict", "/invocations")  # those with texts, and all that end in /infer

_SERVED_WITHIN = "1h"
_TRIES = 3
_PROCESS = frozenset(("endpoint", "instance", "pod", "NodeAddress", "SessionName", "WorkerId"))
"""Labels that together identify the process that counts."""

Labels = frozenset[tuple[str, str]]
Key = tuple[str, Labels]


@dataclass(frozen=True, slots=True)
class Reading:
    """Values of all series at one moment: running totals or gauges.

    Attributes:
        series: values by name and labels.
        missing: known endpoints that did not answer; the reading is incomplete if there are any.
    """

    series: Mapping[Key, float]
    missing: frozenset[str] = frozenset()

    def followed_by(self, later: Reading) -> Reading:
        """Return the later reading, with the values of this one for the series that it lacks."""
        return Reading({**self.series, **later.series}, later.missing)


class MetricSource(Protocol):
    """Source of the replicas' metrics."""

    def read(self) -> Reading:
        """Return the current metrics. Raises MetricSourceError if no endpoint answers."""


class Endpoints:
    """Ray's own Prometheus endpoints, one per node, listed by the dashboard; they need no Prometheus server.

    Args:
        dashboard: address of the Ray dashboard, which lists the nodes' endpoints.
        urls: endpoints to use instead of those that the dashboard lists.
        client: HTTP client, which the caller closes.
    """

    def __init__(self, dashboard: str, urls: Sequence[str] = (), *, client: httpx.Client) -> None:
        self._dashboard = dashboard.rstrip("/")
        self._urls = tuple(urls)
        self._client = client

    def read(self) -> Reading:
        """Read the series of all nodes; a node that does not answer is missing.

        Raises MetricSourceError if none answers.
        """
        return gathered(self._urls or self._listed(), self._fetch)

    def _fetch(self, url: str) -> str:
        try:
            answer = self._client.get(url)
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise MetricSourceError(f"{url}: {error!r}") from error
        return answer.text

    def _listed(self) -> tuple[str, ...]:
        url = f"{self._dashboard}/api/prometheus/sd"
        try:
            answer = self._client.get(url, headers=auth_headers(os.environ))
            answer.raise_for_status()
            groups = answer.json()
            targets = {
                target
                for group in groups
                if group.get("labels", {}).get("job") == "ray"
                for target in group["targets"]
            }
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise MetricSourceError(
                f"{url} does not list the metrics endpoints: {error!r}; set --metrics"
            ) from error
        return tuple(f"http://{target}/metrics" for target in sorted(targets))


class Prometheus:
    """Prometheus server that scrapes the cluster.

    Args:
        url: address of the server, for example http://prometheus:9090.
        selector: label matchers that select the series of this service, for example `namespace="prod"`.
        client: HTTP client, which the caller closes.
    """

    def __init__(self, url: str, selector: str = "", *, client: httpx.Client) -> None:
        self._url = f"{url.rstrip('/')}/api/v1/query"
        self._selector = selector
        self._client = client

    def read(self) -> Reading:
        """Return the latest value of every series.

        Raises MetricSourceError if the server does not provide it.
        """
        chosen = f"{{{self._selector}}}"
        series = {(name, labels): value for name in NAMES for labels, value in self._query(f"{name}{chosen}")}
        # A target has no series after a failed scrape; only targets that have served a model count as
        # missing.
        down = f"up{chosen} == 0 and on (job, instance) last_over_time({_MODEL}{chosen}[{_SERVED_WITHIN}])"
        missing = frozenset(dict(labels).get("instance", "") for labels, _ in self._query(down))
        return Reading(series, missing)

    def _query(self, query: str) -> Iterable[tuple[Labels, float]]:
        try:
            answer = self._client.get(self._url, params={"query": query})
            body: Any = answer.json()
            if body["status"] != "success":
                raise ValueError(body.get("error", "no error given"))
            for result in body["data"]["result"]:
                labels = {label: text for label, text in result["metric"].items() if label != "__name__"}
                yield frozenset(labels.items()), float(result["value"][1])
        except (httpx.HTTPError, ValueError, KeyError, TypeError, IndexError) as error:
            raise MetricSourceError(
                f"{self._url} did not answer {query}: {error!r}; check --prometheus"
            ) from error


def gathered(places: Iterable[str], fetch: Callable[[str], str]) -> Reading:
    """Return the series of every endpoint that answers; those that fail several attempts are missing.

    Args:
        places: address or name of each endpoint; it becomes the label `endpoint`, since two endpoints may
            have equal series.
        fetch: returns the metrics of an endpoint in Prometheus's text format, or raises MetricSourceError.

    Raises:
        MetricSourceError: no endpoint answered.
    """
    series: dict[Key, float] = {}
    left, faults = list(places), dict[str, str]()
    listed = len(left)
    for _ in range(_TRIES):
        faults = {}
        for place in left:
            try:
                text = fetch(place)
            except MetricSourceError as error:
                faults[place] = str(error)
                continue
            series |= {(name, labels | {("endpoint", place)}): value for (name, labels), value in parse(text)}
        left = list(faults)
    if len(faults) == listed:
        raise MetricSourceError(
            f"no metrics endpoint answered ({'; '.join(faults.values()) or 'none is listed'}); set "
            "--metrics, or a Prometheus server with --prometheus"
        )
    return Reading(series, frozenset(faults))


def auth_headers(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that Ray's dashboard needs with RAY_AUTH_MODE=token: the token of RAY_AUTH_TOKEN."""
    token = environment.get("RAY_AUTH_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def parse(text: str) -> Iterable[tuple[Key, float]]:
    """Yield the series in `NAMES` from Prometheus's text format."""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in NAMES:
                yield (sample.name, frozenset(sample.labels.items())), float(sample.value)


def between(before: Reading, after: Reading) -> Reading:
    """Return the increase of known processes between two readings; gauges have their later value."""
    known = {_process_of(labels) for _, labels in before.series}
    began, begins = _starts(before), _starts(after)
    added = {}
    for key, value in after.series.items():
        process = _process_of(key[1])
        if key[0] in _GAUGES:
            added[key] = value
        elif process in known:
            earlier = before.series.get(key, 0.0)
            restarted = begins.get(process, 0.0) > began.get(process, math.inf)
            added[key] = value if restarted or value < earlier else value - earlier
    return Reading(added, after.missing)


def pods_of(reading: Reading, uri: str) -> int:
    """Return the number of processes that report the model of an address."""
    return len(
        {
            _process_of(labels)
            for (name, labels), value in reading.series.items()
            if name == _MODEL and value > 0 and ("uri", uri) in labels
        }
    )


def _process_of(labels: Labels) -> Labels:
    return frozenset(label for label in labels if label[0] in _PROCESS)


def _starts(reading: Reading) -> dict[Labels, float]:
    """Return the Unix time of each process's start, where it is reported."""
    return {_process_of(labels): value for (name, labels), value in reading.series.items() if name == _START}


def version_of(reading: Reading, uri: str) -> str | None:
    """Return the version that the model of an address reports, or None if no replica has loaded it."""
    versions = {
        dict(labels).get("version", "")
        for (name, labels), value in reading.series.items()
        if name == _MODEL and value > 0 and ("uri", uri) in labels
    }
    return max(versions, default=None)


def precisions_of(reading: Reading, uri: str) -> tuple[str, ...]:
    """Return the sorted data types, such as bfloat16, in which replicas serve the model of an address."""
    found = {
        dict(labels).get("dtype", "")
        for (name, labels), value in reading.series.items()
        if name == _MODEL and value > 0 and ("uri", uri) in labels
    }
    return tuple(sorted(found - {""}))


def failed_loads(reading: Reading) -> tuple[ModelLoadFailure, ...]:
    """Return the models that replicas could not load."""
    found = {
        ModelLoadFailure(dict(labels).get("uri", ""), dict(labels).get("reason", ""))
        for (name, labels), value in reading.series.items()
        if name == _FAILED and value > 0
    }
    return tuple(sorted(found, key=lambda failed: (failed.uri, failed.reason)))


def counts_of(added: Reading, version: str | None) -> Counts:
    """Return the counts of one version between two readings; empty counts for None."""
    if version is None:
        return Counts()
    sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for (name, labels), value in added.series.items():
        tags = dict(labels)
        if tags.get("version") != version or not math.isfinite(value):
            continue
        if name in (_REQUESTS, _LATENCY) and not _is_inference(tags):
            continue
        sums[name][_class_of(name, tags)] += value
    tenths = _shares(sums[_SCORES])
    statuses = {status: round(count) for status, count in sums[_REQUESTS].items()}
    return Counts(
        requests=sum(statuses.values()),
        errors=sum(count for status, count in statuses.items() if status.startswith("5")),
        refused=statuses.get("429", 0),
        latency=_classes(sums[_LATENCY]),
        label_shares=_shares(sums[_LABELS]),
        score_shares=tuple(tenths.get(f"0.{tenth}", 0.0) for tenth in range(TENTHS)),
        shadow_shares=_shares(sums[_SHADOW]),
        feedback_shares=_shares(sums[_FEEDBACK]),
    )


def _shares(sums: Mapping[str, float]) -> dict[str, float]:
    """Return the sums in the labels' order, rounded to remove the noise of floating-point differences."""
    return {name: round(total, 6) for name, total in sorted(sums.items()) if round(total, 6)}


def _is_inference(tags: Mapping[str, str]) -> bool:
    """Return whether a series counts inference requests; pods of earlier releases report only the route."""
    if kind := tags.get("kind"):
        return kind == "inference"
    route = tags.get("route", "")
    return route in _ROUTES or route.endswith("/infer")


def _class_of(name: str, tags: Mapping[str, str]) -> str:
    """Return the label value by which a metric is counted; a 422 from a failed model counts as an error."""
    if name == _REQUESTS and (tags.get("status"), tags.get("kind")) == ("422", "inference"):
        return "500"
    by = {_REQUESTS: "status", _LATENCY: "le", _LABELS: "label", _SCORES: "tenth"}.get(name, "outcome")
    return tags.get(by, "")


def _classes(cumulative: Mapping[str, float]) -> tuple[int, ...]:
    """Convert Prometheus's cumulative buckets to counts per class."""
    by_end = {float(end): count for end, count in cumulative.items()}
    classes, before = [], 0.0
    for end in (*BOUNDARIES_MS, math.inf):
        total = max(before, by_end.get(float(end), before))
        classes.append(round(total - before))
        before = total
    return tuple(classes)
