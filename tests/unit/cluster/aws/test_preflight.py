"""Tests of the checks before an installation, and of the selection of the installation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from cluster.__main__ import main
from cluster.aws.account import Quota, most_vcpus
from cluster.aws.preflight import PreflightResult
from cluster.aws.status import InstallationStatus
from cluster.aws.terraform_runner import FOLDER, KEPT, MODULES, told
from cluster.errors import TerraformError
from cluster.kuberay.settings import read_environment


def test_vcpus_of_all_nodes_by_hand() -> None:
    # Two clusters of 16 pods on g5.4xlarge during an upgrade, 36 for a last g5.12xlarge with one pod in each
    # of two groups, and a training's g5.4xlarge.
    assert most_vcpus(read_environment("prod")) == 2 * 16 * 16 + 2 * 36 + 16
    # Without a second cluster: a quarter more pods while Serve replaces code.
    assert most_vcpus(read_environment("prod", ["upgrade.type=None"])) == 20 * 16 + 2 * 36 + 16
    assert most_vcpus(read_environment("dev")) == 0


def test_pods_that_run_on_demand_only_need_that_quota() -> None:
    environment = read_environment("prod")
    reserved = most_vcpus(environment, "on-demand")
    assert reserved == 2 * 2 * 16 + 36, "two pods in each of two clusters"
    assert most_vcpus(environment, "spot") == 0, "no pods run on spot nodes only"
    quotas = [Quota("spot", 600, 600), Quota("on-demand", 600, reserved - 1)]
    [fault] = PreflightResult((), quotas, {"on-demand": reserved}).faults
    assert "on-demand only need 100 vCPUs" in fault and "the quota is 99" in fault
    quotas = [Quota("spot", 600, 600), Quota("on-demand", 600, reserved)]
    assert PreflightResult((), quotas, {"on-demand": reserved}).complete


@pytest.mark.parametrize(
    ("allowed", "complete"),
    [((224, 0), True), ((0, 224), True), ((223, 223), False), ((None, None), False), ((None, 500), True)],
)
def test_one_kind_of_capacity_is_enough(allowed: Sequence[int | None], complete: bool) -> None:
    quotas = [
        Quota(capacity, 224, vcpus) for capacity, vcpus in zip(("spot", "on-demand"), allowed, strict=True)
    ]
    ready = PreflightResult((), quotas)
    assert ready.complete is complete
    if not complete:
        assert "need 224 vCPUs" in ready.faults[0]


def test_a_region_without_an_instance_type_is_named() -> None:
    assert PreflightResult(["g5.4xlarge"], ()).faults == ["the region does not offer g5.4xlarge"]


def test_name_and_region_are_terraforms(tmp_path: Path) -> None:
    file = tmp_path / "my.tfvars"
    file.write_text('# name = "no"\nname   = "reviews"\n  region = "eu-west-1" # near\n')
    assert (told(file, (), "name"), told(file, (), "region")) == ("reviews", "eu-west-1")
    assert told(file, ("name=other", "name=last"), "name") == "last"
    same = tmp_path / "my.tfvars.json"
    same.write_text('{"name": "reviews"}')
    assert told(same, (), "name") == "reviews"
    with pytest.raises(TerraformError, match="No such file"):
        told(tmp_path / "none", (), "name")


@pytest.mark.parametrize("name", ["name", "region"])
def test_without_a_file_they_are_the_defaults_of_terraform(name: str) -> None:
    variables = (FOLDER / "variables.tf").read_text()
    default = re.search(rf'variable "{name}" {{.*?default\s+= "([^"]+)"', variables, re.DOTALL)
    assert default is not None
    assert told(None, (), name) == default[1]


def test_what_down_leaves_are_modules() -> None:
    assert set(KEPT) < set(MODULES)
    main_file = (FOLDER / "main.tf").read_text()
    assert set(re.findall(r'^module "(\w+)"', main_file, re.MULTILINE)) == set(MODULES)


@pytest.mark.parametrize(
    ("cluster", "alarm", "run", "well"),
    [
        ("ACTIVE", "OK", "Succeeded", True),
        ("ACTIVE", "INSUFFICIENT_DATA", "never ran", True),
        ("CREATING", "OK", "Succeeded", False),
        ("ACTIVE", "ALARM", "Succeeded", False),
        ("ACTIVE", "OK", "Failed", False),
    ],
)
def test_what_is_well(cluster: str, alarm: str, run: str, well: bool) -> None:
    assert InstallationStatus({"s": cluster}, {"a": alarm}, {"p": run}, {}).well is well


def test_nothing_there_is_not_well_and_says_what_makes_it() -> None:
    nothing = InstallationStatus({}, {}, {}, {})
    assert not nothing.well
    assert "aws up" in nothing.table


@pytest.mark.parametrize("verb", ["plan", "up", "status", "down"])
def test_without_credentials_nothing_is_begun(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert main(["aws", verb]) == 1
    assert "no AWS credentials" in capsys.readouterr().err


def test_the_agents_manifests_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["aws", "agent", "--env", "prod"]) == 0
    assert "cwagentconfig.json" in capsys.readouterr().out
