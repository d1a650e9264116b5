"""The pipeline trigger: which pipeline an event starts, with a token by which it is started once.

    drift_verdict's alarm goes into ALARM   RETRAIN_PIPELINE: train on what has come in, gate, canary
    a version is registered                 RELEASE_PIPELINE with the variable VERSION: gate, canary
    the promotion is not approved           ABORT_PROJECT, a CodeBuild project: takes the canary back

A pipeline's own versions (their names begin with OWN_VERSIONS, "run-") start nothing, or every run would
start the next. What is not set is not started. Environment: these, MARKS_BUCKET, MARKS_PREFIX ("marks").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from cluster.aws.functions.once import Once, token_of
from cluster.aws.functions.runtime import Context, Event, EventInvalid, client, log, setting

_OWN_VERSIONS = "run-"


@dataclass(frozen=True, slots=True)
class Start:
    """What an event starts.

    Attributes:
        kind: what is started.
        name: of the pipeline or project; empty if it is not set.
        token: the same for every delivery of the event.
        reason: in words, for the log.
        variables: of the pipeline, or environment of the project.
    """

    kind: Literal["pipeline", "project"]
    name: str
    token: str
    reason: str
    variables: Mapping[str, str] = field(default_factory=dict)


def handler(event: Event, context: Context) -> dict[str, Any]:
    """Start what the event asks for, once."""
    start = wanted(event)
    if start is None or not start.name:
        log("nothing to start", context, event=event, asked=start and asdict(start))
        return {"started": None}
    once = Once(setting("MARKS_BUCKET"), setting("MARKS_PREFIX", "marks"), context)
    new = once.repeat_safely(start.token, lambda: _start(start, context))
    log("started" if new else "started before", context, **asdict(start))
    return {"started": start.name if new else None}


def wanted(event: Event) -> Start | None:
    """What an event starts; None if nothing.

    Raises:
        EventInvalid: no rule of this project sends such an event.
    """
    match event:
        case {
            "source": "aws.cloudwatch",
            "resources": [str(alarm), *_],
            "detail": {"state": {"value": str(state), "timestamp": str(since), **why}},
        }:
            before = event["detail"].get("previousState", {}).get("value")
            if state != "ALARM" or before == "ALARM":
                return None
            token = token_of("alarm", alarm, since)
            return Start("pipeline", setting("RETRAIN_PIPELINE", ""), token, str(why.get("reason", "")))
        case {
            "source": "aws.s3",
            "detail": {"bucket": {"name": str(bucket)}, "object": {"key": str(key)}},
        }:
            return _of_version(bucket, key)
        case {
            "source": "aws.codepipeline",
            "detail": {
                "pipeline": str(pipeline),
                "execution-id": str(execution),
                "state": str(state),
            },
        }:
            if state != "FAILED" or event["detail"].get("type", {}).get("category") != "Approval":
                return None
            return Start(
                "project",
                setting("ABORT_PROJECT", ""),
                token_of("rejected", pipeline, execution),
                f"the promotion of {pipeline} {execution} was not approved",
                {"ROLLOUT_VERB": "abort"},
            )
    raise EventInvalid(f"no rule of this project sends such an event: {dict(event)}")


def _of_version(bucket: str, key: str) -> Start | None:
    """A registered version's record is the object `…/versions/NAME/VERSION` (docs/training.md)."""
    folder, name, version = ("", "", *key.split("/"))[-3:]
    if folder != "versions" or version.startswith(setting("OWN_VERSIONS", _OWN_VERSIONS)):
        return None
    # The record of a version never changes; the same key is the same version.
    return Start(
        "pipeline",
        setting("RELEASE_PIPELINE", ""),
        token_of("version", bucket, key),
        f"{name}/{version} was registered",
        {"MODEL": name, "VERSION": version},
    )


def _start(start: Start, context: Context) -> None:
    variables = [{"name": name, "value": value} for name, value in start.variables.items()]
    if start.kind == "pipeline":
        given = {"variables": variables} if variables else {}  # an empty list is refused
        client("codepipeline", context).start_pipeline_execution(
            name=start.name, clientRequestToken=start.token, **given
        )
        return
    client("codebuild", context).start_build(
        projectName=start.name,
        idempotencyToken=start.token,
        environmentVariablesOverride=[{**variable, "type": "PLAINTEXT"} for variable in variables],
    )
