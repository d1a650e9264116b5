"""Ray's autoscaler v2 on one machine: a head without CPUs, and real raylets as pods with a nominal GPU each.

It starts the same processes as `ray.cluster_utils.AutoscalingCluster`. That class reads a file that Ray's
wheel does not contain, and begins with `ray stop --force`, which ends every Ray on the machine.
"""

from pathlib import Path
from typing import Any

import yaml
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID, FAKE_HEAD_NODE_TYPE

from serve_app.dev_server.launcher import free_port

OBJECT_STORE_BYTES = 100_000_000
IDLE_MINUTES = 0.1
_NOTHING = (
    "cluster_synced_files",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "initialization_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)


def options(folder: Path, *, most_pods: int) -> list[str]:
    """Return the options of `ray start --head`."""
    port = free_port()
    pod = {"CPU": 1, "GPU": 1, "object_store_memory": OBJECT_STORE_BYTES}
    config: dict[str, Any] = {
        "cluster_name": "pods",
        "max_workers": most_pods,
        "idle_timeout_minutes": IDLE_MINUTES,
        "provider": {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "launch_multiple": True,
            "head_node_id": FAKE_HEAD_NODE_ID,
            "gcs_address": f"127.0.0.1:{port}",
        },
        "available_node_types": {
            FAKE_HEAD_NODE_TYPE: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "pod": {"resources": pod, "node_config": {}, "min_workers": 0, "max_workers": most_pods},
        },
        "head_node_type": FAKE_HEAD_NODE_TYPE,
        **{name: [] for name in _NOTHING},
        "auth": {},
        "file_mounts": {},
    }
    file = folder / "pods.yaml"
    file.write_text(yaml.safe_dump(config))
    return [f"--port={port}", f"--autoscaling-config={file}", f"--object-store-memory={OBJECT_STORE_BYTES}"]


ENVIRONMENT = {
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_FAKE_CLUSTER": "1",
    "RAY_enable_autoscaler_v2": "1",
    "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
}
