"""Tests of the add-on installation: order, pinned versions, idempotence, and the printed script."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cluster.__main__ import main
from cluster.aws.addons import as_script, read_addons, steps
from cluster.errors import AddonError
from cluster.kuberay.settings import read_environment
from tests.conftest import ROOT

PROGRAM = """\
#!{python}
import json, os, sys
name = os.path.basename(sys.argv[0])
text = "" if sys.stdin.isatty() or "-" not in sys.argv[1:] else sys.stdin.read()
with open({log!r}, "a") as log:
    log.write(json.dumps([name, *sys.argv[1:], text]) + "\\n")
if "describe-cluster" in sys.argv:
    print("vpc-0a1b")
if "fail" in os.environ.get("FAILS", "") and name == "helm":
    sys.exit(3)
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put stand-ins for aws, kubectl and helm on the PATH, and return the log of their calls."""
    log = tmp_path / "log"
    for name in ("aws", "kubectl", "helm"):
        program = tmp_path / name
        program.write_text(PROGRAM.format(python=sys.executable, log=str(log)))
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return log


def calls(log: Path) -> list[list[str]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_the_add_ons_come_in_order(log: Path) -> None:
    assert main(["aws", "addons"]) == 0
    told = [step.title for step in steps(read_environment("prod"), region="us-east-1")]
    wanted = (
        "access",
        "VPC",
        "StorageClass",
        "aws-load-balancer-controller 3",
        "karpenter 1",
        "kuberay-operator 1",
    )
    places = [
        next(i for i, title in enumerate(told) if title.startswith(one)) for one in (*wanted, "namespace")
    ]
    assert places == sorted(places) and told[-1] == "metrics agent"
    assert len(calls(log)) == len(told)


def test_a_second_run_repeats_every_command(log: Path) -> None:
    assert main(["aws", "addons"]) == 0
    first = calls(log)
    assert main(["aws", "addons"]) == 0
    assert calls(log) == 2 * first
    for program, verb, *rest in first:
        safe = {"kubectl": ["apply", "--server-side"], "helm": ["upgrade", "--install"], "aws": ["eks"]}[
            program
        ]
        assert [verb, *rest][: len(safe)] == safe


def test_versions_are_pinned_and_the_vpc_is_read(log: Path) -> None:
    assert main(["aws", "addons", "--region", "eu-west-1", "--set", "nodes.eks_cluster=reviews"]) == 0
    charts = [call for call in calls(log) if call[0] == "helm"]
    assert charts
    for call in charts:
        version = call[call.index("--version") + 1]
        assert re.fullmatch(r"\d+\.\d+\.\d+", version) and "--wait" in call
    [balancers] = [call for call in charts if call[3] == "aws-load-balancer-controller"]
    assert {"clusterName=reviews", "region=eu-west-1", "vpcId=vpc-0a1b"} <= set(balancers)


def test_a_failure_stops_and_says_what_to_do(
    log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAILS", "fail")
    assert main(["aws", "addons"]) == 1
    told = capsys.readouterr().err
    assert "ended with 3" in told and "python -m cluster aws addons" in told
    assert [call[0] for call in calls(log)].count("helm") == 1


def test_the_script_makes_the_same_calls_and_the_dry_run_none(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["aws", "addons", "--dry-run"]) == 0
    assert not log.exists()
    script = capsys.readouterr().out
    assert script == as_script(steps(read_environment("prod"), region="us-east-1"))
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    by_script = calls(log)
    log.unlink()
    assert main(["aws", "addons"]) == 0
    assert [[*call[:-1], list(yaml.safe_load_all(call[-1]))] for call in by_script] == [
        [*call[:-1], list(yaml.safe_load_all(call[-1]))] for call in calls(log)
    ]


def test_the_device_plugin_is_for_al2023_alone() -> None:
    def titles(*changes: str) -> str:
        return " ".join(step.title for step in steps(read_environment("prod", changes), region="us-east-1"))

    assert "nvidia-device-plugin" not in titles()
    assert "nvidia-device-plugin" in titles("nodes.ami=al2023@v20261101")


def test_the_builds_have_rights_for_the_names_of_the_environment() -> None:
    environment = read_environment("prod", ["name=reviews", "namespace=shop"])
    (step,) = [one for one in steps(environment, region="us-east-1") if one.title == "rights of the builds"]
    role, binding = yaml.safe_load_all(step.manifest or "")
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == "shop"
    assert binding["subjects"][0]["name"] == "reviews-deployers"
    assert {name for rule in role["rules"] for name in rule.get("resourceNames", [])} == {"reviews-training"}


def test_without_an_eks_cluster_there_is_nothing_to_install() -> None:
    with pytest.raises(AddonError, match="nodes"):
        steps(read_environment("dev"), region="us-east-1")


def test_the_roles_of_terraform_are_for_the_same_accounts() -> None:
    folder = ROOT / "cluster" / "aws" / "terraform" / "modules" / "cluster"
    text = "\n".join(path.read_text(encoding="utf-8") for path in folder.glob("*.tf"))
    for name in ("aws-load-balancer-controller", "karpenter"):
        assert read_addons()[name].namespace == "kube-system"
        assert f'service_account = "{name}"' in text
