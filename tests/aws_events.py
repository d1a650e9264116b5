"""Events in the format in which EventBridge passes them to a function, according to AWS's documentation."""

from __future__ import annotations

from typing import Any

ACCOUNT, REGION = "123456789012", "us-east-1"
Event = dict[str, Any]


def _event(source: str, kind: str, number: str, resources: list[str], detail: dict[str, Any]) -> Event:
    return {
        "version": "0",
        "id": number,
        "detail-type": kind,
        "source": source,
        "account": ACCOUNT,
        "time": "2026-11-26T14:00:00Z",
        "region": REGION,
        "resources": resources,
        "detail": detail,
    }


def schedule(number: str = "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa") -> Event:
    """Return the event of a rule's schedule."""
    rule = f"arn:aws:events:{REGION}:{ACCOUNT}:rule/sentiment"
    return _event("aws.events", "Scheduled Event", number, [rule], {})


def object_created(bucket: str, key: str, sequencer: str = "00617F08299329D189") -> Event:
    """Return the event of an object that was written."""
    detail = {
        "version": "0",
        "bucket": {"name": bucket},
        "object": {
            "key": key,
            "size": 5,
            "etag": "b1946ac92492d2347c6235b4d2611184",
            "version-id": "IYV3p45BT0ac8hjHg1houSdS1a.Mro8e",
            "sequencer": sequencer,
        },
        "request-id": "N4N7GDK58NMKJ12R",
        "requester": ACCOUNT,
        "source-ip-address": "1.2.3.4",
        "reason": "PutObject",
    }
    number = "17793124-05d4-b198-2fde-7ededc63b103"
    return _event("aws.s3", "Object Created", number, [f"arn:aws:s3:::{bucket}"], detail)


def alarm(state: str = "ALARM", before: str = "OK", since: str = "2026-11-26T14:00:00.000+0000") -> Event:
    """Return the event of a metric alarm's change from state `before` to `state`."""
    arn = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:sentiment-drift"
    metric = {"namespace": "Sentiment", "name": "drift_verdict", "dimensions": {"service": "sentiment"}}
    detail = {
        "alarmName": "sentiment-drift",
        "configuration": {
            "description": "what comes in has changed",
            "metrics": [
                {
                    "id": "e1f3c9f1-b0a1-4ff6-a3a5-8c0d6f4c2b3e",
                    "metricStat": {"metric": metric, "period": 3600, "stat": "Maximum"},
                    "returnData": True,
                }
            ],
        },
        "previousState": {
            "value": before,
            "reason": "Threshold Crossed: 1 datapoint [0.0] was not greater than or equal to 2.0.",
            "reasonData": "{}",
            "timestamp": "2026-11-26T13:00:00.000+0000",
        },
        "state": {
            "value": state,
            "reason": "Threshold Crossed: 1 datapoint [2.0] was greater than or equal to 2.0.",
            "reasonData": "{}",
            "timestamp": since,
        },
    }
    number = "c4c1c1c9-6542-e61b-6ef0-8c4d36933a92"
    return _event("aws.cloudwatch", "CloudWatch Alarm State Change", number, [arn], detail)


def pipeline(
    state: str, name: str = "sentiment", execution: str = "01234567-0123-0123-0123-012345678901"
) -> Event:
    """Return the event of a pipeline execution's change to `state`."""
    detail = {
        "pipeline": name,
        "execution-id": execution,
        "start-time": "2026-11-26T13:00:00.000Z",
        "state": state,
        "version": 3.0,
        "pipeline-execution-attempt": 1.0,
    }
    arn = f"arn:aws:codepipeline:{REGION}:{ACCOUNT}:{name}"
    number = "aa8b9f32-1c2d-4a5e-9f6a-0b1c2d3e4f50"
    return _event("aws.codepipeline", "CodePipeline Pipeline Execution State Change", number, [arn], detail)


def approval(
    state: str, name: str = "sentiment", execution: str = "01234567-0123-0123-0123-012345678901"
) -> Event:
    """Return the event of a manual approval's change to `state`, which is FAILED if it was rejected."""
    event = pipeline(state, name, execution)
    event["detail-type"] = "CodePipeline Action Execution State Change"
    event["detail"] |= {
        "stage": "Approve",
        "action": "Approve",
        "region": REGION,
        "type": {"owner": "AWS", "provider": "Manual", "category": "Approval", "version": "1"},
    }
    return event
