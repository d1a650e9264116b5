"""Monthly cost of a Terraform plan, from the plan's resources and a price list."""

import json
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


class EksPrices(BaseModel):
    """Prices of an EKS control plane per hour by support status, and the end of each version's support.

    Attributes:
        standard: US dollars per hour in standard support.
        extended: US dollars per hour in extended support.
        standard_support_until: First day of extended support, by Kubernetes version.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    standard: Money
    extended: Money
    standard_support_until: dict[str, date]


class Usage(BaseModel):
    """What is charged by use, with the amount that is assumed for a month."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    what: str
    amount: Money
    unit: str
    usd: Annotated[Money, Field(description="US dollars per unit.")]


class Prices(BaseModel):
    """List prices in US dollars: per hour or month of a resource, and per hour of an instance."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    dated: date
    source: str
    month_hours: Annotated[int, Field(ge=672, le=744)]
    eks: EksPrices
    hourly: dict[str, Money]
    monthly: dict[str, Money]
    usage: tuple[Usage, ...] = ()
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


def estimate(
    plan: Mapping[str, Any], prices: Prices, catalog: Catalog, day: date | None = None
) -> Sequence[Line]:
    """Return the cost of the resources after the plan by type, the most expensive first.

    Args:
        plan: Plan as `terraform show -json` writes it.
        prices: Prices of resources and instances.
        catalog: Metrics that are sent to CloudWatch.
        day: Day that decides on the support status of EKS; default: today.

    Raises:
        CostInputError: An instance type has no price, or a Kubernetes version no end of support.
    """
    months: dict[str, Decimal] = {}
    counts: Counter[str] = Counter()
    for what, count, month in _costs(plan, prices, catalog, day or date.today()):
        counts[what] += count
        months[what] = months.get(what, Decimal(0)) + month
    lines = [Line(what, counts[what], month) for what, month in months.items()]
    return sorted(lines, key=lambda line: (-line.month, line.what))


def usage_lines(prices: Prices) -> Sequence[Line]:
    """Return the cost of what is charged by use, with the assumed amounts."""
    return [Line(f"{one.what}, {one.amount} {one.unit}", 1, one.amount * one.usd) for one in prices.usage]


def load_balancer_line(prices: Prices) -> Line:
    """Return the cost of the Ingress' load balancer, which its controller creates, with one capacity unit."""
    hour = prices.hourly["aws_lb"] + prices.hourly["lb_capacity_unit"]
    return Line("load balancer of the ingress, 1 capacity unit", 1, hour * prices.month_hours)


def _costs(
    plan: Mapping[str, Any], prices: Prices, catalog: Catalog, day: date
) -> Iterator[tuple[str, int, Decimal]]:
    planned = plan["planned_values"]["root_module"]
    disk_gib = _core_disk_gib(planned)
    for kind, values in _resources(planned):
        if kind == "aws_eks_cluster":
            yield _control_plane(values, prices, day)
        elif kind in prices.hourly:
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
            if disk_gib:
                month = count * disk_gib * prices.monthly["gp3_gib"]
                yield f"disks of core nodes, {disk_gib} GiB each", count, month
        elif kind == "aws_cloudformation_stack":
            for variant in _variants(values):
                count = variant["InitialInstanceCount"]
                yield (
                    f"{variant['InstanceType']} (SageMaker)",
                    count,
                    count * prices.instance(variant["InstanceType"]),
                )
    yield from _ecs(planned, prices)
    # A set of dimensions is one metric per value, and has at least one value.
    sent = sum(len(metric.dimensions) for metric in catalog.metrics.values())
    yield "custom metrics, at least", sent, sent * prices.monthly["custom_metric"]


def _core_disk_gib(planned: Mapping[str, Any]) -> int:
    """Return the size of the disk of a core node; 0 without a launch template of the core nodes."""
    for kind, values in _resources(planned):
        if kind == "aws_launch_template" and str(values.get("name")).endswith("-core"):
            return int(values["block_device_mappings"][0]["ebs"][0]["volume_size"])
    return 0


def _control_plane(values: Mapping[str, Any], prices: Prices, day: date) -> tuple[str, int, Decimal]:
    """Return the cost of EKS. With the policy STANDARD, AWS upgrades a version instead of extending it."""
    version = values["version"]
    until = prices.eks.standard_support_until.get(version)
    if until is None:
        known = ", ".join(prices.eks.standard_support_until)
        raise CostInputError(
            f"no end of standard support for EKS {version}; expected one of {known}; add the date of "
            f"`aws eks describe-cluster-versions` to {PRICES}"
        )
    policies = values.get("upgrade_policy") or [{"support_type": "EXTENDED"}]  # AWS's default
    if policies[0]["support_type"] == "STANDARD" or day < until:
        what, hour = f"EKS {version}, standard support to {until}", prices.eks.standard
    else:
        what, hour = f"EKS {version}, extended support since {until}", prices.eks.extended
    return what, 1, hour * prices.month_hours


def _variants(values: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the production variants of SageMaker endpoints in a CloudFormation stack."""
    for resource in json.loads(values["template_body"])["Resources"].values():
        if resource["Type"] == "AWS::SageMaker::EndpointConfig":
            yield from resource["Properties"]["ProductionVariants"]


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
