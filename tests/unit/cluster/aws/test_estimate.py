"""Tests of the price estimate of a plan against figures calculated by hand."""

from __future__ import annotations

import json
import re
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from cluster.aws.cost_table import bill
from cluster.aws.estimate import Line, estimate, read_prices
from cluster.cost.prices import read_books
from cluster.errors import CostInputError
from cluster.kuberay.settings import read_environment
from cluster.monitoring.catalog import read_catalog
from tests.conftest import ROOT

PRICES, CATALOG = read_prices(), read_catalog()


def resource(kind: str, mode: str = "managed", **values: Any) -> dict[str, Any]:
    return {"type": kind, "mode": mode, "values": values}


ENDPOINT = {
    "Type": "AWS::SageMaker::EndpointConfig",
    "Properties": {"ProductionVariants": [{"InstanceType": "ml.g5.xlarge", "InitialInstanceCount": 1}]},
}
CLUSTER = "EKS 1.36, standard support to 2027-08-02"


def cluster(version: str, support: str = "STANDARD") -> dict[str, Any]:
    return resource("aws_eks_cluster", version=version, upgrade_policy=[{"support_type": support}])


def plan(*resources: dict[str, Any], inner: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    children = [{"resources": list(inner)}]
    return {"planned_values": {"root_module": {"resources": list(resources), "child_modules": children}}}


def priced(*resources: dict[str, Any], inner: tuple[dict[str, Any], ...] = ()) -> dict[str, Line]:
    lines = {line.what: line for line in estimate(plan(*resources, inner=inner), PRICES, CATALOG)}
    del lines["custom metrics, at least"]
    return lines


def test_what_is_billed_by_the_hour_and_by_the_month() -> None:
    # 730 h at $0.10, 730 h at $0.045 for each of two gateways, and $1 per key
    lines = priced(
        cluster("1.36"),
        inner=(resource("aws_nat_gateway"), resource("aws_nat_gateway"), resource("aws_kms_key")),
    )
    assert lines == {
        CLUSTER: Line(CLUSTER, 1, Decimal("73.00")),
        "aws_nat_gateway": Line("aws_nat_gateway", 2, Decimal("65.700")),
        "aws_kms_key": Line("aws_kms_key", 1, Decimal("1.00")),
    }


@pytest.mark.parametrize(
    ("version", "support", "day", "month"),
    [
        ("1.33", "EXTENDED", date(2026, 11, 30), "438.00"),  # 730 h at $0.60, since 2026-07-29
        ("1.33", "EXTENDED", date(2026, 7, 28), "73.00"),
        ("1.33", "STANDARD", date(2026, 11, 30), "73.00"),  # AWS upgrades this cluster instead of billing it
        ("1.36", "EXTENDED", date(2026, 11, 30), "73.00"),
        ("1.36", "EXTENDED", date(2027, 8, 2), "438.00"),
    ],
)
def test_the_price_of_eks_is_that_of_its_support(version: str, support: str, day: date, month: str) -> None:
    lines = estimate(plan(cluster(version, support)), PRICES, CATALOG, day)
    [line] = [line for line in lines if line.what.startswith(f"EKS {version}, ")]
    assert line.month == Decimal(month)


def test_a_version_of_eks_without_a_date_is_named() -> None:
    with pytest.raises(CostInputError, match=r"1\.99"):
        priced(cluster("1.99"))


def test_the_default_version_is_in_standard_support() -> None:
    text = (ROOT / "cluster" / "aws" / "terraform" / "variables.tf").read_text(encoding="utf-8")
    block = text.partition('variable "kubernetes_version"')[2]
    version = re.search(r'default\s*=\s*"([^"]+)"', block)
    assert version and PRICES.eks.standard_support_until[version[1]] > PRICES.dated


def test_instances_of_every_place() -> None:
    # 2 x 0.192 x 730 = 280.32; 1.408 x 730 = 1,027.84; 3 x 1.006 x 730 = 2,203.14
    lines = priced(
        resource("aws_eks_node_group", instance_types=["m6i.xlarge"], scaling_config=[{"desired_size": 2}]),
        resource(
            "aws_cloudformation_stack",
            template_body=json.dumps({"Resources": {"Configuration": ENDPOINT}}),
        ),
        inner=(
            resource("aws_launch_template", instance_type="g5.xlarge"),
            resource("aws_launch_template", instance_type=None),
            resource("aws_ecs_service", desired_count=3),
        ),
    )
    assert {what: line.month for what, line in lines.items()} == {
        "m6i.xlarge (core nodes)": Decimal("280.320"),
        "ml.g5.xlarge (SageMaker)": Decimal("1027.840"),
        "g5.xlarge (ECS)": Decimal("2203.140"),
    }


def test_core_nodes_have_disks() -> None:
    # 3 x 80 GiB x 0.08 = 19.20
    disk = [{"ebs": [{"volume_size": 80}]}]
    lines = priced(
        resource(
            "aws_launch_template", name="sentiment-core", instance_type=None, block_device_mappings=disk
        ),
        resource("aws_eks_node_group", instance_types=["m6i.xlarge"], scaling_config=[{"desired_size": 3}]),
    )
    assert lines["disks of core nodes, 80 GiB each"].month == Decimal("19.20")


def test_an_alarm_costs_by_the_metrics_that_it_looks_at() -> None:
    queries = [{"metric": [{}]}, {"metric": [{}]}, {"metric": [], "expression": "a / b"}]
    lines = priced(
        resource("aws_cloudwatch_metric_alarm", metric_query=queries), resource("aws_cloudwatch_metric_alarm")
    )
    assert lines["aws_cloudwatch_metric_alarm"].month == Decimal("0.30")


def test_what_is_only_read_or_not_known_yet_costs_nothing() -> None:
    unknown = {"type": "aws_iam_role", "mode": "managed"}
    assert priced(resource("aws_eks_cluster", mode="data"), unknown, resource("aws_subnet")) == {}


def test_an_instance_without_a_price_is_named() -> None:
    group = resource("aws_eks_node_group", instance_types=["z9.huge"], scaling_config=[{"desired_size": 2}])
    with pytest.raises(CostInputError, match=r"z9\.huge"):
        priced(group)


def test_the_bill_adds_up() -> None:
    lines = [Line(CLUSTER, 1, Decimal("73.00")), Line("aws_kms_key", 2, Decimal("2.00"))]
    text = bill(lines, PRICES, read_environment("prod"), read_books()["list"])
    # By use: 30 x 0.10 + 10 x 0.50 + 8 x 0.08 + 50 x 0.045 = 10.89. Two g5.4xlarge: 2 x 1.624 x 730 =
    # 2,371.04; sixteen: 18,968.32
    for figure in ("75.00", "2,371.04", "2,456.93", "18,968.32", "19,054.21"):
        assert figure in text
    assert "16 x g5.4xlarge" in text
    large = "workers=[{name='large', instance_type='g5.12xlarge', max_pods=16}]"
    text = bill(lines, PRICES, read_environment("prod", [large]), read_books()["list"])
    # One g5.12xlarge for two pods: 5.672 x 730 = 4,140.56; four for sixteen: 16,562.24
    assert "4,140.56" in text and "16,562.24" in text
    assert "Not included" in text


def test_the_load_balancer_is_on_the_bill_if_there_is_an_ingress() -> None:
    changes = [
        "ingress.host=a.example.com",
        "ingress.certificate=arn:aws:acm:us-east-1:123456789012:certificate/a",
    ]
    text = bill([], PRICES, read_environment("prod", changes), read_books()["list"])
    # (0.0225 + 0.008) x 730 = 22.265
    assert re.search(r"load balancer of the ingress.* 22\.2[67]\n", text)
    assert "load balancer" not in bill([], PRICES, read_environment("prod"), read_books()["list"])


def test_the_bill_has_spot_and_savings_plan_rows() -> None:
    books = read_books()
    others = {name: books[name] for name in ("spot", "savings")}
    text = bill([], PRICES, read_environment("prod"), books["list"], others)
    # 10.89 by use, and: two g5.4xlarge on demand only (2,371.04), with 14 more at half of 16,597.28; at 75 %
    for row in (
        "the same with spot prices +2,381.93",
        "the same with spot prices +10,680.57",
        "the same with savings prices +1,789.17",
    ):
        assert re.search(row, text), text
    assert "assumed" in text


def test_without_gpus_there_are_no_nodes_on_the_bill() -> None:
    text = bill([], PRICES, read_environment("dev"), read_books()["list"])
    assert "pods" not in text.partition("Amounts of use")[0].replace("GPU nodes", "")
