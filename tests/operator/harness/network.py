"""Network of the pods: a bridge, and for each pod a network namespace that a process holds."""

from __future__ import annotations

import itertools
import subprocess
import threading

GATEWAY = "10.231.0.1"
_BRIDGE = "pods0"
_LENGTH = 16
_FIRST = 10
_PER_BLOCK = 250


class Addresses:
    """Allocator of pod addresses; none is assigned twice."""

    def __init__(self) -> None:
        self._numbers = itertools.count(_FIRST)
        self._lock = threading.Lock()

    def take(self) -> tuple[int, str]:
        """Return a number, which names the pod's link, and an address."""
        with self._lock:
            number = next(self._numbers)
        return number, f"10.231.{number // _PER_BLOCK}.{number % _PER_BLOCK + 2}"


def create_bridge() -> None:
    """Create the bridge with the address at which pods reach the API server."""
    ip("link set lo up")
    ip(f"link add {_BRIDGE} type bridge")
    ip(f"addr add {GATEWAY}/{_LENGTH} dev {_BRIDGE}")
    ip(f"link set {_BRIDGE} up")


def connect(holder: int, number: int, address: str) -> None:
    """Connect a network namespace to the bridge.

    Args:
        holder: process id of a process in the namespace.
        number: number of the pod.
        address: address of the pod.
    """
    link = f"pod{number}"
    ip(f"link add {link} type veth peer name eth0 netns {holder}")
    ip(f"link set {link} master {_BRIDGE} up")
    inside = ["nsenter", f"--target={holder}", "--net", "ip"]
    for command in (
        f"addr add {address}/{_LENGTH} dev eth0",
        "link set eth0 up",
        "link set lo up",
        f"route add default via {GATEWAY}",
    ):
        _run([*inside, *command.split()])


def ip(command: str) -> None:
    """Run `ip COMMAND`.

    Raises:
        RuntimeError: the command failed.
    """
    _run(["ip", *command.split()])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
