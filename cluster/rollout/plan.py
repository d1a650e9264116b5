"""Plan of a rollout: its stages, how long each is observed, and the tolerances of a canary."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cluster.rollout.errors import RolloutPlanError

Share = Annotated[float, Field(ge=0, lt=1)]


class _PlanModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PlannedStage(_PlanModel):
    """Stage of a rollout: how many pods the canary gets."""

    pods: Annotated[int, Field(ge=1)] | Literal["half"] = Field(description="Number of pods with the canary.")
    shadow: bool = Field(
        default=False,
        description="Whether these pods answer with the champion and only score with the canary.",
    )


class Tolerances(_PlanModel):
    """Tolerances of a canary: with enough evidence that it exceeds one of them, it is rolled back."""

    error_share: Share = Field(default=0.005, description="Rise of the fraction of requests with status 5xx.")
    refused_share: Share = Field(
        default=0.05, description="Rise of the fraction of requests with status 429."
    )
    latency_factor: Annotated[float, Field(ge=1)] = Field(
        default=1.5, description="A request is slow above this multiple of the champion's p95."
    )
    latency_share: Share = Field(default=0.05, description="Rise of the fraction of slow requests.")
    label_share: Share = Field(default=0.10, description="Change of the fraction of texts with a label.")
    score_share: Share = Field(
        default=0.15,
        description="Change of the fraction of texts with a score of at least 0.6, 0.7, 0.8, 0.9.",
    )
    disagreement_share: Share = Field(
        default=0.15, description="Fraction of texts with another label than the champion's, in shadow."
    )
    error_limit: Share = Field(
        default=0.05, description="Fraction of requests with status 5xx, independently of the champion."
    )
    late_ms: Annotated[float, Field(gt=0)] = Field(
        default=5000, description="Duration in ms above which a request is late."
    )
    late_limit: Share = Field(default=0.1, description="Fraction of late requests.")
    wrong_share: Share = Field(default=0.02, description="Rise of the fraction of wrong texts by feedback.")


class RolloutPlan(_PlanModel):
    """Plan of a rollout. After the last stage, all pods switch to the canary."""

    stages: Annotated[tuple[PlannedStage, ...], Field(min_length=1)] = (
        PlannedStage(pods=1),
        PlannedStage(pods="half"),
    )
    window_s: Annotated[
        float, Field(gt=0, description="Interval between two readings of the metrics, in s.")
    ] = 15
    settle_s: Annotated[
        float, Field(ge=0, description="Time after a change of models that is not counted, in s.")
    ] = 15
    min_requests: Annotated[int, Field(ge=1)] = Field(
        default=500,
        description="Minimum number of answered requests of each version per stage (in shadow: of scored "
        "ones).",
    )
    min_windows: Annotated[
        int, Field(ge=2, description="Minimum number of windows with canary requests per stage.")
    ] = 3
    max_stage_s: Annotated[
        float, Field(gt=0, description="Maximum duration of a stage in s; an undecided one is rolled back.")
    ] = 1800
    apply_timeout_s: Annotated[
        float, Field(gt=0, description="Maximum time for the pods to load a model, in s.")
    ] = 900
    false_rollback_share: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        default=0.01, description="Maximum fraction of rollbacks if the canary is within all tolerances."
    )
    tolerances: Tolerances = Tolerances()


@dataclass(frozen=True, slots=True)
class CanaryPods:
    """Stage with its number of pods that serve the canary, or that score with it in shadow."""

    pods: int
    shadow: bool


def steps(plan: RolloutPlan, replicas: int) -> tuple[CanaryPods, ...]:
    """Return the stages in pods, without those that change nothing; at least one pod stays with the champion.

    Raises:
        RolloutPlanError: the deployment has fewer than two replicas.
    """
    if replicas < 2:
        raise RolloutPlanError(
            f"the deployment has {replicas} replica; expected 2 or more, for champion and canary; scale it "
            "to 2, or use --raise-to-two for the duration of the rollout"
        )
    pods: list[CanaryPods] = []
    for stage in plan.stages:
        planned = replicas // 2 if stage.pods == "half" else stage.pods
        step = CanaryPods(max(1, min(planned, replicas - 1)), stage.shadow)
        if step not in pods:
            pods.append(step)
    return tuple(pods)


def read_plan(path: Path | None) -> RolloutPlan:
    """Load the plan from a TOML file, or return the default plan.

    Raises:
        RolloutPlanError: the file does not exist, is not TOML, or has an invalid key or value.
    """
    if path is None:
        return RolloutPlan()
    try:
        return RolloutPlan.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise RolloutPlanError(f"{path} cannot be read: {error.strerror}; check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RolloutPlanError(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        raise RolloutPlanError(f"{path}: {_faults(error)}; docs/rollout.md lists every key") from error


def _faults(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
