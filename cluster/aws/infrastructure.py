"""Terraform, run for the folder that ships: init with the state in S3, plan into a file, apply that file."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster.aws.package import package
from cluster.errors import TerraformFailed
from cluster.kuberay.settings import Environment

FOLDER = Path(__file__).with_name("terraform")
KEPT = ("data", "source")
"""Modules that `down` leaves: the buckets, and the repository with the source."""
MODULES = tuple(sorted(path.name for path in (FOLDER / "modules").iterdir()))
_ROOT = Path(__file__).parents[2]
_FUNCTIONS = _ROOT / "build" / "functions"
_DEFAULTS = {"name": "sentiment", "region": "us-east-1"}
"""As in variables.tf; a test holds them together."""


class Infrastructure:
    """The shipped Terraform with one installation's variables.

    Args:
        variables: a .tfvars file, or none.
        changes: `name=value` each, which go before the file.
    """

    def __init__(self, variables: Path | None, changes: Sequence[str] = ()) -> None:
        if shutil.which("terraform") is None:
            raise TerraformFailed(
                "terraform is not on the PATH; https://developer.hashicorp.com/terraform/install"
            )
        self._variables = [f"-var-file={variables.resolve()}"] if variables else []
        self._variables += [f"-var={change}" for change in changes]
        # From where Terraform stands, so that the state names no folder of one machine.
        self._variables.append(f"-var=functions_folder={os.path.relpath(_FUNCTIONS, FOLDER)}")

    def init(self, *, bucket: str, region: str) -> None:
        """Fetch the provider and open the state.

        TF_PLUGIN_DIR in the environment is a folder of providers, for where the registry is not reached.
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
        """Plan into a file, and return the plan as `terraform show -json` has it."""
        self._run("plan", "-input=false", f"-out={out}", *self._variables, *options)
        return self._json("show", "-json", str(out))

    def apply(self, plan: Path) -> None:
        """Do what a plan says."""
        self._run("apply", "-input=false", str(plan))

    def outputs(self) -> Mapping[str, Any]:
        """Outputs by name; none before the first apply."""
        return {name: one["value"] for name, one in self._json("output", "-json").items()}

    def _json(self, *arguments: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = json.loads(self._run(*arguments, quiet=True))
        return found

    def _run(self, *arguments: str, quiet: bool = False) -> str:
        """Run Terraform: shown as it goes, or quietly for its output."""
        ended = subprocess.run(
            ["terraform", f"-chdir={FOLDER}", *arguments],
            stdout=subprocess.PIPE if quiet else None,
            stderr=subprocess.PIPE if quiet else None,
            text=True,
            env={**os.environ, "TF_IN_AUTOMATION": "1"},
        )
        if ended.returncode:
            said = f": {(ended.stderr or ended.stdout).strip()}" if quiet else "; its message stands above"
            raise TerraformFailed(f"terraform {arguments[0]} ended with {ended.returncode}{said}")
        return ended.stdout or ""


def variables_of(environment: Environment) -> list[str]:
    """What Terraform takes from an environment's settings, `name=value` each."""
    return [f"pod_max_requests_per_minute={environment.serve.scaling.max_requests_per_minute:g}"]


def told(variables: Path | None, changes: Sequence[str], name: str) -> str:
    """A plain text variable as Terraform will see it: of the changes, else of the file, else its default.

    Needed before Terraform can be asked: the state's bucket bears the name and lies in the region.
    """
    for change in reversed(changes):
        if change.startswith(f"{name}="):
            return change.partition("=")[2]
    if variables is not None:
        try:
            text = variables.read_text(encoding="utf-8")
        except OSError as error:
            raise TerraformFailed(f"{variables}: {error.strerror}") from error
        if variables.suffix == ".json":
            return str(json.loads(text).get(name, _DEFAULTS[name]))
        if found := re.search(rf'^\s*{name}\s*=\s*"([^"]*)"', text, re.MULTILINE):
            return found[1]
    return _DEFAULTS[name]
