"""Terraform runner for the included configuration: state in S3, plan to a file, apply that file."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from cluster.aws.package import package
from cluster.cost.plan import pod_hour
from cluster.cost.prices import read_books
from cluster.errors import TerraformError
from cluster.kuberay.settings import Environment

FOLDER = Path(__file__).with_name("terraform")
KEPT = ("data", "source")
"""Modules that `down` keeps: the buckets, and the source repository."""
MODULES = tuple(sorted(path.name for path in (FOLDER / "modules").iterdir()))
_ROOT = Path(__file__).parents[2]
_FUNCTIONS = _ROOT / "build" / "functions"
_PRICE_STEP = Decimal("0.0001")
_DEFAULTS = {"name": "sentiment", "region": "us-east-1"}
"""Defaults of variables.tf; a test compares the two."""


class TerraformRunner:
    """Terraform configuration with the variables of one installation.

    Args:
        variables: A .tfvars file, or None.
        changes: Variables as `name=value`, which override the file.
    """

    def __init__(self, variables: Path | None, changes: Sequence[str] = ()) -> None:
        if shutil.which("terraform") is None:
            raise TerraformError(
                "terraform is not on the PATH; install it: https://developer.hashicorp.com/terraform/install"
            )
        self._variables = [f"-var-file={variables.resolve()}"] if variables else []
        self._variables += [f"-var={change}" for change in changes]
        # Relative to Terraform's folder, so that the state does not depend on the machine.
        self._variables.append(f"-var=functions_folder={os.path.relpath(_FUNCTIONS, FOLDER)}")

    def init(self, *, bucket: str, region: str) -> None:
        """Download the provider and open the state.

        The environment variable TF_PLUGIN_DIR is a folder of providers to use instead of the registry.
        """
        package(_FUNCTIONS)
        plugins = os.environ.get("TF_PLUGIN_DIR")
        self._run(
            "init",
            "-input=false",
            "-reconfigure",
            f"-backend-config=bucket={bucket}",
            "-backend-config=key=sentiment.tfstate",
            f"-backend-config=region={region}",
            *([f"-plugin-dir={plugins}"] if plugins else []),
            quiet=True,
        )

    def plan(self, out: Path, *options: str) -> Mapping[str, Any]:
        """Write a plan to a file, and return it as `terraform show -json` prints it."""
        self._run("plan", "-input=false", f"-out={out}", *self._variables, *options)
        return self._json("show", "-json", str(out))

    def apply(self, plan: Path) -> None:
        """Apply a plan."""
        self._run("apply", "-input=false", str(plan))

    def outputs(self) -> Mapping[str, Any]:
        """Return the outputs by name; none before the first apply."""
        return {name: one["value"] for name, one in self._json("output", "-json").items()}

    def _json(self, *arguments: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = json.loads(self._run(*arguments, quiet=True))
        return found

    def _run(self, *arguments: str, quiet: bool = False) -> str:
        """Run Terraform with its output on the terminal, or with `quiet` return its output."""
        ended = subprocess.run(
            ["terraform", f"-chdir={FOLDER}", *arguments],
            stdout=subprocess.PIPE if quiet else None,
            stderr=subprocess.PIPE if quiet else None,
            text=True,
            env={**os.environ, "TF_IN_AUTOMATION": "1"},
        )
        if ended.returncode:
            message = f": {(ended.stderr or ended.stdout).strip()}" if quiet else "; see its output above"
            raise TerraformError(f"terraform {arguments[0]} failed with {ended.returncode}{message}")
        return ended.stdout or ""


def variables_of(environment: Environment) -> list[str]:
    """Return Terraform's variables that follow from an environment's settings, as `name=value`."""
    variables = [f"pod_max_requests_per_minute={environment.serve.scaling.max_requests_per_minute:g}"]
    if environment.serving_types:
        price = pod_hour(environment, read_books()["list"])
        variables.append(f"usd_per_pod_hour={price.quantize(_PRICE_STEP).normalize():f}")
    return variables


def told(variables: Path | None, changes: Sequence[str], name: str) -> str:
    """Return the value of a text variable: from the changes, else from the file, else its default.

    It is needed before Terraform runs: the bucket of the state depends on the name and the region.
    """
    for change in reversed(changes):
        if change.startswith(f"{name}="):
            return change.partition("=")[2]
    if variables is not None:
        try:
            text = variables.read_text(encoding="utf-8")
        except OSError as error:
            raise TerraformError(f"{variables}: {error.strerror}") from error
        if variables.suffix == ".json":
            return str(json.loads(text).get(name, _DEFAULTS[name]))
        if found := re.search(rf'^\s*{name}\s*=\s*"([^"]*)"', text, re.MULTILINE):
            return found[1]
    return _DEFAULTS[name]
