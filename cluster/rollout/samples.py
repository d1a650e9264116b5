"""From the replicas' metrics to counts by version: from Ray's endpoints, or from a Prometheus server.

Both give the same samples, running totals by label; a window is the difference of two readings. A process
that the earlier reading lacks has no difference yet: what it shows is its baseline, since it may be the total
of weeks (as Prometheus's `increase` has it). A known process starts every series at 0. A process that started
again under the same labels, which its start time tells, has counted from 0 since. A series that is gone for a
while keeps what it had; a reading that lacks an endpoint is incomplete, and neither begins nor ends a window.
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

from cluster.rollout.errors import SourceFailed
from cluster.rollout.observations import BOUNDARIES_MS, TENTHS, Counts, FailedLoad

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
"""What is read. Feedback is there only where a service stores it (`outcome` right or wrong)."""
_ROUTES = ("/v1/classify", "/predict", "/invocations")  # and all that end in /infer: those that take texts

_SERVED_WITHIN = "1h"
_TRIES = 3
_PROCESS = frozenset(("endpoint", "instance", "pod", "NodeAddress", "SessionName", "WorkerId"))
"""Labels that together name the process that counts."""

Labels = frozenset[tuple[str, str]]
Key = tuple[str, Labels]


@dataclass(frozen=True, slots=True)
class Reading:
    """Every series with its running total or value, at one moment.

    Attributes:
        series: values by name and labels.
        missing: endpoints that are known and did not answer; with any, the reading is incomplete.
    """

    series: Mapping[Key, float]
    missing: frozenset[str] = frozenset()

    def followed_by(self, later: Reading) -> Reading:
        """The later reading, with what is missing in it as it was."""
        return Reading({**self.series, **later.series}, later.missing)


class Source(Protocol):
    """Where the replicas' metrics are read."""

    def read(self) -> Reading:
        """What the metrics say now. Raises SourceFailed if no endpoint answers."""


class Endpoints:
    """Ray's own Prometheus endpoints, one a node, found through the dashboard; no Prometheus needed.

    Args:
        dashboard: address of the Ray dashboard, which lists the nodes' endpoints.
        urls: the endpoints, instead of asking the dashboard.
        client: speaks HTTP; the caller's to close.
    """

    def __init__(self, dashboard: str, urls: Sequence[str] = (), *, client: httpx.Client) -> None:
        self._dashboard = dashboard.rstrip("/")
        self._urls = tuple(urls)
        self._client = client

    def read(self) -> Reading:
        """All nodes' series; a node that does not answer is missing. SourceFailed if none answers."""
        return gathered(self._urls or self._listed(), self._fetch)

    def _fetch(self, url: str) -> str:
        try:
            answer = self._client.get(url)
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise SourceFailed(f"{url}: {error!r}") from error
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
            raise SourceFailed(
                f"{url} does not list the metrics endpoints: {error!r}; name them with --metrics"
            ) from error
        return tuple(f"http://{target}/metrics" for target in sorted(targets))


class Prometheus:
    """A Prometheus server that scrapes the cluster.

    Args:
        url: of the server, e.g. http://prometheus:9090.
        selector: what narrows the series down to this service, e.g. `namespace="prod"`.
        client: speaks HTTP; the caller's to close.
    """

    def __init__(self, url: str, selector: str = "", *, client: httpx.Client) -> None:
        self._url = f"{url.rstrip('/')}/api/v1/query"
        self._selector = selector
        self._client = client

    def read(self) -> Reading:
        """The latest value of every series; SourceFailed if the server does not answer, or not with one."""
        chosen = f"{{{self._selector}}}"
        series = {(name, labels): value for name in NAMES for labels, value in self._query(f"{name}{chosen}")}
        # A target whose last scrape failed has no series; of those, the ones that have served a model.
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
            raise SourceFailed(
                f"{self._url} did not answer {query}: {error!r}; check --prometheus"
            ) from error


def gathered(places: Iterable[str], fetch: Callable[[str], str]) -> Reading:
    """The series of every place that answers; those that do not, of several tries, are missing.

    Args:
        places: address or name of each; it becomes the label `endpoint`, since two may have equal series.
        fetch: gives a place's metrics in Prometheus's text format, or raises SourceFailed.

    Raises:
        SourceFailed: none answered.
    """
    found: dict[Key, float] = {}
    left, faults = list(places), dict[str, str]()
    listed = len(left)
    for _ in range(_TRIES):
        faults = {}
        for place in left:
            try:
                text = fetch(place)
            except SourceFailed as error:
                faults[place] = str(error)
                continue
            found |= {(name, labels | {("endpoint", place)}): value for (name, labels), value in parse(text)}
        left = list(faults)
    if len(faults) == listed:
        raise SourceFailed(
            f"no metrics endpoint answered ({'; '.join(faults.values()) or 'none is listed'}); name one with "
            "--metrics, or a Prometheus server with --prometheus"
        )
    return Reading(found, frozenset(faults))


def auth_headers(environment: Mapping[str, str]) -> dict[str, str]:
    """What Ray's dashboard asks for with RAY_AUTH_MODE=token: the token of RAY_AUTH_TOKEN, if that is set."""
    token = environment.get("RAY_AUTH_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def parse(text: str) -> Iterable[tuple[Key, float]]:
    """The series of interest in Prometheus's text format."""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in NAMES:
                yield (sample.name, frozenset(sample.labels.items())), float(sample.value)


def between(before: Reading, after: Reading) -> Reading:
    """What known processes added from one reading to the next; gauges are those of the later one."""
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
    """The number of processes that report the model of an address."""
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
    """Unix time of each process's start, where it is reported."""
    return {_process_of(labels): value for (name, labels), value in reading.series.items() if name == _START}


def version_of(reading: Reading, uri: str) -> str | None:
    """The version that the model of an address calls itself, or None if no replica has loaded it."""
    versions = {
        dict(labels).get("version", "")
        for (name, labels), value in reading.series.items()
        if name == _MODEL and value > 0 and ("uri", uri) in labels
    }
    return max(versions, default=None)


def failed_loads(reading: Reading) -> tuple[FailedLoad, ...]:
    """The models that replicas are to serve and could not load."""
    found = {
        FailedLoad(dict(labels).get("uri", ""), dict(labels).get("reason", ""))
        for (name, labels), value in reading.series.items()
        if name == _FAILED and value > 0
    }
    return tuple(sorted(found, key=lambda failed: (failed.uri, failed.reason)))


def counts_of(added: Reading, version: str | None) -> Counts:
    """What one version did between two readings; nothing for None."""
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
    statuses = {status: round(count) for status, count in sums[_REQUESTS].items()}
    return Counts(
        requests=sum(statuses.values()),
        errors=sum(count for status, count in statuses.items() if status.startswith("5")),
        refused=statuses.get("429", 0),
        latency=_classes(sums[_LATENCY]),
        label_shares=_shares(sums[_LABELS]),
        score_shares=tuple(_shares(sums[_SCORES]).get(f"0.{tenth}", 0.0) for tenth in range(TENTHS)),
        shadow_shares=_shares(sums[_SHADOW]),
        feedback_shares=_shares(sums[_FEEDBACK]),
    )


def _shares(sums: Mapping[str, float]) -> dict[str, float]:
    """Sums of shares without the noise of floating-point differences, in the labels' order."""
    return {name: round(total, 6) for name, total in sorted(sums.items()) if round(total, 6)}


def _is_inference(tags: Mapping[str, str]) -> bool:
    """Whether a series counts inference requests; pods of earlier releases name the route alone."""
    route = tags.get("route", "")
    return (
        tags.get("kind", "inference" if route in _ROUTES or route.endswith("/infer") else "") == "inference"
    )


def _class_of(name: str, tags: Mapping[str, str]) -> str:
    """The label by which a metric is counted here; texts on which the model fails (422) count as errors."""
    if name == _REQUESTS and (tags.get("status"), tags.get("kind")) == ("422", "inference"):
        return "500"
    by = {_REQUESTS: "status", _LATENCY: "le", _LABELS: "label", _SCORES: "tenth"}.get(name, "outcome")
    return tags.get(by, "")


def _classes(cumulative: Mapping[str, float]) -> tuple[int, ...]:
    """Prometheus's buckets, each with all before it, as classes of their own."""
    by_end = {float(end): count for end, count in cumulative.items()}
    classes, before = [], 0.0
    for end in (*BOUNDARIES_MS, math.inf):
        total = max(before, by_end.get(float(end), before))
        classes.append(round(total - before))
        before = total
    return tuple(classes)
