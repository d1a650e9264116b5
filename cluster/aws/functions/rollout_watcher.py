"""Lambda function that notifies users of rollouts and pipelines through SNS.

It handles two events: "Object Created" of an entry of a rollout's journal in S3 (`--journal s3://…`, one
object per entry, including every transition), and the end of a CodePipeline execution. Each notification is
sent at most once: if the response to a message is lost, the message is not sent again, and its mark stays.

Environment: TOPIC_ARN, SERVICE ("sentiment"), MARKS_BUCKET, MARKS_PREFIX ("marks").
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from cluster.aws.functions.idempotency import IdempotencyMarks, token_of
from cluster.aws.functions.runtime import Event, EventError, LambdaContext, client, log, setting

_TRANSITIONS = {
    "started": "the canary has started",
    "advanced": "the canary is moving to more pods",
    "held": "the canary has passed and waits for approval",
    "promoting": "the canary is moving to all pods",
    "promoted": "the canary is live on all pods",
    "rolling_back": "the canary is being rolled back",
    "rolled_back": "the canary has been rolled back",
    "stopped": "the rollout stopped: another client changed the pods' models",
}
_ENDS = {"SUCCEEDED": "has succeeded", "FAILED": "has failed", "STOPPED": "was stopped"}
_SUBJECT_CHARS = 99
"""SNS requires fewer than 100 ASCII characters without line breaks."""
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Message:
    """Notification: subject and text of a mail."""

    subject: str
    text: str


def handler(event: Event, context: LambdaContext) -> dict[str, Any]:
    """Send the notification of an event, if it has one, once."""
    service = setting("SERVICE", "sentiment")
    match event:
        case {"source": "aws.s3", "detail": {"bucket": {"name": str(bucket)}, "object": {"key": str(key)}}}:
            if "/entries/" not in f"/{key}":
                return {"told": None}  # the journal's lock, or a command of a user
            token = token_of("entry", bucket, key)  # entries never change, so the key identifies the entry
            message = entry_message(service, _read(bucket, key, context), f"s3://{bucket}/{key}")
        case {
            "source": "aws.codepipeline",
            "detail": {"pipeline": str(pipeline), "execution-id": str(execution), "state": str(state)},
        }:
            token = token_of("execution", pipeline, execution, state)
            message = pipeline_message(service, pipeline, execution, state)
        case _:
            raise EventError(f"expected an object-created event or a pipeline state, got {dict(event)}")
    if message is None:
        return {"told": None}
    topic = setting("TOPIC_ARN")
    once = IdempotencyMarks(setting("MARKS_BUCKET"), setting("MARKS_PREFIX", "marks"), context)
    sns = client("sns", context, tries=1)  # a retry by botocore could send the message twice
    told = once.at_most_once(
        token, lambda: sns.publish(TopicArn=topic, Subject=message.subject, Message=message.text)
    )
    log("notification sent" if told else "notification not repeated", context, subject=message.subject)
    return {"told": message.subject if told else None}


def entry_message(service: str, document: Any, where: str) -> Message | None:
    """Return the notification of a journal entry, or None if the entry is not a transition.

    Args:
        service: Name of the service.
        document: Object as `cluster/rollout/journal/object_store.py` writes it.
        where: URI of the object, for the message.

    Raises:
        EventError: The object is not an entry of a journal.
    """
    try:
        entry = document["entry"]
        number, champion, canary = document["rollout"], document["champion"], document["canary"]
        description = _TRANSITIONS.get(entry["event"])
        reason = entry.get("reason", "")
    except (LookupError, TypeError, AttributeError) as error:
        raise EventError(f"{where} is not an entry of a rollout journal: {error!r}") from error
    if description is None:
        return None
    lines = [f"Rollout {number}: {description}.", "", f"Champion: {champion}", f"Canary:   {canary}"]
    lines += [f"Reason:   {reason}"] if reason else []
    journal = where.rpartition("/entries/")[0]
    lines += ["", f"More: python -m cluster rollout history --journal {journal}"]
    return Message(_subject(f"{service}: rollout {number}: {description}"), "\n".join(lines))


def pipeline_message(service: str, pipeline: str, execution: str, state: str) -> Message | None:
    """Return the notification of a pipeline execution, or None while it is running."""
    description = _ENDS.get(state)
    if description is None:
        return None
    text = (
        f"The pipeline {pipeline} {description} (execution {execution}).\n\n"
        f"More: aws codepipeline list-action-executions --pipeline-name {pipeline} "
        f"--filter pipelineExecutionId={execution}"
    )
    return Message(_subject(f"{service}: pipeline {pipeline} {description}"), text)


def _subject(text: str) -> str:
    return text.encode("ascii", "replace").decode().replace("\n", " ")[:_SUBJECT_CHARS]


def _read(bucket: str, key: str, context: LambdaContext) -> Any:
    with closing(client("s3", context).get_object(Bucket=bucket, Key=key)["Body"]) as body:
        content = body.read(_MOST_BYTES)
    try:
        return json.loads(content)
    except ValueError as error:
        raise EventError(f"s3://{bucket}/{key} is not JSON: {error}") from error
