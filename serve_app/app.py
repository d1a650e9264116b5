"""Ray Serve application: `serve_app.app:app` is what `serve run`, `serve deploy` and serveConfigV2 import."""

from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.serve import Application

from serve_app.replica.replica_process import ReplicaProcess
from serve_app.settings import Settings

DEPLOYMENT = "classifier"
MAX_ONGOING_REQUESTS = 10_000
"""Effectively no limit by Serve, which would queue requests without a bound on their wait. The batcher's
queue is bounded in texts, tokens and time, and refuses with 429 and a computed Retry-After."""
_FAILED_STARTS = 4
"""Failed replica starts that fail a deployment that has never been healthy. With Serve's default of 20, every
replica of a large deployment is replaced before Serve gives up on a broken model, and each replacement
requests a GPU."""


class AppArgs(BaseModel):
    """Arguments of the application, as in `serve run serve_app.app:app model=file:///models/mine`."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = None


# No `from __future__ import annotations` in this file: Serve reads the type of `args` at run time.
def app(args: AppArgs) -> Application:
    """Build the application; arguments that are not given come from the settings."""
    settings = Settings()
    deployment = serve.deployment(
        serve.ingress()(ReplicaProcess),
        name=DEPLOYMENT,
        num_replicas=settings.replicas,
        max_ongoing_requests=MAX_ONGOING_REQUESTS,
        user_config={"champion": {"model": args.model or settings.model}},
        ray_actor_options={"num_cpus": settings.replica_cpus, "num_gpus": settings.replica_gpus},
        health_check_period_s=5,
        max_constructor_retry_count=_FAILED_STARTS,
    )
    return deployment.bind()
