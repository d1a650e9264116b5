"""`serveConfigV2`: the local configuration, serve_app/config.yaml, with what an environment adds to it."""

from typing import Any

import yaml

from cluster.kuberay.settings import Environment
from serve_app.local import CONFIG


def serve_config(environment: Environment) -> dict[str, Any]:
    """The configuration as a tree: the same application as on a laptop, on pods by demand.

    The model is the deployment's `user_config`, which Serve changes without restarting anything: it is the
    one value that a rollout edits.
    """
    serve = environment.serve
    config: dict[str, Any] = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    (application,) = config["applications"]
    (deployment,) = application["deployments"]
    deployment |= {
        "user_config": {"champion": {"model": serve.model}},
        "autoscaling_config": {
            "min_replicas": serve.min_pods,
            "max_replicas": serve.max_pods,
            "target_ongoing_requests": serve.target_ongoing_requests,
            "upscale_delay_s": serve.upscale_delay_s,
            "downscale_delay_s": serve.downscale_delay_s,
        },
    }
    return config
