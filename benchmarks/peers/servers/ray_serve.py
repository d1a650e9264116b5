"""Ray Serve behind HAProxy, as `make serve` starts it: `ray_serve.py PORT IMPORT_PATH`."""

import signal
import sys
from typing import Any

from serve_app.dev_server.launcher import Plan, free_port, serving


def main(port: int, import_path: str) -> None:
    """Serve the application until SIGTERM."""
    signal.signal(signal.SIGTERM, _stop)
    plan = Plan(port=port, dashboard_port=free_port(), import_path=import_path)
    with serving(plan, lambda line: print(line, flush=True)):
        signal.pause()


def _stop(*_: Any) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
