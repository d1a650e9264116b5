"""What the policy aims at: `policy_kwargs` of the serve config, `[serve.scaling]` of an environment."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Aims(BaseModel):
    """What a pod is counted on for, and how fast the number of pods may follow."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests_per_minute: Annotated[
        float,
        Field(
            gt=0,
            description="The promise: what a pod is counted on for, even if it measures more. Raise it after "
            "`python -m loadtest slo --per-minute` has shown that a pod keeps its latency there.",
        ),
    ] = 600.0
    capacity_fraction: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="Of a pod's measured tokens a second, what it is counted on for. The nearer to 1, "
            "the longer the queue.",
        ),
    ] = 0.7
    wait_s: Annotated[
        float, Field(ge=0, description="Mean expected wait in a pod's queue that asks for no more pods.")
    ] = 0.05
    drain_s: Annotated[
        float, Field(gt=0, description="Pods are added so that a longer queue is worked off in this time.")
    ] = 10.0
    tolerance: Annotated[
        float, Field(ge=0, lt=1, description="Load over or under what pods carry that changes nothing.")
    ] = 0.1
    up_window_s: Annotated[
        float, Field(ge=0, description="Pods are added to the lowest need of this time: a burst adds none.")
    ] = 15.0
    down_window_s: Annotated[
        float,
        Field(
            ge=0,
            description="Pods are taken away down to the highest need of this time. Long: a GPU node takes "
            "minutes to come back.",
        ),
    ] = 600.0
    up_step_fraction: Annotated[
        float, Field(gt=0, description="Of the pods, how many may be added at a time, one at least.")
    ] = 1.0
    down_step_fraction: Annotated[
        float, Field(gt=0, le=1, description="Of the pods, how many may go at a time, one at least.")
    ] = 0.5
    step_s: Annotated[float, Field(ge=0, description="Seconds from one change to the next.")] = 15.0

    @property
    def max_requests_per_minute(self) -> float:
        """Requests a minute a pod above which pods are added: the threshold of the `rate` alarm."""
        return self.requests_per_minute * (1 + self.tolerance)
