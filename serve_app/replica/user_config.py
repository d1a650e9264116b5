"""Assignment of a model to a replica, from Serve's user_config and the replica's rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Role = Literal["champion", "canary", "shadow"]


class ModelSpec(BaseModel):
    """A model to serve."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(min_length=1, description="URI: builtin:, a folder, file://, s3:// or hf:<id>.")


class CanarySpec(ModelSpec):
    """Canary model and the number of its replicas."""

    replicas: int = Field(default=1, ge=1, description="Number of canary replicas: ranks 0 to replicas - 1.")
    shadow: bool = Field(
        default=False,
        description="Canary replicas answer with the champion and score the same texts with the canary.",
    )


class UserConfig(BaseModel):
    """Serve's user_config for this deployment; `"champion": "URI"` is short for `{"model": "URI"}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    champion: Annotated[ModelSpec, BeforeValidator(lambda given: _spelt_out(given))]
    canary: CanarySpec | None = None
    fence: int = Field(
        default=0,
        ge=0,
        description="Number of the rollout change that wrote this configuration; not used by replicas.",
    )


@dataclass(frozen=True, slots=True)
class ReplicaAssignment:
    """Models and role that are assigned to one replica.

    Attributes:
        model: URI of the model that answers.
        role: Role of the replica.
        shadow: URI of the shadow model, or None.
        champion: URI of the deployment's champion.
        canary: URI of the deployment's canary, or None.
        rank: Rank of the replica within its deployment.
    """

    model: str
    role: Role
    shadow: str | None
    champion: str
    canary: str | None
    rank: int


def assign(config: UserConfig, rank: int) -> ReplicaAssignment:
    """Return the assignment of the replica with this rank.

    The lowest ranks serve the canary. Serve keeps ranks contiguous from 0, so these ranks exist for any
    number of replicas, and it assigns the lowest free rank to a new replica. On a node it stops the newest
    replicas first, which have the highest ranks: scaling down rarely stops a canary replica, and when it
    does, Serve assigns its rank to another replica, which then serves the canary.
    """
    champion, canary = config.champion.model, config.canary
    uri = canary.model if canary else None
    if canary is None or rank >= canary.replicas:
        return ReplicaAssignment(champion, "champion", None, champion, uri, rank)
    if canary.shadow:
        return ReplicaAssignment(champion, "shadow", canary.model, champion, uri, rank)
    return ReplicaAssignment(canary.model, "canary", None, champion, uri, rank)


def _spelt_out(given: Any) -> Any:
    return {"model": given} if isinstance(given, str) else given
