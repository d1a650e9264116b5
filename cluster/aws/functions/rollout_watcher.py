"""The rollout watcher: tells people in words, through SNS, what a rollout or a pipeline did.

Two events. "Object Created" of an entry of a rollout's journal in S3 (`--journal s3://…`: one object an
entry, each transition among them); and CodePipeline's end of an execution. Each is told at most once: a
message whose answer was lost is not sent again, and its mark stays.

Environment: TOPIC_ARN, SERVICE ("sentiment"), MARKS_BUCKET, MARKS_PREFIX ("marks").
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from cluster.aws.functions.once import Once, token_of
from cluster.aws.functions.runtime import Context, Event, EventInvalid, client, log, setting

_TRANSITIONS = {
    "started": "a canary begins",
    "advanced": "the canary goes on to more pods",
    "held": "the canary has passed and waits for approval",
    "promoting": "the canary goes to all pods",
    "promoted": "the canary is live on all pods",
    "rolling_back": "the canary is being taken back",
    "rolled_back": "the canary has been taken back",
    "stopped": "someone else changed what the pods serve, and the rollout stopped",
}
_ENDS = {"SUCCEEDED": "has succeeded", "FAILED": "has failed", "STOPPED": "was stopped"}
_SUBJECT_CHARS = 99
"""SNS takes fewer than 100, ASCII, without line ends."""
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Message:
    """What is told: the subject of a mail, and the text."""

    subject: str
    text: str


def handler(event: Event, context: Context) -> dict[str, Any]:
    """Tell what happened, if it is worth telling, once."""
    service = setting("SERVICE", "sentiment")
    match event:
        case {"source": "aws.s3", "detail": {"bucket": {"name": str(bucket)}, "object": {"key": str(key)}}}:
            if "/entries/" not in f"/{key}":
                return {"told": None}  # the journal's lock, or what a person asks
            token = token_of("entry", bucket, key)  # entries never change: the same key is the same entry
            message = entry_message(service, _read(bucket, key, context), f"s3://{bucket}/{key}")
        case {
            "source": "aws.codepipeline",
            "detail": {"pipeline": str(pipeline), "execution-id": str(execution), "state": str(state)},
        }:
            token = token_of("execution", pipeline, execution, state)
            message = pipeline_message(service, pipeline, execution, state)
        case _:
            raise EventInvalid(f"neither an object created nor a pipeline's state: {dict(event)}")
    if message is None:
        return {"told": None}
    topic = setting("TOPIC_ARN")
    once = Once(setting("MARKS_BUCKET"), setting("MARKS_PREFIX", "marks"), context)
    sns = client("sns", context, tries=1)  # sent again by botocore, it could arrive twice
    told = once.at_most_once(
        token, lambda: sns.publish(TopicArn=topic, Subject=message.subject, Message=message.text)
    )
    log("told" if told else "not told again", context, subject=message.subject)
    return {"told": message.subject if told else None}


def entry_message(service: str, document: Any, where: str) -> Message | None:
    """What an entry of the journal says to people; None for what is no transition.

    Args:
        service: its name.
        document: the object, as `cluster/rollout/stored_journal.py` writes it.
        where: its address, for the message.

    Raises:
        EventInvalid: it is not such an object.
    """
    try:
        entry = document["entry"]
        number, champion, canary = document["rollout"], document["champion"], document["canary"]
        said = _TRANSITIONS.get(entry["event"])
        reason = entry.get("reason", "")
    except (LookupError, TypeError, AttributeError) as error:
        raise EventInvalid(f"{where} is not an entry of a rollout's journal: {error!r}") from error
    if said is None:
        return None
    lines = [f"Rollout {number}: {said}.", "", f"Champion: {champion}", f"Canary:   {canary}"]
    lines += [f"Reason:   {reason}"] if reason else []
    journal = where.rpartition("/entries/")[0]
    lines += ["", f"More: python -m cluster rollout history --journal {journal}"]
    return Message(_subject(f"{service}: rollout {number}: {said}"), "\n".join(lines))


def pipeline_message(service: str, pipeline: str, execution: str, state: str) -> Message | None:
    """What the state of a pipeline's execution says to people; None while it is under way."""
    said = _ENDS.get(state)
    if said is None:
        return None
    text = (
        f"The pipeline {pipeline} {said} (execution {execution}).\n\n"
        f"More: aws codepipeline list-action-executions --pipeline-name {pipeline} "
        f"--filter pipelineExecutionId={execution}"
    )
    return Message(_subject(f"{service}: pipeline {pipeline} {said}"), text)


def _subject(text: str) -> str:
    return text.encode("ascii", "replace").decode().replace("\n", " ")[:_SUBJECT_CHARS]


def _read(bucket: str, key: str, context: Context) -> Any:
    with closing(client("s3", context).get_object(Bucket=bucket, Key=key)["Body"]) as body:
        content = body.read(_MOST_BYTES)
    try:
        return json.loads(content)
    except ValueError as error:
        raise EventInvalid(f"s3://{bucket}/{key} is not JSON: {error}") from error
