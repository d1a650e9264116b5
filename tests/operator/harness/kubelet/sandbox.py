"""Sandbox of a pod: a process that holds its network, and the commands that run in it."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.operator.harness import network


@dataclass(frozen=True)
class Mount:
    """Folder or file of this machine that is mounted at another path in the container."""

    source: Path
    path: str
    read_only: bool = False


class Sandbox:
    """Namespaces that a pod's containers share.

    Args:
        number: number of the pod's link.
        address: address of the pod.
        hostname: host name of the pod.
    """

    def __init__(self, number: int, address: str, hostname: str) -> None:
        script = f"hostname {shlex.quote(hostname[:63])}; echo; exec sleep infinity"
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--uts", "--kill-child", "sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._holder.stdout is not None
        self._holder.stdout.readline()  # the namespaces exist from here on
        network.connect(self._holder.pid, number, address)

    def start(self, script: Path, variables: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
        """Run a script as the first process of its own mount and process namespaces."""
        with log.open("ab") as output:
            return subprocess.Popen(
                [
                    "nsenter", f"--target={self._holder.pid}", "--net", "--uts",
                    "unshare", "--mount", "--pid", "--fork", "--kill-child", "/bin/sh", str(script),
                ],
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    def end(self) -> None:
        """End the holder; the network is removed with its last process."""
        self._holder.kill()
        self._holder.wait()


def root_script(
    folder: Path,
    *,
    layers: Sequence[Path],
    hidden: Path,
    mounts: Sequence[Mount],
    read_only: bool,
    working_folder: str,
    command: Sequence[str],
) -> str:
    """Return a shell script that builds a root file system for a container and runs its command there.

    Args:
        folder: folder of the container, which receives what it writes outside its mounts.
        layers: folders over this machine's root file system, the uppermost first.
        hidden: a folder of this machine that the container does not see.
        mounts: mounts, in this order.
        read_only: whether only mounts are writable.
        working_folder: working folder of the command.
        command: program and arguments.
    """
    upper, work, root = (folder / name for name in ("upper", "work", "root"))
    quoted = shlex.quote
    lower = ":".join(str(layer) for layer in (*layers, "/"))
    lines = [
        "set -e",
        "mount --make-rprivate /",
        f"mkdir -p {upper} {work} {root}",
        f"mount -t overlay overlay -o lowerdir={lower},upperdir={upper},workdir={work} {root}",
        f"cd {root}",
        "mount --rbind /dev dev",
        "mount --rbind /sys sys",
        "mount -t proc proc proc",
        f"mkdir -p .{quoted(str(hidden))} && mount -t tmpfs tmpfs .{quoted(str(hidden))}",
    ]
    for mount in mounts:
        # Resolved as in the container: an absolute link such as /var/run would leave its root here.
        source, target = quoted(str(mount.source)), quoted(f".{Path(mount.path).resolve()}")
        make = "mkdir -p" if mount.source.is_dir() else "install -D /dev/null"
        lines.append(f"[ -e {target} ] || {make} {target}; mount --rbind {source} {target}")
        if mount.read_only:
            lines.append(f"mount -o remount,bind,ro {target}")
    lines.append(f"mkdir -p .{quoted(working_folder)}")
    if read_only:
        lines.append(f"mount -o remount,ro {root}")
    inner = f"cd {quoted(working_folder)} && exec " + " ".join(map(quoted, command))
    lines.append(f"exec chroot . /bin/sh -c {quoted(inner)}")
    return "\n".join(lines) + "\n"
