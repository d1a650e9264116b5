"""From the replicas' metrics to counts by version: from Ray's endpoints, or from a Prometheus server.

Both give the same samples, running totals by label; a window is the difference of two readings. A total that
went down began anew with its process, so all of it is new (as Prometheus's `increase` has it); a series that
is gone for a while keeps what it had.
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
_LABELS = "ray_sentiment_predictions_total"
_SCORES = "ray_sentiment_scores_total"
_SHADOW = "ray_sentiment_shadow_texts_total"
_FEEDBACK = "ray_sentiment_feedback_total"
_MODEL = "ray_sentiment_model_info"
_FAILED = "ray_sentiment_failed_load"
NAMES = (_REQUESTS, _LATENCY, _LABELS, _SCORES, _SHADOW, _FEEDBACK, _MODEL, _FAILED)
"""What is read. Feedback is there only where a service stores it (`outcome` right or wrong)."""
_ROUTES = ("/v1/classify", "/predict", "/invocations")  # and all that end in /infer: those that take texts

Key = tuple[str, frozenset[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Reading:
    """Every series with its running total or value, at one moment."""

    series: Mapping[Key, float]

    def followed_by(self, later: Reading) -> Reading:
        """The later reading, with what is missing in it as it was."""
        return Reading({**self.series, **later.series})


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
        """All nodes' series. A node that is going away may not answer; if none does, SourceFailed."""
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
        return Reading({key: value for name in NAMES for key, value in self._query(name)})

    def _query(self, name: str) -> Iterable[tuple[Key, float]]:
        try:
            answer = self._client.get(self._url, params={"query": f"{name}{{{self._selector}}}"})
            body: Any = answer.json()
            if body["status"] != "success":
                raise ValueError(body.get("error", "no error given"))
            for result in body["data"]["result"]:
                labels = {label: text for label, text in result["metric"].items() if label != "__name__"}
                yield (name, frozenset(labels.items())), float(result["value"][1])
        except (httpx.HTTPError, ValueError, KeyError, TypeError, IndexError) as error:
            raise SourceFailed(f"{self._url} did not answer {name}: {error!r}; check --prometheus") from error


def gathered(places: Iterable[str], fetch: Callable[[str], str]) -> Reading:
    """The series of every place that answers.

    Args:
        places: address or name of each; it becomes the label `endpoint`, since two may have equal series.
        fetch: gives a place's metrics in Prometheus's text format, or raises SourceFailed.

    Raises:
        SourceFailed: none answered.
    """
    found: dict[Key, float] = {}
    faults: list[str] = []
    answered = 0
    for place in places:
        try:
            text = fetch(place)
        except SourceFailed as error:
            faults.append(str(error))
            continue
        answered += 1
        found |= {(name, labels | {("endpoint", place)}): value for (name, labels), value in parse(text)}
    if not answered:
        raise SourceFailed(
            f"no metrics endpoint answered ({'; '.join(faults) or 'none is listed'}); name one with "
            "--metrics, or a Prometheus server with --prometheus"
        )
    return Reading(found)


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
    """What was added from one reading to the next; gauges stay as they are in the later one."""
    added = {}
    for key, value in after.series.items():
        if key[0] in (_MODEL, _FAILED):
            added[key] = value
        else:
            earlier = before.series.get(key, 0.0)
            added[key] = value - earlier if value >= earlier else value
    return Reading(added)


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
    shadow, feedback = sums[_SHADOW], sums[_FEEDBACK]
    return Counts(
        requests=sum(statuses.values()),
        errors=sum(count for status, count in statuses.items() if status.startswith("5")),
        refused=statuses.get("429", 0),
        latency=_classes(sums[_LATENCY]),
        labels={label: round(count) for label, count in sorted(sums[_LABELS].items())},
        scores=tuple(round(sums[_SCORES].get(f"0.{tenth}", 0)) for tenth in range(TENTHS)),
        shadow_agree=round(shadow.get("agree", 0)),
        shadow_disagree=round(shadow.get("disagree", 0)),
        shadow_failed=round(shadow.get("failed", 0)),
        right=round(feedback.get("right", 0)),
        wrong=round(feedback.get("wrong", 0)),
    )


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
