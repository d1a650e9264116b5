"""Tests of API keys over HTTP: all routes need one unless they are listed as open; a key file may change."""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from pydantic import SecretStr
from starlette.responses import Response

from serve_app.errors import KeyRateExceededError, QueueFullError, SettingsError, UnauthorizedError
from serve_app.http import load_shedding
from serve_app.http.auth import Gate
from serve_app.http.routes import build_api
from serve_app.metrics import Metrics
from serve_app.settings import Settings
from tests.contract.fake_replica import LIVE, STANDING, FakeReplica

JSON = {"inputs": "I love this cream"}
OPEN = {
    *(("GET", path) for path in ("/", "/health", "/ping", "/v2/health/live", "/v2/health/ready")),
    *(("HEAD", path) for path in ("/", "/health", "/ping", "/v2/health/live", "/v2/health/ready")),
}
"""Paths that answer without a key, in addition to the page's static files."""
ASSETS = ("/web/app.js", "/docs-assets/swagger-ui.css")


@asynccontextmanager
async def service(replica: FakeReplica | None = None, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of the service with these settings."""
    app = build_api(replica or FakeReplica(), Settings(**options), Metrics())
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        client.app = app  # type: ignore[attr-defined]
        yield client


def operations(client: httpx.AsyncClient) -> Iterator[tuple[str, str]]:
    """Yield (method, path) of every route of the application, with the fake replica's model name."""
    for route in client.app.routes:  # type: ignore[attr-defined]
        if isinstance(route, APIRoute):
            path = route.path.replace("{name}", "fake").replace("{version}", "7")
            yield from ((method, path) for method in route.methods)


async def test_every_route_needs_a_key_unless_it_is_named_open() -> None:
    async with service(api_keys=(SecretStr("key"),)) as client:
        found = set(operations(client))
        assert len(found) > 15 and found >= OPEN
        for method, path in sorted(found | {("GET", "/v1/nothing"), ("PUT", "/"), ("OPTIONS", "/ping")}):
            without = await client.request(method, path)
            wrong = await client.request(method, path, headers={"x-api-key": "kez"})
            told = f"{method} {path}"
            if (method, path) in OPEN:
                assert without.status_code == wrong.status_code == 200, told
                continue
            for answer in (without, wrong):
                assert answer.status_code == 401, told
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.headers["www-authenticate"]
            assert (await client.request(method, path, headers={"x-api-key": "key"})).status_code != 401, told


async def test_without_a_key_nothing_tells_of_the_model() -> None:
    secrets = {LIVE.name, LIVE.uri, LIVE.digest, STANDING.canary, *LIVE.labels}
    async with service(api_keys=(SecretStr("key"),)) as client:
        probes = {*operations(client), *(("GET", path) for path in ASSETS), ("GET", "/v2/models/other")}
        for method, path in sorted(probes):
            answer = await client.request(method, path.replace("fake", "guess"))
            told = answer.text + str(answer.headers) if path not in ASSETS else str(answer.headers)
            assert not [secret for secret in secrets if secret and secret in told], (method, path)
            assert "x-model-version" not in answer.headers


async def test_without_keys_every_route_is_open() -> None:
    async with service() as client:
        for method, path in operations(client):
            assert (await client.request(method, path)).status_code != 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Bearer"}, 401),
        ({"authorization": "Basic first"}, 401),
        ({"authorization": "Basic " + base64.b64encode(b"me:first").decode()}, 401),
        ({"x-api-key": "x"}, 401),
        ({"x-api-key": b"f\xefrst"}, 401),
        ({"authorization": "Bearer wrong", "x-api-key": "first"}, 401),
        ({"authorization": "Bearer first"}, 200),
        ({"authorization": "bearer second"}, 200),
        ({"x-api-key": "first"}, 200),
    ],
)
async def test_where_a_key_is_taken_from(headers: dict[str, str], status: int) -> None:
    async with service(api_keys=(SecretStr("first"), SecretStr("second"))) as client:
        answer = await client.post("/v1/classify", json=JSON, headers=headers)
        assert answer.status_code == status
        assert answer.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
@pytest.mark.parametrize(
    ("credentials", "status"),
    [("Basic " + base64.b64encode(b"any:key").decode(), 200), ("Basic !", 401), ("Basic /w==", 401)],
)
async def test_a_browser_is_asked_for_the_key_of_the_documentation(
    path: str, credentials: str, status: int
) -> None:
    async with service(api_keys=(SecretStr("key"),)) as client:
        assert (await client.get(path)).headers["www-authenticate"].startswith("Basic realm=")
        assert (await client.get(path, headers={"authorization": credentials})).status_code == status


async def test_room_is_asked_for_by_key_in_front_of_serve_as_by_the_routes() -> None:
    tenants: list[str] = []

    class Full(FakeReplica):
        def check_room(self, *, tenant: str = "", **_: Any) -> None:
            tenants.append(tenant)
            raise QueueFullError("the queue is full", 1.6)

    keys = {key: hashlib.sha256(key.encode()).hexdigest()[:8] for key in ("first", "second")}
    async with service(Full(), api_keys=tuple(SecretStr(key) for key in keys)) as client:
        front = httpx.ASGITransport(load_shedding.LoadSheddingMiddleware(Response(status_code=418)))
        async with httpx.AsyncClient(transport=front, base_url="http://service") as outside:
            for key in keys:
                for asking in (outside, client):
                    answer = await asking.post("/v1/classify", json=JSON, headers={"x-api-key": key})
                    assert answer.status_code == 429
    assert tenants == [key_id for key_id in keys.values() for _ in range(2)]


# --- keys from the environment


def test_keys_are_read_from_one_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTIMENT_API_KEYS", "key-a, key-b,")
    assert [key.get_secret_value() for key in Settings().api_keys] == ["key-a", "key-b"]
    assert "key-a" not in repr(Settings())


@pytest.mark.parametrize("value", ["", " ", ",", " , ,", "\t"])
def test_a_variable_that_is_set_but_blank_is_an_error(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    for variable in ("SENTIMENT_API_KEYS", "SENTIMENT_API_KEYS_FILE"):
        if "," in value and variable.endswith("FILE"):
            continue
        monkeypatch.setenv(variable, value)
        with pytest.raises(SettingsError, match=rf"{variable} is set but .*unset it"):
            Settings()
        monkeypatch.delenv(variable)


def test_a_key_that_no_header_can_carry_is_refused_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTIMENT_API_KEYS", "good-one,bad one")
    with pytest.raises(SettingsError, match="key 2 of 2") as caught:
        Settings()
    assert "bad one" not in str(caught.value) and "good-one" not in str(caught.value)


# --- keys from a file


class Clock:
    """Clock whose time the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def scope(key: str = "", path: str = "/v1/classify") -> dict[str, Any]:
    headers = [(b"x-api-key", key.encode())] if key else []
    return {"type": "http", "method": "POST", "path": path, "headers": headers}


def outcome(gate: Gate, key: str) -> str | None:
    """Return the ID of the key, or None if the key is refused."""
    try:
        return gate.identify(scope(key))
    except UnauthorizedError:
        return None


def mount(folder: Path, version: str, content: str | bytes) -> Path:
    """Put a file in place as the kubelet does with a Secret: write a new folder, then replace the symlink."""
    new = folder / f"..{version}"
    new.mkdir(parents=True)
    (new / "keys").write_bytes(content.encode() if isinstance(content, str) else content)
    (folder / "..next").symlink_to(new.name)
    (folder / "..next").replace(folder / "..data")
    file = folder / "keys"
    if not file.is_symlink():
        file.symlink_to("..data/keys")
    return file


def test_keys_of_a_mounted_secret_are_read_again_when_it_changes(tmp_path: Path) -> None:
    clock = Clock()
    file = mount(tmp_path / "m", "1", "# clients\n\nmobile: first\r\nunnamed\n")
    gate = Gate(Settings(api_keys=(SecretStr("fixed"),), api_keys_file=file), clock=clock)
    assert outcome(gate, "first") == "mobile"
    assert (unnamed := outcome(gate, "unnamed")) and len(unnamed) == 8
    assert outcome(gate, "second") is outcome(gate, "mobile") is outcome(gate, "#") is None

    mount(tmp_path / "m", "2", "mobile: first\nmobile: second\nweb third")
    assert outcome(gate, "second") is None, "within a second of the last check the file is left alone"
    clock.now += 1
    assert (outcome(gate, "second"), outcome(gate, "first")) == ("mobile", "mobile")
    assert outcome(gate, "third") == "web"
    assert outcome(gate, "unnamed") is None, "a key that is gone is revoked"
    assert outcome(gate, "fixed"), "a key of the variable stays"


def test_ids_are_the_same_on_every_replica(tmp_path: Path) -> None:
    file = mount(tmp_path / "m", "1", "unnamed\n")
    gates = [Gate(Settings(api_keys=(SecretStr("fixed"),), api_keys_file=file)) for _ in range(2)]
    for key in ("fixed", "unnamed"):
        assert outcome(gates[0], key) == outcome(gates[1], key) is not None
        assert key not in str(outcome(gates[0], key))


BROKEN = {
    "empty": "",
    "blank": "\n  \n# mobile: first\n",
    "three words": "my first key\n",
    "no space": "mobile:first\n",
    "no key": "mobile:\n",
    "a name that is none": "möbile: first\n",
    "not ASCII": "mobile: fïrst\n",
    "not text": b"\xff\xfe\x00",
    "one key, two names": "mobile: first\nweb: first\n",
    "too large": "first\n" * 200_000,
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_keeps_the_earlier_keys_and_is_logged_once(
    tmp_path: Path, content: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    file = mount(tmp_path / "m", "1", "mobile: s3cret\n")
    gate = Gate(Settings(api_keys_file=file), clock=clock)
    mount(tmp_path / "m", "2", content)
    with caplog.at_level(logging.INFO, logger="ray.serve"):
        for _ in range(3):
            clock.now += 1
            assert outcome(gate, "s3cret") == "mobile"
            assert outcome(gate, "other") is None
    [record] = caplog.records
    assert record.levelname == "ERROR" and str(file) in record.__dict__["reason"]
    mount(tmp_path / "m", "3", "mobile: other\n")
    clock.now += 1
    assert (outcome(gate, "other"), outcome(gate, "s3cret")) == ("mobile", None)


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_an_error_at_the_start(tmp_path: Path, content: str | bytes) -> None:
    file = mount(tmp_path / "m", "1", content)
    with pytest.raises(SettingsError, match="SENTIMENT_API_KEYS_FILE") as caught:
        Gate(Settings(api_keys_file=file))
    assert "first" not in str(caught.value), "a line's content may be a key"


def test_a_file_that_is_gone_keeps_the_earlier_keys(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    file = mount(tmp_path / "m", "1", "mobile: first\n")
    gate = Gate(Settings(api_keys_file=file), clock=clock)
    file.unlink()
    clock.now += 1
    assert outcome(gate, "first") == "mobile" and outcome(gate, "") is None
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    file.write_text("web: second\n")
    clock.now += 1
    assert (outcome(gate, "second"), outcome(gate, "first")) == ("web", None)


@pytest.mark.parametrize("file", [Path("/nonexistent/keys"), Path("/")])
def test_a_file_that_cannot_be_read_is_an_error_at_the_start(file: Path) -> None:
    with pytest.raises(SettingsError, match=str(file)):
        Gate(Settings(api_keys_file=file))


# --- rate limit of a key


def test_a_key_may_ask_at_its_rate_and_no_faster() -> None:
    clock = Clock()
    settings = Settings(api_keys=(SecretStr("a"), SecretStr("b")), key_requests_per_minute=60)
    gate = Gate(settings, clock=clock)

    def admitted(key: str, seconds: int, per_second: int) -> int:
        count = 0
        for _ in range(seconds * per_second):
            clock.now += 1 / per_second
            try:
                gate.admit(scope(key))
                count += 1
            except KeyRateExceededError as error:
                assert 0 < error.retry_after_s <= 1
        return count

    assert admitted("a", seconds=60, per_second=1) == 60, "at its rate all are answered"
    assert 60 <= admitted("a", seconds=60, per_second=16) <= 60 + 10 + 1, "and 10 seconds' worth at once"
    assert admitted("b", seconds=60, per_second=1) == 60, "another key has its own"
    clock.now += 3600
    assert admitted("a", seconds=1, per_second=64) <= 10 + 2, "an hour of silence is not saved up"


def test_the_wait_it_names_is_enough_and_no_longer_than_needed() -> None:
    clock = Clock()
    gate = Gate(Settings(api_keys=(SecretStr("a"),), key_requests_per_minute=3), clock=clock)
    gate.admit(scope("a"))
    for part, admitted in ((0.9, False), (0.1, True)):
        with pytest.raises(KeyRateExceededError) as caught:
            gate.admit(scope("a"))
        wait_s = caught.value.retry_after_s
        clock.now += wait_s * part if not admitted else wait_s + 1e-6
    gate.admit(scope("a"))


async def test_a_key_over_its_rate_is_answered_429_with_retry_after() -> None:
    replica = FakeReplica()
    async with service(replica, api_keys=(SecretStr("a"),), key_requests_per_minute=2) as client:
        headers = {"x-api-key": "a"}
        assert (await client.post("/v1/classify", json=JSON, headers=headers)).status_code == 200
        refused = await client.post("/v1/classify", json=JSON, headers=headers)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "30")
        assert refused.json()["type"].endswith("key-rate-exceeded")
        assert 29 < refused.json()["retry_after_s"] <= 30
        assert (await client.get("/ping", headers=headers)).status_code == 200, "health has no rate"
    assert len(replica.asked) == 1


async def test_where_no_keys_are_set_there_is_no_rate() -> None:
    async with service(key_requests_per_minute=1) as client:
        answers = [await client.post("/v1/classify", json=JSON) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
