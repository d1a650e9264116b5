"""The Ray cluster that a verb runs on: the one at RAY_ADDRESS, or one of its own on this machine."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

_DASHBOARD_PORT = 8265


def start_ray(cpus: int) -> None:
    """Join the cluster at RAY_ADDRESS, or start one with so many CPUs; a second call does nothing."""
    import ray

    # The workers' lines reach the terminal through Ray's log already; the patch would print each twice.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
    if ray.is_initialized():
        return
    if address := os.environ.get("RAY_ADDRESS"):
        ray.init(address)
        return
    port = _free_port(_DASHBOARD_PORT)
    # Ray Train removes a run whose controller it does not find in the cluster that this address names; by
    # default that is the last one started on the machine, which may be another.
    os.environ["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{port}"
    # A worker's report waits for the controller's next look, by default up to two seconds each.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    # Without "local" Ray would join whatever cluster it finds on the machine, such as a serving one.
    ray.init(
        "local",
        num_cpus=cpus,
        include_dashboard=True,
        dashboard_port=port,
    )


@contextmanager
def ray_for_a_while() -> Iterator[None]:
    """Have what the block starts of Ray end with it; a cluster that was joined before stays joined.

    What Ray sets in the environment, such as RAY_AUTH_MODE, is not the user's wish for what is started later.
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
    """Have Ray Data keep its progress, its advice and its tracebacks to itself; what fails is raised."""
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)


def _free_port(wanted: int) -> int:
    """That port of this machine if it is free, else any that is."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise AssertionError("a system gives some port for 0, or raises")
