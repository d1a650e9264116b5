"""Tests of the Lambda functions with real event shapes, against moto over HTTP: correct ends, nothing twice.

Cases of each function: success, an AWS error, an answer that is too late, and the same event again.
"""

from __future__ import annotations

import functools
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest
from botocore.exceptions import BotoCoreError, ClientError

from cluster.aws.functions import drift_check, pipeline_trigger, probe, rollout_watcher
from cluster.aws.functions.runtime import EventError, SettingError
from tests import aws_events as events
from tests.integration.aws import PATIENCE_S, Wire, aws

MARKS = "marks"
DATA = "data"
ENTRY_KEY = "rollout/entries/00000007.json"
ENTRY = {
    "rollout": 3,
    "champion": "s3://models/sentiment/6",
    "canary": "s3://models/sentiment/7",
    "by": "a",
    "entry": {"event": "rolled_back", "at": 1.0, "reason": "errors: 20.00% of the canary's requests"},
}


@dataclass(frozen=True)
class Invocation:
    """Attempt of an event, with enough time for its calls, or with too little for a slow one."""

    aws_request_id: str = "8d4e2a7c-6f7b-4c1e-9a60-0c6f0e6d1f4b"
    left_ms: int = 30_000

    def get_remaining_time_in_millis(self) -> int:
        return self.left_ms


INVOCATION = Invocation()
HURRIED = Invocation(left_ms=6000)  # half a second for each of two attempts
Handler = Callable[[events.Event, Invocation], dict[str, Any]]


@pytest.fixture(scope="module")
def account() -> Iterator[Wire]:
    with aws() as wire:
        yield wire


@pytest.fixture
def wire(account: Wire, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """Return an empty account without faults."""
    account.point_at(monkeypatch)
    monkeypatch.setenv("MARKS_BUCKET", MARKS)
    for bucket in (MARKS, DATA):
        client("s3").create_bucket(Bucket=bucket)
    account.calls.clear()
    yield account
    account.reset()


def client(service: str) -> Any:
    """Return a client of one endpoint for all tests."""
    return _client(service, os.environ["AWS_ENDPOINT_URL"])


@functools.cache
def _client(service: str, endpoint: str) -> Any:
    return boto3.session.Session().client(service, endpoint_url=endpoint)


def put(key: str, content: object) -> None:
    client("s3").put_object(Bucket=DATA, Key=key, Body=json.dumps(content).encode())


def marks() -> int:
    return int(client("s3").list_objects_v2(Bucket=MARKS)["KeyCount"])


def statistics(metric: str) -> list[dict[str, Any]]:
    at = datetime(2026, 11, 26, 14, tzinfo=UTC)
    answer = client("cloudwatch").get_metric_statistics(
        Namespace="Sentiment",
        MetricName=metric,
        Dimensions=[{"Name": "service", "Value": "sentiment"}],
        StartTime=at - timedelta(hours=1),
        EndTime=at + timedelta(hours=1),
        Period=60,
        Statistics=["Minimum", "Maximum", "SampleCount"],
    )
    return list(answer["Datapoints"])


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


# --- probe


class Service:
    """Service with configurable answers, over HTTP."""

    def __init__(self) -> None:
        self.status = 200
        self.labels = ["POSITIVE", "NEGATIVE"]
        self.header = "7"
        self.hold = threading.Event()
        self.hold.set()
        self.keys: list[str | None] = []
        service = self

        class Requests(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.path == "/v1/classify" and len(asked["inputs"]) == 2
                service.keys.append(self.headers["X-API-Key"])
                service.hold.wait(PATIENCE_S)
                results = [{"label": label} for label in service.labels]
                body = json.dumps({"model": {"version": "7"}, "results": results}).encode()
                self.send_response(service.status)
                self.send_header("X-Model-Version", service.header)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Requests)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    service = Service()
    thread = threading.Thread(target=service.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("PROBE_URL", service.url)
    yield service
    service.hold.set()
    service.server.shutdown()
    thread.join()
    service.server.server_close()


def test_a_right_answer_is_1_with_its_latency(
    wire: Wire, service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    found = probe.handler(events.schedule(), INVOCATION)
    assert found["ok"] and found["version"] == "7" and found["latency_ms"] > 0
    assert [point["Minimum"] for point in statistics("probe_ok")] == [1.0]
    assert [point["Minimum"] for point in statistics("probe_latency_ms")] == [found["latency_ms"]]
    [line] = logged(capsys)
    assert line["request_id"] == INVOCATION.aws_request_id and line["version"] == "7"


@pytest.mark.parametrize(
    ("member", "value", "reason"),
    [
        ("status", 503, "responded with status 503"),
        ("labels", ["NEGATIVE", "NEGATIVE"], "got the labels ['NEGATIVE', 'NEGATIVE']"),
        ("labels", ["POSITIVE"], "got the labels ['POSITIVE']"),
        ("header", "6", "X-Model-Version is 6"),
    ],
)
def test_a_wrong_answer_is_0(wire: Wire, service: Service, member: str, value: object, reason: str) -> None:
    setattr(service, member, value)
    found = probe.handler(events.schedule(), INVOCATION)
    assert not found["ok"] and found["reason"].startswith(reason)
    assert [point["Maximum"] for point in statistics("probe_ok")] == [0.0]


def test_a_service_that_does_not_answer_in_time_is_0_without_a_latency(
    wire: Wire, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROBE_TIMEOUT_MS", "50")
    service.hold.clear()
    assert probe.handler(events.schedule(), INVOCATION)["reason"].startswith("no answer")
    assert [point["Maximum"] for point in statistics("probe_ok")] == [0.0]
    assert statistics("probe_latency_ms") == []


def test_a_service_that_is_not_there_is_0(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROBE_URL", "http://127.0.0.1:9")
    assert probe.handler(events.schedule(), INVOCATION)["reason"].startswith("no answer")


def test_metrics_that_cannot_be_sent_are_an_error_of_the_function(wire: Wire, service: Service) -> None:
    wire.refused.add(cloudwatch(wire))
    with pytest.raises(ClientError):
        probe.handler(events.schedule(), INVOCATION)


def test_cloudwatch_that_does_not_answer_ends_before_lambda_does(wire: Wire, service: Service) -> None:
    wire.silent.add(cloudwatch(wire))
    with pytest.raises(BotoCoreError):
        probe.handler(events.schedule(), HURRIED)


def test_the_same_minute_measured_twice_changes_no_minimum(wire: Wire, service: Service) -> None:
    for _ in range(2):
        probe.handler(events.schedule(), INVOCATION)
    [point] = statistics("probe_ok")
    assert (point["Minimum"], point["Maximum"], point["SampleCount"]) == (1.0, 1.0, 2.0)


def test_the_key_comes_from_secrets_manager(
    wire: Wire, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = client("secretsmanager").create_secret(Name="key", SecretString="let me in")
    monkeypatch.setenv("PROBE_API_KEY_SECRET", secret["ARN"])
    probe.handler(events.schedule(), INVOCATION)
    assert service.keys == ["let me in"]


def cloudwatch(wire: Wire) -> str:
    """Return the operation by which this botocore sends metrics."""
    client("cloudwatch").put_metric_data(Namespace="x", MetricData=[{"MetricName": "x", "Value": 1}])
    return wire.calls[-1][0]


# --- drift check


@pytest.fixture
def drift(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> Wire:
    make_project("sentiment-drift")
    monkeypatch.setenv("DRIFT_PROJECT", "sentiment-drift")
    return wire


def make_project(name: str) -> None:
    client("codebuild").create_project(
        name=name,
        source={"type": "S3", "location": "data/source.zip"},
        artifacts={"type": "NO_ARTIFACTS"},
        environment={"type": "LINUX_CONTAINER", "image": "x", "computeType": "BUILD_GENERAL1_SMALL"},
        serviceRole="arn:aws:iam::123456789012:role/service-role/build",
    )


def builds() -> list[str]:
    return list(client("codebuild").list_builds()["ids"])


def tokens(wire: Wire, operation: str, member: str) -> set[str]:
    return {json.loads(body)[member] for body in wire.bodies(operation)}


def test_a_schedule_starts_the_job_once(drift: Wire) -> None:
    assert drift_check.handler(events.schedule(), INVOCATION)["started"]
    assert not drift_check.handler(events.schedule(), Invocation("another"))["started"]
    assert len(builds()) == 1
    assert drift_check.handler(events.schedule("the next hour's"), INVOCATION)["started"]
    assert len(builds()) == 2


def test_a_job_that_is_refused_is_started_by_the_next_try(drift: Wire) -> None:
    drift.refused.add("codebuild StartBuild")
    with pytest.raises(ClientError):
        drift_check.handler(events.schedule(), INVOCATION)
    assert builds() == []
    drift.refused.clear()
    assert drift_check.handler(events.schedule(), INVOCATION)["started"]
    assert len(builds()) == 1


def test_a_job_whose_start_is_not_answered_is_asked_for_again_with_the_same_token(drift: Wire) -> None:
    drift.silent.add("codebuild StartBuild")
    with pytest.raises(BotoCoreError):
        drift_check.handler(events.schedule(), HURRIED)
    assert marks() == 0
    drift.silent.clear()
    drift_check.handler(events.schedule(), INVOCATION)
    # CodeBuild recognizes the second start by its token; moto starts both.
    assert len(drift.bodies("codebuild StartBuild")) >= 2
    assert len(tokens(drift, "codebuild StartBuild", "idempotencyToken")) == 1


@pytest.mark.parametrize(("verdict", "value"), [("ok", 0.0), ("drift", 1.0), ("retrain", 2.0)])
def test_a_verdict_becomes_a_metric_once(drift: Wire, verdict: str, value: float) -> None:
    put("drift/latest.json", {"verdict": verdict, "reasons": ["longer texts"]})
    event = events.object_created(DATA, "drift/latest.json")
    assert drift_check.handler(event, INVOCATION) == {"verdict": verdict, "sent": True}
    assert drift_check.handler(event, INVOCATION) == {"verdict": verdict, "sent": False}
    [point] = statistics("drift_verdict")
    assert (point["Maximum"], point["SampleCount"]) == (value, 1.0)


def test_the_next_verdict_at_the_same_address_is_another(drift: Wire) -> None:
    put("drift/latest.json", {"verdict": "ok"})
    for sequencer in ("01", "02"):
        assert drift_check.handler(events.object_created(DATA, "drift/latest.json", sequencer), INVOCATION)[
            "sent"
        ]


@pytest.mark.parametrize("content", [{"verdict": "fine"}, {"reasons": []}, ["retrain"], {"verdict": ["ok"]}])
def test_what_is_no_verdict_sends_nothing(drift: Wire, content: object) -> None:
    put("drift/latest.json", content)
    with pytest.raises(EventError, match=r"drift/latest\.json"):
        drift_check.handler(events.object_created(DATA, "drift/latest.json"), INVOCATION)
    assert statistics("drift_verdict") == [] and marks() == 0


def test_a_verdict_that_is_not_there_is_named(drift: Wire) -> None:
    with pytest.raises(EventError, match=r"s3://data/gone\.json cannot be read"):
        drift_check.handler(events.object_created(DATA, "gone.json"), INVOCATION)


# --- pipeline trigger


@pytest.fixture
def pipelines(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> Wire:
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "codepipeline.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
    made = client("iam").create_role(RoleName="pipeline", AssumeRolePolicyDocument=json.dumps(trust))
    role = made["Role"]["Arn"]
    for name, variable in (("train", "RETRAIN_PIPELINE"), ("release", "RELEASE_PIPELINE")):
        make_pipeline(name, role)
        monkeypatch.setenv(variable, name)
    make_project("abort")
    monkeypatch.setenv("ABORT_PROJECT", "abort")
    return wire


def make_pipeline(name: str, role: str) -> None:
    def stage(title: str, category: str, provider: str) -> dict[str, Any]:
        kind = {"category": category, "owner": "AWS", "provider": provider, "version": "1"}
        action = {"name": title, "actionTypeId": kind, "configuration": {}}
        return {"name": title, "actions": [action]}

    client("codepipeline").create_pipeline(
        pipeline={
            "name": name,
            "roleArn": role,
            "artifactStore": {"type": "S3", "location": DATA},
            "stages": [stage("Source", "Source", "S3"), stage("Approve", "Approval", "Manual")],
            "version": 1,
        }
    )


def executions(name: str) -> int:
    return len(
        client("codepipeline").list_pipeline_executions(pipelineName=name)["pipelineExecutionSummaries"]
    )


STARTING = [
    (events.alarm(), "train"),
    (events.object_created(DATA, "registry/versions/sentiment/8"), "release"),
]


@pytest.mark.parametrize(("event", "name"), STARTING)
def test_an_event_starts_its_pipeline_once(pipelines: Wire, event: events.Event, name: str) -> None:
    assert pipeline_trigger.handler(event, INVOCATION) == {"started": name}
    assert pipeline_trigger.handler(event, Invocation("another")) == {"started": None}
    assert executions(name) == 1


@pytest.mark.parametrize(("event", "name"), STARTING)
def test_a_start_that_is_refused_is_made_by_the_next_try(
    pipelines: Wire, event: events.Event, name: str
) -> None:
    pipelines.refused.add("codepipeline StartPipelineExecution")
    with pytest.raises(ClientError):
        pipeline_trigger.handler(event, INVOCATION)
    pipelines.refused.clear()
    assert pipeline_trigger.handler(event, INVOCATION) == {"started": name}
    assert executions(name) == 1


@pytest.mark.parametrize(("event", "name"), STARTING)
def test_a_start_that_is_not_answered_is_made_again_with_the_same_token(
    pipelines: Wire, event: events.Event, name: str
) -> None:
    pipelines.silent.add("codepipeline StartPipelineExecution")
    with pytest.raises(BotoCoreError):
        pipeline_trigger.handler(event, HURRIED)
    pipelines.silent.clear()
    assert pipeline_trigger.handler(event, INVOCATION) == {"started": name}
    assert len(tokens(pipelines, "codepipeline StartPipelineExecution", "clientRequestToken")) == 1


def test_the_version_goes_with_the_release(pipelines: Wire) -> None:
    pipeline_trigger.handler(events.object_created(DATA, "registry/versions/sentiment/8"), INVOCATION)
    [body] = pipelines.bodies("codepipeline StartPipelineExecution")
    variables = {one["name"]: one["value"] for one in json.loads(body)["variables"]}
    assert variables == {"MODEL": "sentiment", "VERSION": "8"}


@pytest.mark.parametrize(
    "event",
    [
        events.alarm("OK", "ALARM"),
        events.alarm("INSUFFICIENT_DATA", "OK"),
        events.alarm("ALARM", "ALARM"),
        events.object_created(DATA, "registry/versions/sentiment/run-01234567"),
        events.object_created(DATA, "registry/aliases/sentiment/champion.json"),
        events.object_created(DATA, "8"),
        events.approval("SUCCEEDED"),
        events.pipeline("FAILED"),
    ],
)
def test_what_is_no_reason_starts_nothing(pipelines: Wire, event: events.Event) -> None:
    assert pipeline_trigger.handler(event, INVOCATION) == {"started": None}
    assert executions("train") == executions("release") == len(builds()) == 0


def test_the_next_alarm_is_another(pipelines: Wire) -> None:
    for since in ("2026-11-26T14:00:00.000+0000", "2026-11-27T14:00:00.000+0000"):
        pipeline_trigger.handler(events.alarm(since=since), INVOCATION)
    assert executions("train") == 2


def test_a_promotion_that_is_not_approved_is_aborted_once(pipelines: Wire) -> None:
    for _ in range(2):
        pipeline_trigger.handler(events.approval("FAILED"), INVOCATION)
    assert len(builds()) == 1
    [body] = pipelines.bodies("codebuild StartBuild")
    [variable] = json.loads(body)["environmentVariablesOverride"]
    assert (variable["name"], variable["value"]) == ("ROLLOUT_VERB", "abort")


def test_what_is_not_set_up_is_not_started(pipelines: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RELEASE_PIPELINE")
    event = events.object_created(DATA, "registry/versions/sentiment/8")
    assert pipeline_trigger.handler(event, INVOCATION) == {"started": None}


# --- rollout watcher


@pytest.fixture
def topic(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> Wire:
    arn = client("sns").create_topic(Name="sentiment")["TopicArn"]
    client("sqs").create_queue(QueueName="people")
    client("sns").subscribe(
        TopicArn=arn, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:123456789012:people"
    )
    monkeypatch.setenv("TOPIC_ARN", arn)
    put(ENTRY_KEY, ENTRY)
    return wire


def received() -> list[dict[str, str]]:
    sqs = client("sqs")
    url = sqs.get_queue_url(QueueName="people")["QueueUrl"]
    found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    return [json.loads(message["Body"]) for message in found]


ROLLED_BACK = events.object_created(DATA, ENTRY_KEY)
TOLD = "sentiment: rollout 3: the canary has been rolled back"


def test_a_transition_is_told_once_in_words(topic: Wire) -> None:
    assert rollout_watcher.handler(ROLLED_BACK, INVOCATION) == {"told": TOLD}
    assert rollout_watcher.handler(ROLLED_BACK, Invocation("another")) == {"told": None}
    [message] = received()
    assert message["Subject"] == TOLD
    assert "errors: 20.00%" in message["Message"] and "s3://models/sentiment/7" in message["Message"]
    assert "--journal s3://data/rollout" in message["Message"]


@pytest.mark.parametrize("event", [ROLLED_BACK, events.pipeline("FAILED")])
def test_a_message_that_is_refused_is_sent_by_the_next_try(topic: Wire, event: events.Event) -> None:
    topic.refused.add("sns Publish")
    with pytest.raises(ClientError):
        rollout_watcher.handler(event, INVOCATION)
    topic.refused.clear()
    assert rollout_watcher.handler(event, INVOCATION)["told"]
    assert len(received()) == 1


def test_a_message_whose_answer_is_lost_is_not_sent_again(
    topic: Wire, capsys: pytest.CaptureFixture[str]
) -> None:
    topic.silent.add("sns Publish")
    with pytest.raises(BotoCoreError):
        rollout_watcher.handler(ROLLED_BACK, HURRIED)
    topic.silent.clear()
    assert rollout_watcher.handler(ROLLED_BACK, INVOCATION) == {"told": None}
    assert len(received()) == 1
    assert "done before, or outcome unknown" in [line["message"] for line in logged(capsys)]


def test_a_mark_whose_answer_is_lost_is_known_as_its_own(topic: Wire) -> None:
    topic.lost.add("s3 Put")
    assert rollout_watcher.handler(ROLLED_BACK, INVOCATION) == {"told": TOLD}
    assert len(topic.bodies("s3 Put")) == 3  # the entry, the mark, and the mark again
    assert len(received()) == 1


@pytest.mark.parametrize("event", ["observed", "applied"])
def test_what_is_no_transition_is_not_told(topic: Wire, event: str) -> None:
    put(ENTRY_KEY, {**ENTRY, "entry": {"event": event, "at": 1.0}})
    assert rollout_watcher.handler(ROLLED_BACK, INVOCATION) == {"told": None}
    assert received() == []


@pytest.mark.parametrize(("state", "said"), [("SUCCEEDED", "has succeeded"), ("FAILED", "has failed")])
def test_the_end_of_a_pipeline_is_told(topic: Wire, state: str, said: str) -> None:
    told = rollout_watcher.handler(events.pipeline(state), INVOCATION)["told"]
    assert told == f"sentiment: pipeline sentiment {said}"
    assert rollout_watcher.handler(events.pipeline("STARTED"), INVOCATION) == {"told": None}


def test_what_is_no_entry_is_named(topic: Wire) -> None:
    put(ENTRY_KEY, {"event": "promoted"})
    with pytest.raises(EventError, match=ENTRY_KEY):
        rollout_watcher.handler(ROLLED_BACK, INVOCATION)
    client("s3").put_object(Bucket=DATA, Key=ENTRY_KEY, Body=b"{")
    with pytest.raises(EventError, match="is not JSON"):
        rollout_watcher.handler(ROLLED_BACK, INVOCATION)


# --- all of them


@pytest.mark.parametrize("handler", [drift_check.handler, pipeline_trigger.handler, rollout_watcher.handler])
def test_an_event_that_no_rule_sends_is_an_error(wire: Wire, handler: Handler) -> None:
    with pytest.raises(EventError):
        handler({"source": "aws.ec2", "detail": {}}, INVOCATION)


def test_a_missing_setting_is_named(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MARKS_BUCKET")
    with pytest.raises(SettingError, match="MARKS_BUCKET"):
        drift_check.handler(events.schedule(), INVOCATION)


def test_s3_that_refuses_the_mark_keeps_a_message_unsent(topic: Wire) -> None:
    topic.refused.add("s3 Put")
    with pytest.raises(ClientError):
        rollout_watcher.handler(ROLLED_BACK, INVOCATION)
    assert received() == []
