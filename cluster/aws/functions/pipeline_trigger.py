"""Lambda function that starts a pipeline for an event, with a token so that it is started once.

    the alarm on drift_verdict is in ALARM   RETRAIN_PIPELINE: train on recent traffic, gate, canary
    a version is registered                  RELEASE_PIPELINE with the variable VERSION: gate, canary
    the promotion is rejected                ABORT_PROJECT, a CodeBuild project: aborts the canary

Versions of the pipelines themselves (with names that begin with OWN_VERSIONS, "run-") start nothing, because
every run would start another one. A variable that is not set disables its action. Environment: these
variables, MARKS_BUCKET, MARKS_PREFIX ("marks").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from cluster.aws.functions.idempotency import IdempotencyMarks, token_of
from cluster.aws.functions.runtime import Event, EventError, LambdaContext, client, log, setting

_OWN_VERSIONS = "run-"


@dataclass(frozen=True, slots=True)
class Start:
    """Action of an event.

    Attributes:
        kind: Type of the resource to start.
        name: Name of the pipeline or project; empty if it is not configured.
        token: Idempotency token, the same for every delivery of the event.
        reason: Reason, for the log.
        variables: Variables of the pipeline, or environment of the project.
    """

    kind: Literal["pipeline", "project"]
    name: str
    token: str
    reason: str
    variables: Mapping[str, str] = field(default_factory=dict)


def handler(event: Event, context: LambdaContext) -> dict[str, Any]:
    """Start the action of the event, once."""
    start = wanted(event)
    if start is None or not start.name:
        log("nothing to start", context, event=event, asked=start and asdict(start))
        return {"started": None}
    once = IdempotencyMarks(setting("MARKS_BUCKET"), setting("MARKS_PREFIX", "marks"), context)
    new = once.repeat_safely(start.token, lambda: _start(start, context))
    log("started" if new else "started before", context, **asdict(start))
    return {"started": start.name if new else None}


def wanted(event: Event) -> Start | None:
    """Return the action of an event, or None.

    Raises:
        EventError: The event matches no rule of this project.
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
                f"the promotion of {pipeline} {execution} was rejected",
                {"ROLLOUT_VERB": "abort"},
            )
    raise EventError(f"the event matches no rule of this project: {dict(event)}")


def _of_version(bucket: str, key: str) -> Start | None:
    """Return the action for a registered version's record, `…/versions/NAME/VERSION` (docs/training.md)."""
    folder, name, version = ("", "", *key.split("/"))[-3:]
    if folder != "versions" or version.startswith(setting("OWN_VERSIONS", _OWN_VERSIONS)):
        return None
    # The record of a version never changes, so the key identifies the version.
    return Start(
        "pipeline",
        setting("RELEASE_PIPELINE", ""),
        token_of("version", bucket, key),
        f"{name}/{version} was registered",
        {"MODEL": name, "VERSION": version},
    )


def _start(start: Start, context: LambdaContext) -> None:
    variables = [{"name": name, "value": value} for name, value in start.variables.items()]
    if start.kind == "pipeline":
        given = {"variables": variables} if variables else {}  # CodePipeline rejects an empty list
        client("codepipeline", context).start_pipeline_execution(
            name=start.name, clientRequestToken=start.token, **given
        )
        return
    client("codebuild", context).start_build(
        projectName=start.name,
        idempotencyToken=start.token,
        environmentVariablesOverride=[{**variable, "type": "PLAINTEXT"} for variable in variables],
    )
