"""Settings of the kubelet, and the nodes that it represents."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GPU = "nvidia.com/gpu"
LOG_PORT = 10250
MAX_PODS = 110


@dataclass(frozen=True)
class KubeletSettings:
    """Settings of one run.

    Attributes:
        kubeconfig: kubeconfig for the API server.
        folder: folder of the pods' files: roots, volumes, logs.
        checkout: checkout whose code is in the images; pods see it only there.
        programs: folders that every pod sees at their own paths: Python's, the control plane's programs, and
            one to share files.
        api_host: address at which pods reach the API server.
        api_port: port at which pods reach the API server.
        certificate: certificate of the server for logs, PEM.
        key: key of that server, PEM.
    """

    kubeconfig: Path
    folder: Path
    checkout: Path
    programs: tuple[Path, ...]
    api_host: str
    api_port: int
    certificate: Path
    key: Path

    def write(self, path: Path) -> Path:
        """Write the settings for `read_settings`."""
        path.write_text(json.dumps(dataclasses.asdict(self), default=str))
        return path


def read_settings(path: Path) -> KubeletSettings:
    """Read the settings that `KubeletSettings.write` wrote."""
    values: dict[str, Any] = json.loads(path.read_text())
    for name in ("kubeconfig", "folder", "checkout", "certificate", "key"):
        values[name] = Path(values[name])
    values["programs"] = tuple(Path(one) for one in values["programs"])
    return KubeletSettings(**values)


@dataclass(frozen=True)
class NodeSettings:
    """Node that consists only of numbers and labels, so it may have GPUs.

    Attributes:
        name: name of the node.
        instance_type: EC2 instance type, for its label.
        zone: zone, for its label.
        capacity: capacity by resource, all of it allocatable.
    """

    name: str
    instance_type: str
    zone: str
    capacity: dict[str, str]

    @property
    def taints(self) -> list[dict[str, str]]:
        """Return the taints: nodes with GPUs are reserved for pods that request one."""
        return [{"key": GPU, "effect": "NoSchedule"}] if GPU in self.capacity else []

    @property
    def labels(self) -> dict[str, str]:
        """Return the labels that AWS and Karpenter would set."""
        found = {
            "kubernetes.io/hostname": self.name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "node.kubernetes.io/instance-type": self.instance_type,
            "topology.kubernetes.io/zone": self.zone,
        }
        if GPU in self.capacity:
            found |= {"karpenter.sh/nodepool": "sentiment-gpu", "karpenter.sh/capacity-type": "spot"}
        return found


NODES = (
    NodeSettings("core-1", "m6i.xlarge", "us-east-1a", {"cpu": "3920m", "memory": "14Gi"}),
    NodeSettings("core-2", "m6i.xlarge", "us-east-1b", {"cpu": "3920m", "memory": "14Gi"}),
    NodeSettings(
        "gpu-12xl-1", "g5.12xlarge", "us-east-1a", {"cpu": "47810m", "memory": "173400Mi", GPU: "4"}
    ),
    NodeSettings("gpu-4xl-1", "g5.4xlarge", "us-east-1b", {"cpu": "15890m", "memory": "57691Mi", GPU: "1"}),
)
"""Two nodes for heads and CPU pods, and one of each GPU type, with the sizes that EKS leaves to pods."""
