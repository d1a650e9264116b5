"""Configuration of the autoscaling policy: the Serve config's `policy_kwargs`, or `[serve.scaling]`."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class PolicyConfig(BaseModel):
    """Target load of a pod, and limits on the changes of the number of pods."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests_per_minute: Annotated[
        float,
        Field(
            gt=0,
            description="Requests per minute per pod of the SLO, which is the target even if a pod can serve "
            "more. Raise it after `python -m loadtest slo --per-minute` has shown that a pod meets its "
            "latency there.",
        ),
    ] = 600.0
    capacity_fraction: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="Target fraction of a pod's measured capacity in tokens per second. The closer to 1, "
            "the longer the queue.",
        ),
    ] = 0.7
    wait_s: Annotated[
        float,
        Field(ge=0, description="Mean expected wait in a pod's queue, in s, up to which no pods are added."),
    ] = 0.05
    drain_s: Annotated[
        float,
        Field(gt=0, description="Time in s within which added pods should reduce a longer queue to wait_s."),
    ] = 10.0
    tolerance: Annotated[
        float,
        Field(
            ge=0, lt=1, description="Relative deviation of the load from the pods' target without a change."
        ),
    ] = 0.1
    up_window_s: Annotated[
        float,
        Field(
            ge=0,
            description="Window in s; pods are added up to its lowest recommendation, so that a burst adds "
            "none.",
        ),
    ] = 15.0
    down_window_s: Annotated[
        float,
        Field(
            ge=0,
            description="Window in s; pods are removed down to its highest recommendation. Long, because a "
            "new GPU node takes minutes.",
        ),
    ] = 600.0
    up_step_fraction: Annotated[
        float, Field(gt=0, description="Maximum fraction of the pods added per change, at least one pod.")
    ] = 1.0
    down_step_fraction: Annotated[
        float,
        Field(gt=0, le=1, description="Maximum fraction of the pods removed per change, at least one pod."),
    ] = 0.5
    step_s: Annotated[float, Field(ge=0, description="Minimum time between changes, in s.")] = 15.0

    @property
    def max_requests_per_minute(self) -> float:
        """Requests per minute per pod above which pods are added: the threshold of the `rate` alarm."""
        return self.requests_per_minute * (1 + self.tolerance)
