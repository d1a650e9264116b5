"""Tests of the Terraform configuration: format, types, and its own tests with a mock provider."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.aws.package import package
from tests.conftest import ROOT
from tests.terraform import terraform_environment

FOLDER = ROOT / "cluster" / "aws" / "terraform"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    environment = terraform_environment(tmp_path_factory.mktemp("terraform"))
    plugins = environment.get("TF_PLUGIN_DIR")
    package(ROOT / "build" / "functions")
    ended = terraform(
        "init",
        "-backend=false",
        "-input=false",
        *([f"-plugin-dir={plugins}"] if plugins else []),
        environment=environment,
    )
    if ended.returncode:
        pytest.skip(
            f"the AWS provider is not reached; TF_PLUGIN_DIR names a folder with it: {ended.stderr[-500:]}"
        )
    yield environment


def terraform(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["terraform", f"-chdir={FOLDER}", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_the_format_is_terraforms(environment: dict[str, str]) -> None:
    ended = terraform("fmt", "-check", "-recursive", "-diff", environment=environment)
    assert ended.returncode == 0, ended.stdout


def test_every_reference_and_type_holds(environment: dict[str, str]) -> None:
    ended = terraform("validate", environment=environment)
    assert ended.returncode == 0, ended.stderr


def test_its_own_tests_pass(environment: dict[str, str]) -> None:
    ended = terraform("test", environment=environment)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    written = sum(file.read_text().count("\nrun ") for file in Path(FOLDER / "tests").glob("*.tftest.hcl"))
    assert f"Success! {written} passed, 0 failed." in ended.stdout
