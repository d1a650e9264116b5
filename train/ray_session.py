"""Ray cluster of a command: the one at RAY_ADDRESS, or a temporary one on this machine."""

import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

_DASHBOARD_PORT = 8265


def start_ray(cpus: int) -> None:
    """Connect to the cluster at RAY_ADDRESS, or start one with `cpus` CPUs; a second call has no effect."""
    import ray

    # Ray's log already prints the workers' lines on the terminal; with the patch, each would appear twice.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
    if ray.is_initialized():
        return
    if address := os.environ.get("RAY_ADDRESS"):
        ray.init(address)
        return
    # A worker's report waits for the controller's next health check, by default up to two seconds.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    # Ray listens on the dashboard's port seconds after the port was chosen; a second command must not choose
    # it meanwhile.
    with FileLock(Path(tempfile.gettempdir()) / f"sentiment-start-ray-{os.getuid()}.lock"):
        port = _free_port(_DASHBOARD_PORT)
        # Ray Train removes a run whose controller is not in the cluster of this address; by default that is
        # the last cluster that was started on the machine, which may be another one.
        os.environ["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{port}"
        # Without "local", Ray would connect to any cluster on the machine, such as a serving one.
        ray.init("local", num_cpus=cpus, include_dashboard=True, dashboard_port=port)


@contextmanager
def ray_for_a_while() -> Iterator[None]:
    """Shut down Ray at the end of the block, except a cluster that was connected before.

    Environment variables that Ray sets, such as RAY_AUTH_MODE, are restored, because they are not the user's
    settings for later processes.
    """
    import ray

    there, before = ray.is_initialized(), _ray_variables()
    try:
        yield
    finally:
        if not there:
            ray.shutdown()
            for name in _ray_variables():
                del os.environ[name]
            os.environ.update(before)


def _ray_variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("RAY_")}


def quiet_data() -> None:
    """Disable the progress bars, hints and logged tracebacks of Ray Data; errors are still raised."""
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)


def _free_port(wanted: int) -> int:
    """Return the wanted port of this machine if it is free, else any free port."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise AssertionError("a system gives some port for 0, or raises")
