"""Monthly cost of a Terraform plan, from the plan's resources and a price list."""

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cluster.errors import CostInputError
from cluster.monitoring.catalog import Catalog

PRICES = Path(__file__).with_name("prices.toml")
Money = Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]


class Prices(BaseModel):
    """List prices in US dollars: per hour or month of a resource, and per hour of an instance."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    dated: date
    source: str
    month_hours: Annotated[int, Field(ge=672, le=744)]
    hourly: dict[str, Money]
    monthly: dict[str, Money]
    instances: dict[str, Money]

    def instance(self, kind: str) -> Decimal:
        """Return US dollars per month of an instance; raises CostInputError for a type without a price."""
        if kind not in self.instances:
            raise CostInputError(
                f"no price for {kind!r}; expected one of {', '.join(self.instances)}; add the price to "
                f"{PRICES}"
            )
        return self.instances[kind] * self.month_hours


@dataclass(frozen=True, slots=True)
class Line:
    """Cost line of one resource type: count, and US dollars per month for all of them."""

    what: str
    count: int
    month: Decimal


def read_prices(path: Path = PRICES) -> Prices:
    """Read the price list; raises CostInputError if it cannot be read or is not valid."""
    try:
        return Prices.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise CostInputError(f"{path}: {error}") from error


def estimate(plan: Mapping[str, Any], prices: Prices, catalog: Catalog) -> Sequence[Line]:
    """Return the cost of the resources after the plan by type, the most expensive first.

    Args:
        plan: Plan as `terraform show -json` writes it.
        prices: Prices of resources and instances.
        catalog: Metrics that are sent to CloudWatch.

    Raises:
        CostInputError: An instance type has no price.
    """
    months: dict[str, Decimal] = {}
    counts: Counter[str] = Counter()
    for what, count, month in _costs(plan, prices, catalog):
        counts[what] += count
        months[what] = months.get(what, Decimal(0)) + month
    lines = [Line(what, counts[what], month) for what, month in months.items()]
    return sorted(lines, key=lambda line: (-line.month, line.what))


def _costs(plan: Mapping[str, Any], prices: Prices, catalog: Catalog) -> Iterator[tuple[str, int, Decimal]]:
    planned = plan["planned_values"]["root_module"]
    for kind, values in _resources(planned):
        if kind in prices.hourly:
            yield kind, 1, prices.hourly[kind] * prices.month_hours
        elif kind in prices.monthly:
            yield kind, 1, prices.monthly[kind]
        elif kind == "aws_cloudwatch_metric_alarm":
            metrics = [one for one in values.get("metric_query") or () if one.get("metric")]
            yield kind, 1, prices.monthly["alarm_metric"] * max(1, len(metrics))
        elif kind == "aws_eks_node_group":
            count = values["scaling_config"][0]["desired_size"]
            yield (
                f"{values['instance_types'][0]} (core nodes)",
                count,
                count * prices.instance(values["instance_types"][0]),
            )
        elif kind == "aws_sagemaker_endpoint_configuration":
            for variant in values["production_variants"]:
                count = variant["initial_instance_count"]
                yield (
                    f"{variant['instance_type']} (SageMaker)",
                    count,
                    count * prices.instance(variant["instance_type"]),
                )
    yield from _ecs(planned, prices)
    # A set of dimensions is one metric per value, and has at least one value.
    sent = sum(len(metric.dimensions) for metric in catalog.metrics.values())
    yield "custom metrics, at least", sent, sent * prices.monthly["custom_metric"]


def _ecs(planned: Mapping[str, Any], prices: Prices) -> Iterator[tuple[str, int, Decimal]]:
    """Yield the instances of the ECS service, one per task."""
    resources = list(_resources(planned))
    tasks = sum(values["desired_count"] for kind, values in resources if kind == "aws_ecs_service")
    types = [
        values["instance_type"]
        for kind, values in resources
        if kind == "aws_launch_template" and values.get("instance_type")
    ]
    if tasks and types:
        yield f"{types[0]} (ECS)", tasks, tasks * prices.instance(types[0])


def _resources(module: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield type and values of every managed resource in all modules."""
    for resource in module.get("resources", ()):
        if resource["mode"] == "managed":
            yield resource["type"], resource.get("values", {})  # missing while no value is known
    for child in module.get("child_modules", ()):
        yield from _resources(child)
