"""Contents of `metrics.yaml` as typed data: names, dimensions and thresholds, checked for consistency."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

CATALOG = Path(__file__).with_name("metrics.yaml")
SERVICE = "service"
"""Dimension that every metric has: the name of the RayService."""


class _CatalogModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PodSLO(_CatalogModel):
    """SLO of one pod, as `loadtest.slo.SLO`."""

    requests_per_minute: float
    offered_per_minute: float
    p95_ms: float


class CatalogMetric(_CatalogModel):
    """Metric with its sender, and the sets of labels by which it can be queried."""

    sender: Literal["replica", "ray", "function", "aws"]
    dimensions: Annotated[list[list[str]], Field(min_length=1)]


class Query(_CatalogModel):
    """Query for the values of one metric in each period."""

    metric: str
    statistic: Literal["Sum", "Average", "Maximum", "Minimum", "SampleCount"]
    outcome: Literal["answered", "refused", "failed"] | None = None

    @property
    def labels(self) -> set[str]:
        """Return the queried set of dimensions."""
        return {SERVICE, "outcome"} if self.outcome else {SERVICE}


class Alarm(_CatalogModel):
    """Condition of a CloudWatch alarm."""

    says: str
    queries: Annotated[dict[str, Query], Field(min_length=1)]
    expression: str | None = None
    comparison: Literal["GreaterThanThreshold", "LessThanThreshold"] = "GreaterThanThreshold"
    threshold: float | None = None
    """None stands for the rate above which the environment's autoscaler adds pods, a Terraform variable."""
    period_s: Annotated[int | None, Field(ge=60, multiple_of=60)] = None
    breaking: Annotated[int, Field(alias="for", ge=1)]
    looked_at: Annotated[int, Field(alias="of", ge=1)]
    missing: Literal["breaching", "notBreaching", "ignore"]
    promise: bool

    @model_validator(mode="after")
    def _can_be_told(self) -> Self:
        if self.breaking > self.looked_at:
            raise ValueError(f"for {self.breaking} is more than of {self.looked_at}")
        if self.expression is None and len(self.queries) != 1:
            raise ValueError("without an expression there must be one query")
        return self


class Catalog(_CatalogModel):
    """Contents of the entire file."""

    namespace: str
    period_s: Annotated[int, Field(ge=60, multiple_of=60)]
    promise: PodSLO
    metrics: dict[str, CatalogMetric]
    alarms: dict[str, Alarm]

    @model_validator(mode="after")
    def _every_alarm_reads_what_is_sent(self) -> Self:
        for name, alarm in self.alarms.items():
            for query in alarm.queries.values():
                metric = self.metrics.get(query.metric)
                if metric is None:
                    raise ValueError(f"alarm {name!r} reads {query.metric!r}, which is not sent")
                if query.labels not in [set(one) for one in metric.dimensions]:
                    raise ValueError(
                        f"alarm {name!r} reads {query.metric!r} by {sorted(query.labels)}, "
                        "which is not sent by them"
                    )
        return self

    def sent_by(self, *senders: str) -> Mapping[str, CatalogMetric]:
        """Return the metrics of the given senders, by name."""
        return {name: metric for name, metric in self.metrics.items() if metric.sender in senders}


def read_catalog(path: Path = CATALOG) -> Catalog:
    """Load the catalog. An error in the shipped file is a bug; pydantic's error names the position."""
    return Catalog.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
