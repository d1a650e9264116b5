"""Lambda function that starts the drift job, and publishes the job's verdict as a metric.

It handles two events. An EventBridge schedule starts the CodeBuild project DRIFT_PROJECT, which runs `python
-m train drift` (too large for a function) and writes its verdict as JSON to S3. "Object Created" of that
object publishes the metric `drift_verdict` with the dimension `service`: 0 ok, 1 drift, 2 retrain. There is
no metric without a verdict, so alarms on it must treat missing data as missing.

Environment: DRIFT_PROJECT, SERVICE ("sentiment"), MARKS_BUCKET, MARKS_PREFIX ("marks").
"""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

from botocore.exceptions import ClientError

from cluster.aws.functions.idempotency import IdempotencyMarks, token_of
from cluster.aws.functions.runtime import (
    Event,
    EventError,
    LambdaContext,
    client,
    log,
    put_metrics,
    setting,
    time_of,
)

VERDICTS = {"ok": 0, "drift": 1, "retrain": 2}
_MOST_BYTES = 1 << 20


def handler(event: Event, context: LambdaContext) -> dict[str, Any]:
    """Start the job, or publish its verdict, once per event."""
    once = IdempotencyMarks(setting("MARKS_BUCKET"), setting("MARKS_PREFIX", "marks"), context)
    match event:
        case {"source": "aws.events", "id": str(number)}:
            return _start(token_of("drift", number), once, context)
        case {
            "source": "aws.s3",
            "detail": {"bucket": {"name": str(bucket)}, "object": {"key": str(key), **seen}},
        }:
            token = token_of("verdict", bucket, key, str(seen.get("sequencer", "")))
            return _send(event, bucket, key, token, once, context)
    raise EventError(f"expected a schedule or an object-created event, got {dict(event)}")


def _start(token: str, once: IdempotencyMarks, context: LambdaContext) -> dict[str, Any]:
    project = setting("DRIFT_PROJECT")
    build = client("codebuild", context)
    started = once.repeat_safely(
        token, lambda: build.start_build(projectName=project, idempotencyToken=token)
    )
    log("drift job started" if started else "started before", context, project=project, token=token)
    return {"project": project, "started": started}


def _send(
    event: Event, bucket: str, key: str, token: str, once: IdempotencyMarks, context: LambdaContext
) -> dict[str, Any]:
    verdict, reasons = _read(bucket, key, context)
    service = setting("SERVICE", "sentiment")
    sent = once.repeat_safely(
        token,
        lambda: put_metrics(
            context,
            {"drift_verdict": (float(VERDICTS[verdict]), "None")},
            dimensions={"service": service},
            at=time_of(event),
        ),
    )
    log("verdict sent" if sent else "sent before", context, verdict=verdict, reasons=reasons, service=service)
    return {"verdict": verdict, "sent": sent}


def _read(bucket: str, key: str, context: LambdaContext) -> tuple[str, list[Any]]:
    """Read the verdict and its reasons."""
    where = f"s3://{bucket}/{key}"
    try:
        with closing(client("s3", context).get_object(Bucket=bucket, Key=key)["Body"]) as body:
            document = json.loads(body.read(_MOST_BYTES))
        verdict, reasons = str(document["verdict"]), list(document.get("reasons", ()))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise EventError(f"{where} is not a verdict of `python -m train drift`: {error!r}") from error
    except ClientError as error:
        raise EventError(f"{where} cannot be read: {error}") from error
    if verdict not in VERDICTS:
        raise EventError(f"{where}: verdict {verdict!r}; expected one of {', '.join(VERDICTS)}")
    return verdict, reasons
