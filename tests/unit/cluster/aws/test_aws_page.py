"""Tests of the commands in docs/aws.md: they run in bash with stand-ins and match the rendered objects."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.__main__ import main
from cluster.aws.addons import steps
from cluster.kuberay.manifests.render import service_documents
from cluster.kuberay.settings import Environment, read_environment
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "aws.md"
PROGRAMS = ("python", "kubectl", "aws", "helm", "make", "curl", "terraform", "git", "cp", "openssl")
_STAND_IN = """\
#!{python}
import json, os, sys
with open({log!r}, "a") as log:
    log.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
print("output-of-" + os.path.basename(sys.argv[0]))
"""
_KINDS = {"service": "Service", "ingress": "Ingress"}


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """Run the page's commands with stand-ins for all programs; return the words of each call."""
    folder = tmp_path_factory.mktemp("page")
    log = folder / "log"
    for name in PROGRAMS:
        program = folder / name
        program.write_text(_STAND_IN.format(python=sys.executable, log=str(log)))
        program.chmod(0o755)
    blocks = re.findall(
        r"^( *)```bash\n(.*?)^ *```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    script = "\n".join(block for _, block in blocks) + "\nwait\n"
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=folder,
        env={"PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "not found" not in done.stderr, done.stderr
    return [json.loads(line) for line in log.read_text().splitlines()]


def of(commands: list[list[str]], *words: str) -> list[list[str]]:
    return [command for command in commands if command[: len(words)] == list(words)]


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


@pytest.fixture(scope="module")
def environment(commands: list[list[str]]) -> Environment:
    """Return the environment that the page applies."""
    [apply] = of(commands, "python", "-m", "cluster", "apply")
    changes = [apply[place + 1] for place, word in enumerate(apply) if word == "--set"]
    return read_environment(option(apply, "--env"), changes)


@pytest.fixture(scope="module")
def documents(environment: Environment) -> list[dict[str, Any]]:
    return service_documents(environment)


def secrets(node: Any) -> Iterator[tuple[str, str | None]]:
    """Yield name and key of every Secret that a document refers to."""
    if isinstance(node, dict):
        if "secretKeyRef" in node:
            yield node["secretKeyRef"]["name"], node["secretKeyRef"]["key"]
        if "secretName" in node:
            yield node["secretName"], None
        for value in node.values():
            yield from secrets(value)
    elif isinstance(node, list):
        for value in node:
            yield from secrets(value)


def test_check_apply_and_wait_have_the_same_settings(commands: list[list[str]]) -> None:
    told = [of(commands, "python", "-m", "cluster", verb)[0][4:] for verb in ("check", "apply", "wait")]
    assert told[0] == told[1] == told[2]


def test_every_secret_is_created_with_its_key_and_namespace(
    commands: list[list[str]], documents: list[dict[str, Any]], environment: Environment
) -> None:
    created: dict[str, str] = {}
    for command in commands:
        if command[0] == "kubectl" and "secret" in command:
            assert option(command, "-n") == environment.namespace
            [literal] = [word for word in command if word.startswith("--from-literal=")]
            created[option(command, "generic")] = literal.removeprefix("--from-literal=").partition("=")[0]
    needed = set(secrets(documents))
    assert needed and {name for name, _ in needed} == created.keys()
    assert all(key in (None, created[name]) for name, key in needed)
    keys_file = next(
        variable["value"]
        for variable in documents[-1]["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"][
            "containers"
        ][0]["env"]
        if variable["name"] == "SENTIMENT_API_KEYS_FILE"
    )
    assert Path(keys_file).name == created["api-keys"]


def test_every_object_that_kubectl_reads_is_rendered(
    commands: list[list[str]], documents: list[dict[str, Any]]
) -> None:
    there = {
        (one["metadata"].get("namespace"), one["kind"], one["metadata"]["name"]): one for one in documents
    }
    read = [command for command in of(commands, "kubectl") if {"port-forward", "get"} & set(command)]
    assert len(read) == 2
    for command in read:
        verb = "port-forward" if "port-forward" in command else "get"
        what = command[command.index(verb) + 1 :]
        kind, name = what[0].split("/") if "/" in what[0] else what[:2]
        found = there[option(command, "-n"), _KINDS[kind], name]
        if verb == "port-forward":
            port = int(what[1])
            assert port in [one["port"] for one in found["spec"]["ports"]]
            [curl] = of(commands, "curl")
            assert f"localhost:{port}/v1/classify" in curl


def test_the_storage_class_and_the_namespace_come_from_the_addons(
    documents: list[dict[str, Any]], environment: Environment, commands: list[list[str]]
) -> None:
    [addons] = of(commands, "python", "-m", "cluster", "aws", "addons")
    installed = steps(read_environment(option(addons, "--env")), region=option(addons, "--region"))
    manifests = "\n".join(step.manifest or "" for step in installed)
    claims = [
        claim
        for one in documents
        if one["kind"] == "StatefulSet"
        for claim in one["spec"]["volumeClaimTemplates"]
    ]
    for claim in claims:
        assert f"kind: StorageClass\nmetadata:\n  name: {claim['spec']['storageClassName']}\n" in manifests
    assert f"kind: Namespace\nmetadata:\n  name: {environment.namespace}\n" in manifests
    order = [command[3:5] if command[3] == "aws" else command[3:4] for command in of(commands, "python")]
    assert order.index(["aws", "up"]) < order.index(["aws", "addons"]) < order.index(["apply"])


def test_every_command_of_this_project_has_the_options(
    commands: list[list[str]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import argparse

    parsed: list[argparse.Namespace] = []
    real = argparse.ArgumentParser.parse_args

    def parse_only(self: argparse.ArgumentParser, *given: Any, **named: Any) -> argparse.Namespace:
        args = real(self, *given, **named)
        parsed.append(args)
        args.run = lambda args: 0
        return args

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
    ours = of(commands, "python", "-m", "cluster")
    for command in ours:
        assert main(command[3:]) == 0, capsys.readouterr().err
    assert len(parsed) == len(ours) >= 8


def test_files_and_targets_of_the_page_exist(commands: list[list[str]]) -> None:
    for command in of(commands, "cp"):
        assert (ROOT / command[1]).is_file()
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in of(commands, "make"):
        assert re.search(rf"^{command[1]}:", makefile, re.MULTILINE)
    outputs = (ROOT / "cluster/aws/terraform/outputs.tf").read_text(encoding="utf-8")
    terraform = of(commands, "terraform")
    assert terraform
    for command in terraform:
        assert f'output "{command[-1]}"' in outputs
    assert not of(commands, "helm"), "charts are installed by the add-ons, with pinned versions"
