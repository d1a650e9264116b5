"""The probe: asks the running service what it must know: is the answer right, and how long did it take?

Event: an EventBridge schedule. Metrics, by `service`: `probe_ok` (1, or 0), and with every answer
`probe_latency_ms`. That the service is down is a measurement, not an error of the function; a second delivery
of an event is a second measurement of the same minute, and changes no minimum and no maximum.

Environment: PROBE_URL (the service), SERVICE (the dimension; "sentiment"), PROBE_TEXTS (JSON, text → label),
PROBE_TIMEOUT_MS (of one request; 2000), PROBE_API_KEY_SECRET (a Secrets Manager ARN; none: no key is sent).
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
    Context,
    Event,
    SettingInvalid,
    client,
    log,
    put_metrics,
    setting,
    time_of,
)

_TEXTS = '{"I love this cream": "POSITIVE", "It ruined my skin": "NEGATIVE"}'
_MOST_BYTES = 1 << 20
_SAID_CHARS = 200


@dataclass(frozen=True, slots=True)
class Probe:
    """What one request found.

    Attributes:
        ok: whether every text got its label from a service that says which version answered.
        latency_ms: until the whole answer was there; None if none came.
        version: of the model that answered; None if none did.
        reason: why it is not ok; empty if it is.
    """

    ok: bool
    latency_ms: float | None
    version: str | None
    reason: str = ""


def handler(event: Event, context: Context) -> dict[str, Any]:
    """Ask once, send the metrics, and say what was found."""
    at = time_of(event)
    service = setting("SERVICE", "sentiment")
    try:
        texts = {str(text): str(label) for text, label in json.loads(setting("PROBE_TEXTS", _TEXTS)).items()}
        timeout_s = float(setting("PROBE_TIMEOUT_MS", "2000")) / 1000
    except (ValueError, AttributeError) as error:
        raise SettingInvalid(
            f"PROBE_TEXTS is JSON, text to label; PROBE_TIMEOUT_MS a number: {error}"
        ) from error
    found = ask(setting("PROBE_URL"), texts, timeout_s=timeout_s, key=_key(context))
    values = {"probe_ok": (float(found.ok), "None")}
    if found.latency_ms is not None:
        values["probe_latency_ms"] = (found.latency_ms, "Milliseconds")
    put_metrics(context, values, dimensions={"service": service}, at=at)
    log("probed", context, service=service, **asdict(found))
    return asdict(found)


def ask(url: str, texts: Mapping[str, str], *, timeout_s: float, key: str | None = None) -> Probe:
    """Send every text in one request and look at the answer.

    Args:
        url: of the service, without a path.
        texts: each with the label that it must get.
        timeout_s: of the connection, and of each read.
        key: of the service's API, if it asks for one.
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
            said = error.read(_SAID_CHARS).decode(errors="replace")
        return Probe(False, _ms_since(began), None, f"answered {error.code}: {said}")
    except (OSError, http.client.HTTPException) as error:
        return Probe(False, None, None, f"no answer: {error}")
    latency_ms = _ms_since(began)
    try:
        document = json.loads(content)
        version = str(document["model"]["version"])
        labels = [result["label"] for result in document["results"]]
    except (ValueError, LookupError, TypeError) as error:
        return Probe(False, latency_ms, header, f"not the answer of POST /v1/classify: {error!r}")
    if labels != list(texts.values()):
        return Probe(False, latency_ms, version, f"answered {labels}, not {list(texts.values())}")
    if header != version:
        return Probe(
            False, latency_ms, version, f"X-Model-Version is {header}, the answer's version {version}"
        )
    return Probe(True, latency_ms, version)


def _ms_since(began: float) -> float:
    return round(1000 * (time.monotonic() - began), 3)


def _key(context: Context) -> str | None:
    """The API key; None where the service needs none."""
    secret = setting("PROBE_API_KEY_SECRET", "")
    if not secret:
        return None
    return str(client("secretsmanager", context).get_secret_value(SecretId=secret)["SecretString"])
