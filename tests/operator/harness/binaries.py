"""Programs of the cluster, built once and cached outside the checkout."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.operator.harness import go_builds, operator_source

KUBERNETES = "1.36.2"
ETCD = "3.7.1"
KARPENTER = "1.14.0"
GATEWAY = "1.4.1"
_KUBERNETES_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")


@dataclass(frozen=True)
class Binaries:
    """Folder with every program and manifest of the control plane.

    Attributes:
        folder: folder of the programs.
    """

    folder: Path

    def program(self, name: str) -> str:
        """Return the path of a program."""
        return str(self.folder / name)

    @property
    def operator_manifests(self) -> Path:
        """Return the kustomization of the operator with its CRDs and roles."""
        return self.folder / "kuberay/config/default"

    @property
    def crds(self) -> tuple[Path, ...]:
        """Return the folders with additional CRDs: those of Karpenter and of the Gateway API."""
        return (self.folder / "crds/karpenter", self.folder / "crds/gateway")


def ensure_binaries(report: Callable[[str], None]) -> Binaries:
    """Build the programs that are not in the cache; the first build takes minutes.

    Args:
        report: called with one line for each part that is built.

    Raises:
        RuntimeError: a build failed.
        operator_source.SourceError: the operator's source is missing or is a different one.
    """
    versions = f"kubernetes-{KUBERNETES}_etcd-{ETCD}_kuberay-{operator_source.VERSION}"
    folder = _cache() / f"{versions}_karpenter-{KARPENTER}_gateway-{GATEWAY}"
    folder.mkdir(parents=True, exist_ok=True)
    parts: dict[str, Callable[[Path], None]] = {
        "kuberay": _operator,  # first, since its source is the only one that may be missing
        "crds": _crds,
        "etcd": _etcd,
        "kubernetes": _kubernetes,
    }
    for name, make in parts.items():
        if (folder / f".{name}").exists():
            continue
        report(f"building {name} (once; kept in {folder})")
        with tempfile.TemporaryDirectory(dir=folder) as made:
            make(Path(made))
            for entry in Path(made).iterdir():
                target = folder / entry.name
                if target.is_dir():
                    shutil.rmtree(target)
                entry.rename(target)
        (folder / f".{name}").touch()
    return Binaries(folder)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sentiment-operator-test"


def _etcd(out: Path) -> None:
    go_builds.build("go.etcd.io/etcd/server/v3", f"v{ETCD}", ["."], out)
    built = out / "server"
    if built.exists():  # the package has no folder of its own, so Go names the program after the module
        built.rename(out / "etcd")


def _kubernetes(out: Path) -> None:
    major, minor, patch = KUBERNETES.split(".")
    version = "k8s.io/component-base/version"
    flags = (
        f"-X {version}.gitVersion=v{KUBERNETES} -X {version}.gitMajor={major} -X {version}.gitMinor={minor}"
    )
    packages = [f"./cmd/{name}" for name in _KUBERNETES_PROGRAMS]
    go_builds.build(
        "k8s.io/kubernetes", f"v{KUBERNETES}", packages, out, nested=f"v0.{minor}.{patch}", ldflags=flags
    )


def _operator(out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = operator_source.unpack(Path(folder))
        go_builds.go(
            "build", "-trimpath", "-ldflags=-s -w", "-o", str(out / "kuberay-operator"), ".", folder=source
        )
        shutil.copytree(source / "config", out / "kuberay/config")


def _crds(out: Path) -> None:
    karpenter = go_builds.download("github.com/aws/karpenter-provider-aws", f"v{KARPENTER}")
    gateway = go_builds.download("sigs.k8s.io/gateway-api", f"v{GATEWAY}")
    for name, source in (
        ("karpenter", karpenter / "pkg/apis/crds"),
        ("gateway", gateway / "config/crd/standard"),
    ):
        (out / "crds" / name).mkdir(parents=True)
        for path in sorted(source.glob("*.yaml")):
            (out / "crds" / name / path.name).write_text(path.read_text())
