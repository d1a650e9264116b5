"""Lambda function that probes the service with labelled texts, and measures correctness and latency.

Event: an EventBridge schedule. Metrics with the dimension `service`: `probe_ok` (1 or 0), and for every
response `probe_latency_ms`. A service that is down is a measurement, not an error of the function. A second
delivery of an event is a second measurement in the same minute.

Environment: PROBE_URL (URL of the service), SERVICE (the dimension; "sentiment"), PROBE_TEXTS (JSON, text →
label), PROBE_TIMEOUT_MS (of one request; 2000), PROBE_API_KEY_SECRET (ARN in Secrets Manager; if not set, no
key is sent).
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cluster.aws.functions.runtime import (
    Event,
    LambdaContext,
    SettingError,
    client,
    log,
    put_metrics,
    setting,
    time_of,
)

_TEXTS = '{"I love this cream": "POSITIVE", "It ruined my skin": "NEGATIVE"}'
_MOST_BYTES = 1 << 20
_MAX_ERROR_CHARS = 200


@dataclass(frozen=True, slots=True)
class Probe:
    """Result of one request.

    Attributes:
        ok: Whether every text got its label, and the response names the version that answered.
        latency_ms: Time until the response was complete; None without a response.
        version: Version of the model that answered; None without a valid response.
        reason: Reason why the probe failed; empty if it is ok.
    """

    ok: bool
    latency_ms: float | None
    version: str | None
    reason: str = ""


def handler(event: Event, context: LambdaContext) -> dict[str, Any]:
    """Send one request, publish the metrics, and return the result."""
    at = time_of(event)
    service = setting("SERVICE", "sentiment")
    try:
        texts = {str(text): str(label) for text, label in json.loads(setting("PROBE_TEXTS", _TEXTS)).items()}
        timeout_s = float(setting("PROBE_TIMEOUT_MS", "2000")) / 1000
    except (ValueError, AttributeError) as error:
        raise SettingError(
            f"expected JSON with labels by text in PROBE_TEXTS, and a number in PROBE_TIMEOUT_MS: {error}"
        ) from error
    found = ask(setting("PROBE_URL"), texts, timeout_s=timeout_s, key=_key(context))
    values = {"probe_ok": (float(found.ok), "None")}
    if found.latency_ms is not None:
        values["probe_latency_ms"] = (found.latency_ms, "Milliseconds")
    put_metrics(context, values, dimensions={"service": service}, at=at)
    log("probed", context, service=service, **asdict(found))
    return asdict(found)


def ask(url: str, texts: Mapping[str, str], *, timeout_s: float, key: str | None = None) -> Probe:
    """Send all texts in one request and check the response.

    Args:
        url: URL of the service, without a path.
        texts: Texts with their expected labels.
        timeout_s: Timeout of the connection, and of each read.
        key: API key of the service, or None.
    """
    request = urllib.request.Request(
        f"{url.rstrip('/')}/v1/classify",
        data=json.dumps({"inputs": list(texts)}).encode(),
        headers={"Content-Type": "application/json", **({"X-API-Key": key} if key else {})},
    )
    began = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            content, header = answer.read(_MOST_BYTES), answer.headers.get("X-Model-Version")
    except urllib.error.HTTPError as error:
        with error:
            body = error.read(_MAX_ERROR_CHARS).decode(errors="replace")
        return Probe(False, _ms_since(began), None, f"responded with status {error.code}: {body}")
    except (OSError, http.client.HTTPException) as error:
        return Probe(False, None, None, f"no answer: {error}")
    latency_ms = _ms_since(began)
    try:
        document = json.loads(content)
        version = str(document["model"]["version"])
        labels = [result["label"] for result in document["results"]]
    except (ValueError, LookupError, TypeError) as error:
        return Probe(False, latency_ms, header, f"unexpected response of POST /v1/classify: {error!r}")
    if labels != list(texts.values()):
        return Probe(False, latency_ms, version, f"got the labels {labels}, expected {list(texts.values())}")
    if header != version:
        return Probe(
            False,
            latency_ms,
            version,
            f"X-Model-Version is {header}, but the version in the body is {version}",
        )
    return Probe(True, latency_ms, version)


def _ms_since(began: float) -> float:
    return round(1000 * (time.monotonic() - began), 3)


def _key(context: LambdaContext) -> str | None:
    """Return the API key, or None if it is not configured."""
    secret = setting("PROBE_API_KEY_SECRET", "")
    if not secret:
        return None
    return str(client("secretsmanager", context).get_secret_value(SecretId=secret)["SecretString"])
