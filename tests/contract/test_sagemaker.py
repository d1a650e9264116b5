"""Tests of SageMaker's contract: CSV, records with parameters, the Accept header, batch transform."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from serve_app.errors import ServiceError
from serve_app.http.protocols.csv_texts import read_csv
from serve_app.http.protocols.sagemaker import ExecutionParameters, SageMakerResponse
from serve_app.http.routes import build_api
from serve_app.metrics import Metrics
from serve_app.prediction_log.logger import open_logger
from serve_app.settings import Settings
from tests.conftest import ROOT
from tests.contract.fake_replica import LABELS, FakeReplica, scores_of
from tests.contract.servers import in_process
from train.prediction_log.reader import Log

LOVE, RUIN = "I love this cream", "It ruined my skin!"
MIB = 1 << 20


@pytest.fixture
def replica() -> FakeReplica:
    return FakeReplica()


@pytest.fixture
async def client(replica: FakeReplica) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(max_texts_per_request=4, max_body_bytes=300_000, max_chars_per_text=500)
    async with in_process(replica, settings) as client:
        yield client


async def invoke(
    client: httpx.AsyncClient, body: str | bytes, content_type: str, accept: str | None = None
) -> httpx.Response:
    headers = {"content-type": content_type} | ({"accept": accept} if accept is not None else {})
    return await client.post("/invocations", content=body, headers=headers)


def fault(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 422, answer.text
    first: dict[str, str] = answer.json()["errors"][0]
    return first


# --- CSV


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        (f"inputs\n{LOVE}\n{RUIN}\n", [LOVE, RUIN]),
        (f"id,Text ,rating\n1,{LOVE},5\n2,{RUIN},1\n", [LOVE, RUIN]),
        (f'rating,"INPUTS"\n5,"{LOVE}, really"\n', [f"{LOVE}, really"]),
        (f"{LOVE}\n{RUIN}", [LOVE, RUIN]),
        (f"\ufeffinputs\r\n{LOVE}\r\n{RUIN}\r\n", [LOVE, RUIN]),
        (f"inputs\r{LOVE}\r{RUIN}\r", [LOVE, RUIN]),
        ('text\n"two\nlines"\n"two\r\nlines"\n"a ""quote"""\n', ["two\nlines", "two\r\nlines", 'a "quote"']),
        (f"\n\ntext\n\n{LOVE}\n\n", [LOVE]),
        (f"text\n{LOVE}\n{LOVE}\n{LOVE}\n{LOVE}\n", [LOVE] * 4),
    ],
)
async def test_csv_texts_are_those_of_their_column(
    client: httpx.AsyncClient, replica: FakeReplica, body: str, texts: list[str]
) -> None:
    answer = await invoke(client, body.encode(), "text/csv")
    assert answer.status_code == 200, answer.text
    assert replica.asked == [tuple(texts)]
    assert [row["score"] for row in answer.json()] == [max(scores_of(text)) for text in texts]


@pytest.mark.parametrize(
    ("body", "field", "named"),
    [
        ("id,review,rating\n1,fine,5\n", "/0", "'id', 'review', 'rating'"),
        ("text,inputs\na,b\n", "/0", "'text', 'inputs'"),
        (f"{LOVE}, really\n", "/0", "' really'"),
        (f"text\n{LOVE}, really\n", "/1", "1 columns as in the first row, got 2"),
        ("id,text\n1\n", "/1", "2 columns as in the first row, got 1"),
        ("fine\nfine,too\n", "/1", "1 columns as in the first row, got 2"),
        ('text\n"unclosed\nfine\n', "", "line 3"),
        ('text\n"closed" too early\n', "", "line 2"),
        ("text\nfine\n \n", "/2/0", "not blank"),
        ("id,text\n1,\n", "/1/1", "not blank"),
        ("text\n", "", "no text"),
        (",".join(["x" * 1000] * 100), "/0", "and 90 more"),
    ],
)
async def test_csv_that_leaves_a_doubt_is_refused(
    client: httpx.AsyncClient, replica: FakeReplica, body: str, field: str, named: str
) -> None:
    answer = await invoke(client, body, "text/csv")
    assert fault(answer)["field"] == field
    assert named in answer.json()["detail"]
    assert len(answer.content) < 5000 and not replica.asked


@pytest.mark.parametrize(
    "body", ["text\n" + "x" * 140_000, "id,text\n" + "x" * 140_000 + ",fine\n", "text\n" + "a\n" * 5]
)
async def test_csv_over_a_limit_is_413(client: httpx.AsyncClient, body: str) -> None:
    assert (await invoke(client, body, "text/csv")).status_code == 413


async def test_csv_that_is_not_utf8_is_refused(client: httpx.AsyncClient) -> None:
    assert "UTF-8" in fault(await invoke(client, b"text\nsch\xf6n\n", "text/csv"))["message"]


@given(
    rows=st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), min_size=1, max_size=8),
    text_first=st.booleans(),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    bom=st.booleans(),
)
def test_csv_as_any_writer_writes_it_is_read_back(
    rows: list[tuple[str, str]], text_first: bool, newline: str, bom: bool
) -> None:
    output = io.StringIO(newline="")
    writer = csv.writer(output, lineterminator=newline, quoting=csv.QUOTE_ALL)
    writer.writerow(["text", "id"] if text_first else ["id", "text"])
    writer.writerows(rows)
    body = ("\ufeff" if bom else "") + output.getvalue()
    assert read_csv(body.encode(), 8).texts == [row[0 if text_first else 1] for row in rows]


@given(st.binary(max_size=200))
def test_csv_of_any_bytes_is_read_or_refused(body: bytes) -> None:
    try:
        assert len(read_csv(body, 8).texts) <= 8
    except ServiceError as error:
        assert 400 <= error.status < 500


# --- records and their parameters


def lines(*records: dict[str, Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


RECORDS = lines(
    {"inputs": LOVE},
    {"inputs": RUIN, "parameters": {"top_k": 2}},
    {"inputs": LOVE, "parameters": {"top_k": None, "function_to_apply": "softmax"}},
    {"inputs": LOVE, "parameters": {"return_all_scores": True}},
)


@pytest.mark.parametrize("content_type", ["application/jsonlines", "application/json"])
async def test_every_record_has_its_own_parameters(client: httpx.AsyncClient, content_type: str) -> None:
    answer = await invoke(client, RECORDS.replace("\n", "\r\n\r\n"), content_type)
    assert answer.headers["content-type"] == "application/jsonlines"
    first, second, *everything = [json.loads(line) for line in answer.text.splitlines()]
    assert first == {"label": "NEGATIVE", "score": max(scores_of(LOVE))}
    assert [row["label"] for row in second] == ["NEGATIVE", "NEUTRAL"]
    assert [len(rows) for rows in everything] == [3, 3]


async def test_a_json_document_of_several_lines_is_one_document(client: httpx.AsyncClient) -> None:
    for body in (
        json.dumps({"inputs": [LOVE, RUIN]}, indent=2),
        '{"parameters": {}\n, "inputs": ["a", "b"]}',
    ):
        assert len((await invoke(client, body, "application/json")).json()) == 2


async def test_segments_of_records_reach_the_log(replica: FakeReplica, tmp_path: Path) -> None:
    settings = Settings(log_uri=str(tmp_path / "log"), log_privacy="full", log_flush_s=3600)
    capture = open_logger(settings, Metrics())
    assert capture is not None
    async with capture.running():
        app = build_api(replica, settings, Metrics(), capture)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
            body = lines({"inputs": LOVE, "parameters": {"segment": "creams"}}, {"inputs": RUIN})
            assert (await invoke(client, body, "application/jsonlines")).status_code == 200
        capture.predictions.close(patience_s=60)
        capture.feedback.close(patience_s=60)
    [batch] = Log(str(tmp_path / "log")).predictions()
    assert batch["segment"].to_pylist() == ["creams", None]


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"function_to_apply": "none"}, "function_to_apply"),
        ({"function_to_apply": "sigmoid"}, "function_to_apply"),
        ({"max_length": 12}, "max_length"),
        ({"top_k": "2"}, "top_k"),
        ({"truncation": "only_second"}, "truncation"),
        ({"topk": 2}, "topk"),
    ],
)
async def test_a_parameter_that_is_not_honoured_is_refused_by_name(
    client: httpx.AsyncClient, replica: FakeReplica, parameters: dict[str, Any], field: str
) -> None:
    one = await invoke(client, json.dumps({"inputs": LOVE, "parameters": parameters}), "application/json")
    assert fault(one)["field"] == f"/parameters/{field}"
    body = lines({"inputs": LOVE}, {"inputs": LOVE, "parameters": parameters})
    second = await invoke(client, body, "application/jsonlines")
    assert fault(second)["field"] == f"/1/parameters/{field}"
    assert not replica.asked


async def test_truncation_is_allowed_refused_or_as_the_limits_are(
    client: httpx.AsyncClient, replica: FakeReplica
) -> None:
    async def ask(characters: int, **parameters: Any) -> httpx.Response:
        body = {"inputs": "x" * characters, "parameters": parameters}
        return await invoke(client, json.dumps(body), "application/json")

    assert (await ask(600)).status_code == 413
    assert (await ask(600, truncation=True)).status_code == 200
    assert replica.asked.pop() == ("x" * 500,)
    assert (await ask(200)).status_code == 200  # over the model's token limit: truncated by default
    assert (await ask(200, truncation=False)).status_code == 413
    assert (await ask(50, truncation=False)).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (lines({"inputs": LOVE}) + "{\n", 400, "record 1"),
        (lines({"inputs": LOVE}) + '"text"\n', 422, "/1"),
        (lines({"inputs": LOVE}, {"inputs": [LOVE]}), 422, "/1/inputs"),
        (lines({"inputs": LOVE}, {"inputs": " "}), 422, "/1/inputs"),
        (lines(*[{"inputs": LOVE}] * 5), 413, "more than 4"),
        ("{\n" * 5, 413, "more than 4"),  # records are counted before they are parsed
        ("\n \n", 422, "at least one text"),
    ],
)
async def test_a_bad_record_is_named(client: httpx.AsyncClient, body: str, status: int, said: str) -> None:
    answer = await invoke(client, body, "application/jsonlines")
    assert answer.status_code == status and said in answer.text


# --- Accept


@pytest.mark.parametrize(
    ("accept", "answered"),
    [
        (None, "application/json"),
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("application/jsonlines", "application/jsonlines"),
        ("Text/CSV; header=absent", "text/csv"),
        ("text/*", "text/csv"),
        ("text/csv;q=0.5, application/*;q=0.8", "application/json"),
        ("text/csv;q=0.9, application/jsonlines;q=0.8, */*;q=0.1", "text/csv"),
        ("application/json;q=0, */*", "application/jsonlines"),
        ("text/html, */*;q=0.8", "application/json"),
    ],
)
async def test_the_answer_has_the_media_type_that_is_accepted(
    client: httpx.AsyncClient, accept: str | None, answered: str
) -> None:
    client.headers.pop("accept")
    body = json.dumps({"inputs": [LOVE, RUIN], "parameters": {"top_k": 2}})
    answer = await invoke(client, body, "application/json", accept)
    assert answer.headers["content-type"].partition(";")[0] == answered
    if answered == "text/csv":
        rows = [
            [(label, float(score)) for label, score in zip(row[::2], row[1::2], strict=True)]
            for row in csv.reader(answer.text.splitlines())
        ]
    else:
        values = (
            answer.json() if answered == "application/json" else map(json.loads, answer.text.splitlines())
        )
        rows = [[(each["label"], each["score"]) for each in value] for value in values]
    expected = [
        sorted(zip(LABELS, scores_of(text), strict=True), key=lambda pair: -pair[1])[:2]
        for text in (LOVE, RUIN)
    ]
    assert rows == expected


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "image/*, application/xml"])
async def test_what_cannot_be_answered_is_406(
    client: httpx.AsyncClient, replica: FakeReplica, accept: str
) -> None:
    answer = await invoke(client, json.dumps({"inputs": LOVE}), "application/json", accept)
    assert answer.status_code == 406 and "application/jsonlines, text/csv" in answer.json()["detail"]
    assert not replica.asked


async def test_answers_are_as_documented(client: httpx.AsyncClient) -> None:
    shape = TypeAdapter(SageMakerResponse)
    for parameters in ({}, {"top_k": 2}):
        body = json.dumps({"inputs": [LOVE, RUIN], "parameters": parameters})
        shape.validate_json((await invoke(client, body, "application/json")).content)


# --- batch transform


async def test_batch_transform_is_told_what_the_limits_allow(replica: FakeReplica) -> None:
    async def told(**settings: Any) -> ExecutionParameters:
        async with in_process(replica, Settings(**settings)) as client:
            return ExecutionParameters.model_validate((await client.get("/execution-parameters")).json())

    default = await told()
    assert (default.BatchStrategy, default.MaxPayloadInMB) == ("MULTI_RECORD", 1)
    large = await told(max_body_bytes=6 * MIB, replicas=3)
    assert (large.MaxPayloadInMB, large.MaxConcurrentTransforms) == (6, 3)


def environment_of(tmp_path: Path, **given: str) -> dict[str, str]:
    """Return the environment in which the image's entry point starts the service on SageMaker."""
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nenv\n")
    program.chmod(0o755)
    ran = subprocess.run(
        [ROOT / "cluster" / "entrypoint.sh", "serve"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", **given},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    pairs = (line.partition("=") for line in ran.stdout.splitlines())
    return {name: value for name, _, value in pairs if name.startswith("SENTIMENT_")}


def payload(record: str) -> tuple[bytes, int]:
    """Return at most 6 MiB of records, as SageMaker's MultiRecord strategy packs them, and their number."""
    count = 6 * MIB // len(record.encode())
    return (record * count).encode(), count


@pytest.mark.parametrize(
    ("record", "content_type"),
    [
        ('{"inputs": "fine"}\n', "application/jsonlines"),
        ('"fine, really"\n', "text/csv"),
        (lines({"inputs": "a review of some length " * 20}), "application/jsonlines"),
    ],
)
async def test_a_multi_record_call_of_6_mb_fits_the_entry_points_limits(
    replica: FakeReplica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: str, content_type: str
) -> None:
    for name, value in environment_of(tmp_path).items():
        monkeypatch.setenv(name, value)
    body, count = payload(record)
    settings = Settings()
    assert settings.max_queue_items >= count and settings.max_queue_tokens >= len(body) / 2
    async with in_process(replica, settings) as client:
        assert (await client.get("/execution-parameters")).json()["MaxPayloadInMB"] == 6
        answer = await invoke(client, body, content_type, "application/jsonlines")
    assert answer.status_code == 200, answer.text[:500]
    assert answer.text.count("\n") == count


def test_only_batch_transform_has_minutes_and_what_is_set_goes_first(tmp_path: Path) -> None:
    assert "SENTIMENT_DEFAULT_TIMEOUT_MS" not in environment_of(tmp_path)
    batch = environment_of(tmp_path, SAGEMAKER_BATCH="true", SENTIMENT_MAX_BODY_BYTES="1000")
    assert int(batch["SENTIMENT_DEFAULT_TIMEOUT_MS"]) < 600_000
    assert batch["SENTIMENT_MAX_BODY_BYTES"] == "1000"
