"""Tests of models from the Hugging Face Hub: pinned commit, no pickles, and errors with the next step."""

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from huggingface_hub import constants

from serve_app.errors import BundleNotFoundError, InvalidBundleError, StoreUnavailableError
from serve_app.model.bundle import write_manifest
from serve_app.model.resolver import fetch

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NOWHERE = "http://127.0.0.1:9"
CONFIG = json.dumps({"architectures": ["BertForSequenceClassification"]}).encode()


class FakeHub(ThreadingHTTPServer):
    """Fake of the Hub's HTTP interface for downloads: one repository, `org/tiny`, at one commit."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {
            "config.json": CONFIG,
            "model.safetensors": b"weights",
            "pytorch_model.bin": b"pickle",
            "modeling.py": b"code",
        }
        self.sent: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        name = path.removeprefix(f"/org/tiny/resolve/{COMMIT}/")
        if path in ("/api/models/org/tiny", "/api/models/org/tiny/revision/main"):
            self._answer(json.dumps({"id": "org/tiny", "sha": COMMIT, "siblings": []}).encode())
        elif path == f"/api/models/org/tiny/tree/{COMMIT}":
            entries = [
                {"type": "file", "path": name, "size": len(content), "oid": _oid(content)}
                for name, content in self.server.files.items()
            ]
            self._answer(json.dumps(entries).encode())
        elif name in self.server.files:
            self._answer(self.server.files[name])
            if self.command == "GET":
                self.server.sent.append(name)
        else:
            missing = "RepoNotFound" if "org/tiny" not in path else "RevisionNotFound"
            self._answer(b"", status=404, headers={"X-Error-Code": missing})

    def _answer(self, body: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        usual = {"Content-Length": str(len(body)), "ETag": f'"{_oid(body)}"', "X-Repo-Commit": COMMIT}
        for name, value in (usual | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def point_at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what HF_ENDPOINT sets when it is defined before the import of the package."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    server = FakeHub()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    point_at(server.url, monkeypatch)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("uri", ["hf:org/tiny", "hf:org/tiny@main", f"hf:org/tiny@{COMMIT}", "hf://org/tiny"])
def test_the_commit_is_the_version_and_no_code_is_fetched(hub: FakeHub, tmp_path: Path, uri: str) -> None:
    found = fetch(uri, cache_dir=tmp_path)

    assert (found.manifest.name, found.manifest.version) == ("tiny", COMMIT)
    assert (found.folder / "model.safetensors").read_bytes() == b"weights"
    assert sorted(hub.sent) == ["config.json", "model.safetensors"]


def test_what_is_in_the_cache_serves_while_the_hub_is_away(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fetch("hf:org/tiny", cache_dir=tmp_path)
    point_at(NOWHERE, monkeypatch)

    assert fetch("hf:org/tiny", cache_dir=tmp_path) == before


def test_a_bundle_on_the_hub_is_verified_behind_the_cache_s_links(hub: FakeHub, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for name in ("config.json", "model.safetensors"):
        (bundle / name).write_bytes(hub.files[name])
    manifest = write_manifest(bundle, name="named", version="7", labels=["A", "B"])
    hub.files["bundle.json"] = (bundle / "bundle.json").read_bytes()

    assert fetch("hf:org/tiny", cache_dir=tmp_path / "cache").manifest == manifest


@pytest.mark.parametrize("uri", ["hf:org/other", "hf:org/tiny@no-such-tag"])
def test_what_is_not_on_the_hub_is_not_found(hub: FakeHub, tmp_path: Path, uri: str) -> None:
    with pytest.raises(BundleNotFoundError, match="check the id and the revision"):
        fetch(uri, cache_dir=tmp_path)


@pytest.mark.parametrize("uri", ["hf:", "hf:a/b/c", "hf:../etc"])
def test_an_id_that_is_none_is_invalid(hub: FakeHub, tmp_path: Path, uri: str) -> None:
    with pytest.raises(InvalidBundleError, match="hf:organisation/model"):
        fetch(uri, cache_dir=tmp_path)


def test_a_hub_that_is_away_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point_at(NOWHERE, monkeypatch)

    with pytest.raises(StoreUnavailableError, match="file:///path/to/model"):
        fetch("hf:org/tiny", cache_dir=tmp_path)


def test_offline_mode_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    with pytest.raises(StoreUnavailableError, match="file:///path/to/model"):
        fetch("hf:org/tiny", cache_dir=tmp_path)
