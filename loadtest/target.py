"""Service under test: check that the host belongs to the caller, and read its loaded model."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from loadtest.config import KEY_VARIABLE
from loadtest.errors import ServiceUnreachableError, UnauthorizedHostError


@dataclass(frozen=True, slots=True)
class ReportedModel:
    """Loaded model that `GET /v1/model` reports."""

    name: str
    version: str


def require_authorized_host(host: str, owned: bool) -> None:
    """Accept a host that is this machine's loopback, or that the caller has confirmed as their own.

    Names other than `localhost` are not resolved: their address can change between the check and the load.

    Args:
        host: A base URL such as `http://127.0.0.1:8000`.
        owned: Whether `--i-own-this-host` was given.

    Raises:
        UnauthorizedHostError: The host is not accepted, or is not an http(s) URL.
    """
    parts = urlsplit(host)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UnauthorizedHostError(
            f"--host {host}: expected an http:// or https:// base URL, such as http://127.0.0.1:8000"
        )
    if not (owned or _is_loopback(parts.hostname)):
        raise UnauthorizedHostError(
            f"--host {host}: {parts.hostname} is not this machine, and a load test without the owner's "
            "consent is an attack; add --i-own-this-host if you may test it"
        )


def fetch_served_model(host: str, headers: Mapping[str, str], timeout_s: float = 5.0) -> ReportedModel:
    """Request the loaded model from the service, without any proxy and without following redirects.

    Raises:
        ServiceUnreachableError: The service does not answer 200 with a JSON object.
    """
    url = f"{host.rstrip('/')}/v1/model"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
    try:
        with opener.open(urllib.request.Request(url, headers=dict(headers)), timeout=timeout_s) as answer:
            body = json.load(answer)
    except urllib.error.HTTPError as error:
        error.close()
        raise ServiceUnreachableError(f"GET {url}: status {error.code}; {_next_step(error.code)}") from error
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise ServiceUnreachableError(
            f"GET {url}: {reason}; start the service with `make serve`, or set --host"
        ) from error
    return served_model_from(body)


def served_model_from(body: object) -> ReportedModel:
    """Parse the answer of `GET /v1/model`."""
    model = body if isinstance(body, dict) else {}
    return ReportedModel(name=str(model.get("name", "unnamed")), version=str(model.get("version", "unknown")))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Handler that follows no redirect, so that nothing, in particular no key, goes to an unnamed host."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def _next_step(status: int) -> str:
    if status in (401, 403):
        return f"set the environment variable {KEY_VARIABLE} to an API key of the service"
    if 300 <= status < 500:
        return "this seems to be another program; set --host to the service"
    return "wait until the service is ready"


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
