"""Control plane: etcd, API server, controller manager and scheduler as processes of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml

from tests.operator.cluster import Cluster, wait_until
from tests.operator.harness import network
from tests.operator.harness.binaries import Binaries
from tests.operator.harness.certificates import Authority, Pair, token_key
from tests.operator.harness.kubelet.settings import KubeletSettings
from tests.operator.harness.operator_manifests import NAMESPACE, operator_manifests

ETCD = "http://127.0.0.1:2379"
PEERS = "http://127.0.0.1:2380"
API_PORT = 443
SERVICE_RANGE = "10.96.0.0/16"
_STARTED_S = 60
_OPERATOR_S = 120
_ISSUER = "https://kubernetes.default.svc"


class ControlPlane:
    """The suite's own cluster; its processes end with the namespaces that `isolation` created for them.

    Args:
        binaries: programs of the cluster.
        folder: folder of its state, certificates and logs.
        checkout: checkout whose code the pods run.
    """

    def __init__(self, binaries: Binaries, folder: Path, checkout: Path) -> None:
        self._binaries = binaries
        self._folder = folder
        self._checkout = checkout
        self._shared = folder / "shared"
        self._shared.mkdir()
        self._certificates = folder / "certificates"
        self._certificates.mkdir()
        (folder / "logs").mkdir()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._authority = Authority(self._certificates)
        self._admin = self._authority.client("admin", "system:masters")
        self.kubeconfig = self._write_kubeconfig("admin", self._admin)
        self.cluster = Cluster(self.kubeconfig, binaries.program("kubectl"), shared_folder=self._shared)

    def start(self) -> Cluster:
        """Start everything and wait until the operator is ready.

        Raises:
            AssertionError: a part ended, or was not ready in time; its log is in the folder `logs`.
        """
        network.create_bridge()
        self._start_control_plane()
        self._start_kubelet()
        self._install_operator()
        return self.cluster

    def end(self) -> None:
        """Kill every process; the kubelet's pods end with it."""
        for process in self._processes.values():
            process.kill()
            process.wait()

    def _write_kubeconfig(self, name: str, pair: Pair) -> Path:
        """Write a kubeconfig with a client certificate."""
        server = f"https://{network.GATEWAY}:{API_PORT}"
        certificate = str(self._authority.certificate)
        user = {"client-certificate": str(pair.certificate), "client-key": str(pair.key)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "own",
            "contexts": [{"name": "own", "context": {"cluster": "own", "user": name}}],
            "clusters": [
                {"name": "own", "cluster": {"server": server, "certificate-authority": certificate}}
            ],
            "users": [{"name": name, "user": user}],
        }
        path = self._folder / f"{name}.kubeconfig"
        path.write_text(yaml.safe_dump(content))
        return path

    def _start_control_plane(self) -> None:
        serving = self._authority.server(
            "kube-apiserver",
            ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"],
            [network.GATEWAY, "127.0.0.1", "10.96.0.1"],
        )
        front = self._authority.client("front-proxy")
        tokens, authority = token_key(self._certificates), self._authority.certificate
        self._run("etcd", {
            "data-dir": self._folder / "etcd",
            "listen-client-urls": ETCD, "advertise-client-urls": ETCD,
            "listen-peer-urls": PEERS, "initial-advertise-peer-urls": PEERS,
            "initial-cluster": f"default={PEERS}",
            "unsafe-no-fsync": "true",
        })  # fmt: skip
        self._run("kube-apiserver", {
            "etcd-servers": ETCD,
            "secure-port": API_PORT, "advertise-address": network.GATEWAY,
            "service-cluster-ip-range": SERVICE_RANGE,
            "authorization-mode": "RBAC", "allow-privileged": "true",
            # Nodes are ready when they are created: no taint that a node controller would have to remove.
            "disable-admission-plugins": "TaintNodesByCondition",
            "tls-cert-file": serving.certificate, "tls-private-key-file": serving.key,
            "client-ca-file": authority,
            "service-account-issuer": _ISSUER,
            "service-account-key-file": tokens, "service-account-signing-key-file": tokens,
            "kubelet-client-certificate": self._admin.certificate, "kubelet-client-key": self._admin.key,
            "proxy-client-cert-file": front.certificate, "proxy-client-key-file": front.key,
            "requestheader-client-ca-file": authority,
            "requestheader-allowed-names": "front-proxy",
            "requestheader-username-headers": "X-Remote-User",
            "requestheader-group-headers": "X-Remote-Group",
            "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        })  # fmt: skip
        wait_until(self._is_ready, _STARTED_S, "the API server is ready")
        # There are no controllers for absent parts: cloud, routes and the health of nodes.
        absent = (
            "cloud-node-lifecycle-controller",
            "node-ipam-controller",
            "node-lifecycle-controller",
            "node-route-controller",
            "service-lb-controller",
            "taint-eviction-controller",
        )
        self._run("kube-controller-manager", {
            "kubeconfig": self.kubeconfig, "leader-elect": "false",
            "controllers": ",".join(["*", *(f"-{name}" for name in absent)]),
            "service-account-private-key-file": tokens, "root-ca-file": authority,
        })  # fmt: skip
        self._run("kube-scheduler", {"kubeconfig": self.kubeconfig, "leader-elect": "false"})

    def _start_kubelet(self) -> None:
        serving = self._authority.server("kubelet", [], [network.GATEWAY])
        settings = KubeletSettings(
            kubeconfig=self.kubeconfig,
            folder=self._folder / "pods",
            checkout=self._checkout,
            programs=(
                Path(sys.prefix).resolve(),
                Path(sys.base_prefix).resolve(),
                self._binaries.folder,
                self._shared,
            ),
            api_host=network.GATEWAY,
            api_port=API_PORT,
            certificate=serving.certificate,
            key=serving.key,
        )
        path = settings.write(self._folder / "kubelet.json")
        self._popen("kubelet", [sys.executable, "-m", "tests.operator.harness.kubelet", str(path)])

    def _install_operator(self) -> None:
        kubectl = self.cluster.kubectl
        rendered = kubectl("kustomize", str(self._binaries.operator_manifests))
        manifests = operator_manifests(rendered, self._binaries.program("kuberay-operator"))
        kubectl("create", "namespace", NAMESPACE)
        # The CRDs are large: on a busy machine the first requests can take longer than the server permits.
        self._until_applied(manifests)
        for folder in self._binaries.crds:
            kubectl("apply", "--server-side", "--filename", str(folder))
        kubectl(
            f"--namespace={NAMESPACE}", "rollout", "status", "deployment/kuberay-operator",
            f"--timeout={_OPERATOR_S}s",
        )  # fmt: skip

    def _until_applied(self, manifests: str) -> None:
        def is_applied() -> bool:
            try:
                self.cluster.kubectl("apply", "--server-side", "--filename=-", input=manifests)
            except AssertionError as error:
                if "Timeout" not in str(error):
                    raise
                return False
            return True

        wait_until(is_applied, _OPERATOR_S, "the operator's manifests are applied")

    def _is_ready(self) -> bool:
        for name, process in self._processes.items():
            assert process.poll() is None, f"{name} ended with {process.returncode}: {self._log(name)}"
        try:
            return self.cluster.kubectl("get", "--raw", "/readyz") == "ok"
        except AssertionError:
            return False

    def _run(self, program: str, flags: dict[str, object]) -> None:
        arguments = [f"--{name}={value}" for name, value in flags.items()]
        self._popen(program, [self._binaries.program(program), *arguments])

    def _popen(self, name: str, command: list[str]) -> None:
        # It has its own session: only the tests receive Ctrl-C, and then delete the objects that they
        # created.
        with (self._folder / "logs" / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._checkout,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )

    def _log(self, name: str) -> str:
        return (self._folder / "logs" / f"{name}.log").read_text()[-2000:]
