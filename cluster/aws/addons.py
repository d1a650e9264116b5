"""Add-ons of the EKS cluster: an ordered list of idempotent commands, from the versions in addons.toml."""

from __future__ import annotations

import shlex
import subprocess
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from cluster.errors import AddonError
from cluster.kuberay.manifests.render import to_yaml
from cluster.kuberay.settings import Environment, NodeSettings
from cluster.kuberay.validation.preflight import AddonVersion
from cluster.monitoring.agent import agent_documents
from cluster.monitoring.catalog import read_catalog

ADDONS = Path(__file__).with_name("addons.toml")
_CI_RBAC = Path(__file__).with_name("ci-rbac.yaml")
_APPLY = ("kubectl", "apply", "--server-side", "--force-conflicts", "-f")
_WAIT = "10m"


class Addon(BaseModel):
    """Helm chart with its CRDs.

    Attributes:
        version: Version of chart and CRDs.
        minimum: Earliest version that the preflight check accepts.
        namespace: Namespace of the release.
        chart: Name in the repository, or an oci:// address.
        repository: Address of the chart's repository; None for an oci:// address.
        crds: Addresses of the CRDs.
        values: Values of the chart, with placeholders for the cluster, its region and its VPC.
        only_for_ami: AMI family that needs the add-on; None for all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    minimum: str
    namespace: str
    chart: str
    repository: str | None = None
    crds: tuple[str, ...]
    values: tuple[str, ...]
    only_for_ami: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """Command of the installation.

    Attributes:
        title: What the command installs.
        command: Program and arguments.
        manifest: YAML for the command's standard input, or None.
        variable: Name of the placeholder that the command's output fills in later commands, or None.
    """

    title: str
    command: Sequence[str]
    manifest: str | None = None
    variable: str | None = None


def read_addons() -> Mapping[str, Addon]:
    """Return the add-ons by name, in the order of the installation."""
    tables = tomllib.loads(ADDONS.read_text(encoding="utf-8"))
    return {name: Addon.model_validate(table) for name, table in tables.items()}


def addon_versions() -> Mapping[str, AddonVersion]:
    """Return the versions for the preflight check."""
    return {name: AddonVersion(addon.version, addon.minimum) for name, addon in read_addons().items()}


def steps(environment: Environment, *, region: str) -> Sequence[Step]:
    """Return the commands in the order in which they have to run; each may run again.

    Args:
        environment: Environment of the service, with the section [nodes].
        region: AWS region of the cluster.

    Raises:
        AddonError: The environment has no [nodes], and thus no EKS cluster.
    """
    nodes = environment.nodes
    if nodes is None:
        raise AddonError(
            "the environment has no section [nodes], which names the EKS cluster; use --env prod"
        )
    return list(_steps(environment, nodes, region))


def run(installation: Iterable[Step]) -> None:
    """Run the commands; raises AddonError at the first one that fails."""
    known: dict[str, str] = {}
    for step in installation:
        print(f"==> {step.title}", flush=True)
        command = [_filled(part, known) for part in step.command]
        try:
            ended = subprocess.run(
                command,
                input=step.manifest,
                stdout=subprocess.PIPE if step.variable else None,
                text=True,
            )
        except FileNotFoundError as error:
            raise AddonError(f"{step.title}: {command[0]} is not on the PATH; install it") from error
        if ended.returncode:
            raise AddonError(
                f"{step.title}: `{shlex.join(command)}` ended with {ended.returncode}; resolve the cause "
                "above and run `python -m cluster aws addons` again"
            )
        if step.variable:
            known[step.variable] = ended.stdout.strip()


def as_script(installation: Iterable[Step]) -> str:
    """Return the commands as a shell script, without running them."""
    lines = ["set -eu"]
    for step in installation:
        lines.append(f"# {step.title}")
        # A placeholder becomes a variable of the shell, outside of the quotes.
        words = " ".join(shlex.quote(part).replace("{vpc}", "'\"$vpc\"'") for part in step.command)
        if step.variable:
            lines.append(f"{step.variable}=$({words})")
        elif step.manifest is not None:
            lines.append(f"{words} <<'YAML'\n{step.manifest.rstrip()}\nYAML")
        else:
            lines.append(words)
    return "\n".join(lines) + "\n"


def storage_class(name: str) -> dict[str, Any]:
    """Return an encrypted gp3 StorageClass, whose volumes are created in the zone of the pod's node."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": "ebs.csi.aws.com",
        "parameters": {"type": "gp3", "encrypted": "true"},
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": True,
        "reclaimPolicy": "Delete",
    }


def _steps(environment: Environment, nodes: NodeSettings, region: str) -> Iterator[Step]:
    cluster = ("--name", nodes.eks_cluster, "--region", region)
    yield Step("access to the cluster", ("aws", "eks", "update-kubeconfig", *cluster))
    vpc = ("--query", "cluster.resourcesVpcConfig.vpcId", "--output", "text")
    yield Step("VPC of the cluster", ("aws", "eks", "describe-cluster", *cluster, *vpc), variable="vpc")
    redis = environment.redis
    if redis and redis.storage_class:
        yield _applied("StorageClass", [storage_class(redis.storage_class)])
    names = {"cluster": nodes.eks_cluster, "region": region}
    for name, addon in read_addons().items():
        if addon.only_for_ami is None or nodes.ami.startswith(addon.only_for_ami):
            yield from _installed(name, addon, names)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": environment.namespace}}
    yield _applied("namespace of the service", [namespace])
    yield _applied("rights of the builds", _ci_rbac(environment))
    yield _applied("metrics agent", agent_documents(environment, read_catalog(), region=region))


def _ci_rbac(environment: Environment) -> list[dict[str, Any]]:
    """Return the rights of the builds for the names of an environment; the file has those of `prod`."""
    text = _CI_RBAC.read_text(encoding="utf-8")
    text = text.replace("namespace: sentiment\n", f"namespace: {environment.namespace}\n")
    for suffix in ("deployers", "training"):
        text = text.replace(f"sentiment-{suffix}", f"{environment.name}-{suffix}")
    return list(yaml.safe_load_all(text))


def _installed(name: str, addon: Addon, names: Mapping[str, str]) -> Iterator[Step]:
    for crd in addon.crds:
        url = _filled(crd, {"version": addon.version})
        yield Step(f"CRDs of {name}: {url.rpartition('/')[2]}", (*_APPLY, url))
    values = [part for value in addon.values for part in ("--set", _filled(value, names))]
    source = ("--repo", addon.repository) if addon.repository else ()
    yield Step(
        f"{name} {addon.version}",
        (
            *("helm", "upgrade", "--install", name, addon.chart, *source, "--version", addon.version),
            *("--namespace", addon.namespace, "--create-namespace", "--skip-crds"),
            *values,
            *("--wait", "--timeout", _WAIT),
        ),
    )


def _applied(title: str, documents: Sequence[Mapping[str, Any]]) -> Step:
    return Step(title, (*_APPLY, "-"), manifest=to_yaml([dict(document) for document in documents]))


def _filled(text: str, values: Mapping[str, str]) -> str:
    """Return the text with the known placeholders filled in."""
    for name, value in values.items():
        text = text.replace("{" + name + "}", value)
    return text
