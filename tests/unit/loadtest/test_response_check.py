"""Tests of the check of single responses: valid answers, contract violations, and other statuses."""

import json

import pytest

from loadtest.response_check import NO_VERSION, check_refusal, check_response

VERSION = "1.2.0"
HEADERS = {"x-model-version": VERSION}
RESULT = {"label": "POSITIVE", "score": 0.9, "scores": {"POSITIVE": 0.9}, "tokens": 12, "truncated": False}


def body(*results: object, request_id: str = "mine", version: str = VERSION) -> bytes:
    said = {"request_id": request_id, "model": {"version": version}, "results": list(results)}
    return json.dumps(said).encode()


def test_a_right_answer_tells_its_version_and_tokens() -> None:
    answer = check_response(body(RESULT, RESULT), HEADERS, "mine", texts=2)
    assert (answer.failure, answer.version, answer.tokens) == (None, "1.2.0", 24)


def test_an_answer_without_a_version_is_counted_as_such() -> None:
    assert check_response(body(RESULT), {}, "mine", texts=1).version == NO_VERSION


@pytest.mark.parametrize(
    ("received", "failure"),
    [
        (b"<html>", "answer: not JSON"),
        (b"\xff\xfe", "answer: not JSON"),
        (b"[]", "answer: no list of results"),
        (b'{"results": 1}', "answer: no list of results"),
        (body(), "answer: wrong number of results"),
        (body(RESULT, RESULT), "answer: wrong number of results"),
        (body("POSITIVE"), "answer: no label or score"),
        (body({**RESULT, "label": ""}), "answer: no label or score"),
        (body({**RESULT, "score": 1.5}), "answer: no label or score"),
        (body({**RESULT, "score": float("nan")}), "answer: no label or score"),
        (body({**RESULT, "score": "0.9"}), "answer: no label or score"),
        (body(RESULT, request_id="of another"), "answer: another request's id"),
        (body(RESULT, version="1.3.0"), "answer: another version than its header's"),
    ],
)
def test_a_200_that_breaks_the_contract_is_a_failure(received: bytes, failure: str) -> None:
    answer = check_response(received, HEADERS, "mine", texts=1)
    assert (answer.failure, answer.version, answer.tokens) == (failure, "1.2.0", 0)


@pytest.mark.parametrize(
    ("status", "headers", "failure"),
    [
        (429, {"retry-after": "1"}, "HTTP 429"),
        (429, {}, "HTTP 429 without Retry-After"),
        (503, {}, "HTTP 503"),
        (307, {"location": "http://192.0.2.1/"}, "HTTP 307"),
    ],
)
def test_any_other_status_is_a_failure_by_its_number(
    status: int, headers: dict[str, str], failure: str
) -> None:
    assert check_refusal(status, headers).failure == failure


def test_a_failure_tells_the_version_that_failed() -> None:
    assert check_refusal(500, HEADERS).version == "1.2.0"
    assert check_refusal(500, {}).version == NO_VERSION
