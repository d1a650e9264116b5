"""Which model a replica serves: Serve's user_config, the replica's rank, and what follows from the two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Role = Literal["champion", "canary", "shadow"]


class ModelChoice(BaseModel):
    """A model to serve."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(min_length=1, description="Address: builtin:, a folder, file://, s3:// or hf:<id>.")


class CanaryChoice(ModelChoice):
    """A model under trial, and how far it is let in."""

    replicas: int = Field(default=1, ge=1, description="How many replicas are its own: ranks 0 to this - 1.")
    shadow: bool = Field(
        default=False,
        description="Those replicas answer with the champion and score the same texts with the canary.",
    )


class UserConfig(BaseModel):
    """Serve's user_config for this deployment; `"champion": "URI"` is short for `{"model": "URI"}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    champion: Annotated[ModelChoice, BeforeValidator(lambda given: _spelt_out(given))]
    canary: CanaryChoice | None = None
    fence: int = Field(
        default=0, ge=0, description="Number of the rollout's change that wrote this; replicas do not use it."
    )


@dataclass(frozen=True, slots=True)
class Placement:
    """What one replica is to do.

    Attributes:
        model: address of the model that answers.
        role: of this replica.
        shadow: address of the model that scores aside, or None.
        champion: address of the deployment's champion.
        canary: address of the deployment's canary, or None.
        rank: of this replica among the deployment's.
    """

    model: str
    role: Role
    shadow: str | None
    champion: str
    canary: str | None
    rank: int


def place(config: UserConfig, rank: int) -> Placement:
    """What the replica of a rank does.

    The canary's are the lowest ranks. Serve keeps ranks contiguous from 0, so those exist whatever the number
    of replicas, and it gives a new replica the lowest free one. On a node it stops the newest replicas first,
    and those have the highest ranks: scaling down rarely takes the canary's replica, and when it does, Serve
    gives its rank to another, which then becomes the canary's.
    """
    champion, canary = config.champion.model, config.canary
    uri = canary.model if canary else None
    if canary is None or rank >= canary.replicas:
        return Placement(champion, "champion", None, champion, uri, rank)
    if canary.shadow:
        return Placement(champion, "shadow", canary.model, champion, uri, rank)
    return Placement(canary.model, "canary", None, champion, uri, rank)


def _spelt_out(given: Any) -> Any:
    return {"model": given} if isinstance(given, str) else given
