"""Tests of uploads through HAProxy to the replica: slow and aborted ones, ids, encodings."""

from __future__ import annotations

import gzip
import json
import socket
import time
from contextlib import ExitStack
from http.client import HTTPResponse
from urllib.parse import urlsplit

import httpx
import pytest

from tests.conftest import Service

pytestmark = pytest.mark.serve
BODY = json.dumps({"inputs": "I love this cream"}).encode()


def connected(service: Service) -> socket.socket:
    address = urlsplit(service.url)
    assert address.hostname is not None
    return socket.create_connection((address.hostname, address.port or 80), timeout=30)


def head(*, length: int, **headers: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    start = ["POST /v1/classify HTTP/1.1", "Host: service", "Content-Type: application/json"]
    return "\r\n".join([*start, f"Content-Length: {length}", *lines, "", ""]).encode()


def texts_run(service: Service) -> float:
    """Return the number of texts in the batches that the model has run, including abandoned ones."""
    lines = httpx.get(service.metrics, timeout=30).text.splitlines()
    counted = (line for line in lines if line.startswith("ray_sentiment_batch_items_sum{"))
    return sum(float(line.rpartition(" ")[2]) for line in counted)


def requests_by_status(service: Service) -> dict[str, float]:
    """Return the requests to /v1/classify that the service has counted, by status."""
    counts: dict[str, float] = {}
    for line in httpx.get(service.metrics, timeout=30).text.splitlines():
        if line.startswith("ray_sentiment_requests_total{") and 'route="/v1/classify"' in line:
            status = line.partition('status="')[2].partition('"')[0]
            counts[status] = counts.get(status, 0) + float(line.rpartition(" ")[2])
    return counts


def test_a_body_that_does_not_end_by_the_deadline_is_408(service: Service) -> None:
    with connected(service) as client:
        client.sendall(head(length=len(BODY), X_Request_Timeout_Ms="300", X_Request_ID="slow-1") + BODY[:9])
        with HTTPResponse(client, method="POST") as answer:
            answer.begin()
            problem = json.loads(answer.read())
    assert answer.status == problem["status"] == 408
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == problem["request_id"] == "slow-1"


def test_a_client_that_leaves_during_its_upload_is_counted_as_499(service: Service) -> None:
    before = requests_by_status(service)
    for _ in range(5):
        with connected(service) as client:
            client.sendall(head(length=len(BODY)) + BODY[:9])
            time.sleep(0.2)  # the request must reach the replica, and not only HAProxy, before it ends
    deadline = time.monotonic() + 60
    while (after := requests_by_status(service)).get("499", 0) < before.get("499", 0) + 5:
        assert time.monotonic() < deadline, after
        time.sleep(0.5)
    assert after.get("500", 0) == before.get("500", 0)


def test_the_work_of_300_clients_that_have_left_is_dropped(service: Service) -> None:
    texts = [f"word {number} and " * 12 for number in range(16)]
    body = json.dumps({"inputs": texts}).encode()
    before, run_before = requests_by_status(service), texts_run(service)
    with ExitStack() as stack:
        for _ in range(300):
            client = stack.enter_context(connected(service))
            client.sendall(head(length=len(body), X_Request_Priority="bulk") + body)
    asked_on = httpx.post(f"{service.url}/v1/classify", json={"inputs": "next"}, timeout=30)
    assert asked_on.status_code == 200
    deadline = time.monotonic() + 60
    while True:
        after = requests_by_status(service)
        ended = {status: after.get(status, 0) - before.get(status, 0) for status in after}
        if ended.get("499", 0) + ended.get("200", 0) > 300:
            break
        assert time.monotonic() < deadline, ended
        time.sleep(0.5)
    assert ended["499"] > 150, ended
    # Some texts ran before their clients disconnected. A running batch is not stopped.
    assert texts_run(service) - run_before < 16 * 300 / 2


@pytest.mark.parametrize("given", ["", "two words", "\xff\xfe", "né", "a" * 129, "fine-1"])
def test_a_request_has_one_id_in_header_and_body(service: Service, given: str) -> None:
    headers = [(b"x-request-id", given.encode("latin-1")), (b"content-type", b"application/json")]
    for content, status in ((BODY, 200), (b"{", 400)):
        answer = httpx.post(f"{service.url}/v1/classify", content=content, headers=headers, timeout=30)
        assert answer.status_code == status, answer.text
        [named] = answer.headers.get_list("x-request-id")
        assert named == answer.json()["request_id"] and named.isascii() and 0 < len(named) <= 128
        assert given != "fine-1" or named == given


def test_a_compressed_body_and_half_a_character_are_classified(service: Service) -> None:
    url, json_type = f"{service.url}/v1/classify", {"content-type": "application/json"}
    packed = httpx.post(
        url, content=gzip.compress(BODY), headers=json_type | {"content-encoding": "gzip"}, timeout=30
    )
    assert packed.json()["results"][0]["label"] == "POSITIVE"
    half = httpx.post(url, content=rb'{"inputs":"I love this cream \ud83d"}', headers=json_type, timeout=30)
    assert half.json()["results"][0]["label"] == "POSITIVE"
