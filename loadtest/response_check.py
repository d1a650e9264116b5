"""Validation of responses: besides the status, the body is compared with the API's contract."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

NO_VERSION = "not stated"


@dataclass(frozen=True, slots=True)
class ResponseCheck:
    """Outcome of one request.

    Attributes:
        failure: None for a correct answer; otherwise the fault, as a text that can be counted.
        version: The model version in `X-Model-Version`, or `NO_VERSION`.
        tokens: Number of classified tokens that the service reports; 0 for a failure.
    """

    failure: str | None
    version: str = NO_VERSION
    tokens: int = 0


def check_response(body: bytes, headers: Mapping[str, str], request_id: str, texts: int) -> ResponseCheck:
    """Check the body of a 200 from `POST /v1/classify`.

    Args:
        body: Body as received.
        headers: Headers as received, keys in lower case.
        request_id: The `X-Request-ID` that was sent; a different one in the body is the answer to another
            request.
        texts: Number of texts that were sent, 1 or more.
    """
    version = headers.get("x-model-version", NO_VERSION)
    try:
        answer = json.loads(body)
    except ValueError:
        return ResponseCheck("answer: not JSON", version)
    if not isinstance(answer, dict) or not isinstance(answer.get("results"), list):
        return ResponseCheck("answer: no list of results", version)
    results = answer["results"]
    if len(results) != texts:
        return ResponseCheck("answer: wrong number of results", version)
    if not all(_has_label(result) for result in results):
        return ResponseCheck("answer: no label or score", version)
    if answer.get("request_id") != request_id:
        return ResponseCheck("answer: another request's id", version)
    if version not in (NO_VERSION, _version(answer)):
        return ResponseCheck("answer: another version than its header's", version)
    return ResponseCheck(None, version, sum(_tokens(result) for result in results))


def check_refusal(status: int, headers: Mapping[str, str]) -> ResponseCheck:
    """Name the failure of any status other than 200; a 429 must have a Retry-After header."""
    silent = status == 429 and "retry-after" not in headers
    failure = f"HTTP {status}" + (" without Retry-After" if silent else "")
    return ResponseCheck(failure, headers.get("x-model-version", NO_VERSION))


def _has_label(result: object) -> bool:
    return (
        isinstance(result, dict)
        and isinstance(result.get("label"), str)
        and bool(result["label"])
        and isinstance(result.get("score"), int | float)
        and 0 <= result["score"] <= 1
    )


def _version(answer: Mapping[str, object]) -> object:
    model = answer.get("model")
    return model.get("version") if isinstance(model, dict) else None


def _tokens(result: Mapping[str, object]) -> int:
    tokens = result.get("tokens")
    return tokens if isinstance(tokens, int) else 0
