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

    pods: Annotated[int, Field(ge=1)] | Literal["half"] = Field(description="Pods that serve the canary.")
    shadow: bool = Field(
        default=False, description="They answer with the champion and score the same texts with the canary."
    )


class Tolerances(_PlanModel):
    """Tolerances of a canary: with enough evidence that it exceeds one of them, it is rolled back."""

    error_share: Share = Field(default=0.005, description="More requests answered 5xx, as a share of all.")
    refused_share: Share = Field(default=0.05, description="More requests answered 429, as a share of all.")
    latency_factor: Annotated[float, Field(ge=1)] = Field(
        default=1.5, description="The champion's p95 times this is slow."
    )
    latency_share: Share = Field(default=0.05, description="More requests that are slow, as a share of all.")
    label_share: Share = Field(default=0.10, description="More or fewer texts of a label, as a share.")
    score_share: Share = Field(
        default=0.15, description="More or fewer texts whose label has a score of at least 0.6, .7, .8, .9."
    )
    disagreement_share: Share = Field(
        default=0.15, description="Texts whose label the canary changes, in shadow."
    )
    error_limit: Share = Field(
        default=0.05, description="Requests answered 5xx, as a share of all, whatever the champion does."
    )
    late_ms: Annotated[float, Field(gt=0)] = Field(
        default=5000, description="An answer after more ms is late, whatever the champion does."
    )
    late_limit: Share = Field(default=0.1, description="Requests that are late, as a share of all.")
    wrong_share: Share = Field(default=0.02, description="More texts that feedback calls wrong.")


class RolloutPlan(_PlanModel):
    """Plan of a rollout. After the last stage, all pods switch to the canary."""

    stages: Annotated[tuple[PlannedStage, ...], Field(min_length=1)] = (
        PlannedStage(pods=1),
        PlannedStage(pods="half"),
    )
    window_s: Annotated[float, Field(gt=0, description="Between two readings of the metrics, seconds.")] = 15
    settle_s: Annotated[
        float, Field(ge=0, description="After a change of models, not counted: caches and queues settle.")
    ] = 15
    min_requests: Annotated[int, Field(ge=1)] = Field(
        default=500,
        description="Answered, of the canary and of the champion, in a stage (in shadow: scored aside).",
    )
    min_windows: Annotated[int, Field(ge=2, description="In a stage, with requests to the canary.")] = 3
    max_stage_s: Annotated[
        float, Field(gt=0, description="A stage that is not decided by then is rolled back.")
    ] = 1800
    apply_timeout_s: Annotated[float, Field(gt=0, description="For the pods to load a model.")] = 900
    false_rollback_share: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        default=0.01, description="Of rollouts whose canary is within all tolerances, at most."
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
            f"the deployment has {replicas} replica: a canary on it has no champion beside it; scale it to "
            "two, or let the rollout do so for its time with --raise-to-two"
        )
    found: list[CanaryPods] = []
    for stage in plan.stages:
        wanted = replicas // 2 if stage.pods == "half" else stage.pods
        step = CanaryPods(max(1, min(wanted, replicas - 1)), stage.shadow)
        if step not in found:
            found.append(step)
    return tuple(found)


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
