"""Requirements of the suite's own cluster on this machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

GO = (1, 26)
_PROGRAMS = {
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "mount": "mount",
}
_MOUNTS = (
    "mount -t tmpfs tmpfs /mnt && mkdir /mnt/u /mnt/w /mnt/r && "
    "mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w /mnt/r && ip link add type bridge"
)


def missing_requirement() -> str | None:
    """Return the first missing requirement with its remedy; None if the cluster can run."""
    version = _go_version()
    if version is None:
        return f"Go {GO[0]}.{GO[1]} or later is not on the PATH; it builds the API server and the operator"
    if version < GO:
        return f"Go {version[0]}.{version[1]} was found, {GO[0]}.{GO[1]} or later is needed"
    if os.geteuid() != 0:
        return "network namespaces need root; set KUBECONFIG to use a cluster that runs already"
    for program, package in _PROGRAMS.items():
        if shutil.which(program) is None:
            return f"{program} is missing; install the package {package}"
    done = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", _MOUNTS],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        return f"this kernel refuses namespaces, overlays or bridges here: {done.stderr.strip()}"
    return None


def _go_version() -> tuple[int, int] | None:
    if shutil.which("go") is None:
        return None
    # Version of the Go on this machine, regardless of the toolchain that a go.mod would select.
    done = subprocess.run(["go", "version"], cwd=Path("/"), capture_output=True, text=True)
    match = re.search(r"go(\d+)\.(\d+)", done.stdout)
    return (int(match[1]), int(match[2])) if match else None
