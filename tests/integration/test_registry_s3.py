"""Tests of the registry in S3: nothing incomplete is registered or served, and one of racing writers wins.

S3 is moto's, over HTTP; the middleware in front of it holds, refuses or changes requests, or loses an answer.
"""

import functools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event, Lock
from typing import Any

import boto3
import httpx
import pytest
from mlflow.tracking import MlflowClient

from serve_app.dev_server.launcher import free_port
from serve_app.errors import BundleError, ChecksumMismatchError, InvalidBundleError
from serve_app.model.bundle import MANIFEST, BaseRef, read_manifest, write_manifest
from serve_app.model.checksums import sha256_files
from serve_app.model.resolver import fetch
from tests.integration.aws import PATIENCE_S, forget, listening, moto, point_at
from tests.integration.models import save
from tests.integration.registries import BUILTIN, Meeting, together, write_run
from train.errors import (
    AliasConflictError,
    DamagedArtifactError,
    RegistryRequestError,
    RegistryUnavailableError,
)
from train.registry import Registry, open_registry
from train.registry.artifacts import key_of
from train.registry.mlflow_backend import Tracking
from train.storage.base import Place, open_place

ROOT = Path(__file__).parents[2]
BUCKET = "models"
ARTIFACTS = f"s3://{BUCKET}/registry"
WRITERS = 8

REGISTER = """
import sys
from pathlib import Path
from train.registry import open_registry
open_registry(sys.argv[1], sys.argv[2]).register(Path(sys.argv[3]))
"""


class Wire:
    """WSGI middleware in front of moto; every fault applies to the PUT of a file with a given name."""

    def __init__(self, app: Any) -> None:
        self._app, self._lock = app, Lock()
        self.forget()

    def forget(self) -> None:
        """Remove all faults and forget the received files."""
        self.puts: list[str] = []
        self.hold: str | None = None
        """File held before it arrives, until `go_on`; `held` is set when it is held."""
        self.held, self.go_on = Event(), Event()
        self.refuse: str | None = None
        self.lose_answers: list[str] = []
        """Files that arrive, but whose answers are lost, once each."""
        self.after: dict[str, Callable[[], object]] = {}
        """Functions that are called when the file has arrived."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "PUT":
            return list(self._app(environ, start_response))
        name = environ["PATH_INFO"].rpartition("/")[2]
        if name == self.hold:
            self.held.set()
            if not self.go_on.wait(PATIENCE_S):
                raise ConnectionAbortedError("held for too long")
        if name == self.refuse:
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"]
        body = list(self._app(environ, start_response))
        with self._lock:
            self.puts.append(name)
            lost = name in self.lose_answers
            if lost:
                self.lose_answers.remove(name)
            follow = self.after.pop(name, None)
        if follow is not None:
            follow()
        if lost:
            raise RuntimeError("the answer is lost here")  # the client receives a 500 and sends again
        return body


@pytest.fixture(scope="module")
def endpoint() -> Iterator[tuple[str, Wire]]:
    """Yield an S3 at a free port."""
    wire = Wire(moto())
    with listening(wire) as url:
        yield url, wire


@pytest.fixture
def wire(endpoint: tuple[str, Wire], monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """Yield an empty S3 without faults, which boto3 finds through its environment."""
    url, wire = endpoint
    point_at(url, monkeypatch)
    client().create_bucket(Bucket=BUCKET)
    wire.forget()
    yield wire
    wire.go_on.set()
    wire.forget()
    forget(url)


@functools.cache
def _client(url: str) -> Any:
    return boto3.session.Session().client("s3", endpoint_url=url)


def client() -> Any:
    return _client(os.environ["AWS_ENDPOINT_URL"])


def upload(folder: Path, prefix: str) -> None:
    for path in folder.iterdir():
        client().upload_file(str(path), BUCKET, f"{prefix}/{path.name}")


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return one database for all tests, since a new one takes seconds; each test has its own model."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/registry.db"


@pytest.fixture
def registry(wire: Wire, uri: str) -> Registry:
    return open_registry(uri, ARTIFACTS)


@pytest.fixture
def place(wire: Wire) -> Place:
    return open_place(ARTIFACTS)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Return a model name that no other test uses."""
    return re.sub(r"[^a-z0-9.]+", "-", request.node.name.lower()).strip("-")


def address(run: Path) -> str:
    """Return the address of the copy of a run's bundle."""
    return f"{ARTIFACTS}/{key_of(read_manifest(run / 'bundle'))}"


def whole_weights(folder: Path, name: str) -> Path:
    """Create a run whose bundle would pass as a plain model if its manifest were missing."""
    save(folder / "bundle")
    write_manifest(folder / "bundle", name=name, version="1", labels=["a", "b", "c"], temperature=2.0)
    return folder


def test_a_version_and_its_aliases_live_in_s3(
    registry: Registry, wire: Wire, name: str, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run", name=name)

    version = registry.register(run)
    registry.set_alias(name, "champion", "1")

    assert version.uri == address(run)
    files = sorted(read_manifest(BUILTIN).files)
    assert wire.puts[: len(files) + 2] == [MANIFEST, *files, MANIFEST], "a mark first, the manifest last"
    assert fetch(version.uri, cache_dir=tmp_path / "cache").manifest.digest == version.digest
    assert (
        registry.export(f"{name}@champion", tmp_path / "out").digest == read_manifest(tmp_path / "out").digest
    )
    assert [file.rpartition("/")[2] for file in registry.files(version)] == [
        "evaluation",
        "learning_curves.png",
        "report.json",
    ]
    assert all(file.startswith(f"{ARTIFACTS}/runs/{name}/") for file in registry.files(version))


def test_an_upload_killed_half_way_is_neither_registered_nor_served(
    registry: Registry, wire: Wire, uri: str, name: str, tmp_path: Path
) -> None:
    run = whole_weights(tmp_path / "run", name)
    wire.hold = "tokenizer.json"  # configuration and weights have arrived by then

    with subprocess.Popen([sys.executable, "-c", REGISTER, uri, ARTIFACTS, str(run)], cwd=ROOT) as writer:
        held = wire.held.wait(PATIENCE_S)
        writer.kill()
    assert held and {"config.json", "model.safetensors"} <= set(wire.puts)

    assert not registry.versions(name)
    with pytest.raises(InvalidBundleError, match=r"bundle\.json"):
        fetch(address(run), cache_dir=tmp_path / "cache")

    wire.hold = None
    wire.go_on.set()
    version = registry.register(run)
    assert fetch(version.uri, cache_dir=tmp_path / "cache").manifest.temperature == 2.0


@pytest.mark.parametrize("file", ["model.safetensors", MANIFEST])
def test_a_file_that_cannot_be_sent_is_named_and_nothing_is_registered(
    registry: Registry, wire: Wire, name: str, tmp_path: Path, file: str
) -> None:
    run = whole_weights(tmp_path / "run", name)
    if file == MANIFEST:  # the mark that is sent first must pass
        wire.after[MANIFEST] = lambda: setattr(wire, "refuse", MANIFEST)
    else:
        wire.refuse = file

    with pytest.raises(RegistryUnavailableError, match=rf"{file}.*AccessDenied") as failed:
        registry.register(run)

    assert "s3://" in str(failed.value)
    assert not registry.versions(name)
    with pytest.raises(BundleError):
        fetch(address(run), cache_dir=tmp_path / "cache")
    wire.refuse = None
    assert registry.register(run).number == 1


def test_bytes_changed_on_the_way_are_noticed_before_anything_is_registered(
    registry: Registry, wire: Wire, name: str, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run", name=name)
    after_the_manifest = partial(spoil, address(run))
    wire.after[MANIFEST] = lambda: wire.after.update({MANIFEST: after_the_manifest})  # the mark comes first

    with pytest.raises(DamagedArtifactError, match=r"adapter_model\.safetensors.* nothing was registered"):
        registry.register(run)

    assert not registry.versions(name)
    with pytest.raises(ChecksumMismatchError, match=r"adapter_model\.safetensors"):
        fetch(address(run), cache_dir=tmp_path / "cache")
    assert registry.register(run).number == 1


def test_a_version_damaged_since_is_not_served_and_registering_again_puts_it_right(
    registry: Registry, name: str, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run", name=name)
    version = registry.register(run)
    spoil(version.uri)

    with pytest.raises(ChecksumMismatchError, match=r"adapter_model\.safetensors"):
        fetch(version.uri, cache_dir=tmp_path / "cache")
    with pytest.raises(DamagedArtifactError, match=r"adapter_model\.safetensors"):
        registry.export(str(version), tmp_path / "out")

    assert registry.register(run) == version
    assert fetch(version.uri, cache_dir=tmp_path / "cache").manifest.digest == version.digest


def test_an_adapter_on_a_folder_of_this_machine_needs_a_base_that_others_reach(
    registry: Registry, wire: Wire, name: str, tmp_path: Path
) -> None:
    base = save(tmp_path / "base")
    adapter = write_run(tmp_path / "run", name=name) / "bundle"
    pins = sha256_files(base, ["config.json", "model.safetensors"])
    for path in (str(base), base.as_uri()):
        write_manifest(
            adapter, name=name, version="1", labels=["N", "P"], base=BaseRef(uri=path, sha256=pins)
        )
        with pytest.raises(RegistryRequestError, match=r"a folder of this machine.*--base"):
            registry.register(adapter)
    assert not wire.puts

    upload(base, "base")
    version = registry.register(adapter, base=f"s3://{BUCKET}/base")

    found = fetch(version.uri, cache_dir=tmp_path / "cache")
    assert found.base_folder is not None and found.manifest.base is not None
    assert found.manifest.base.uri == f"s3://{BUCKET}/base"


def test_of_many_who_move_an_alias_at_once_one_wins_and_each_other_is_told(
    registry: Registry, place: Place, uri: str, name: str, tmp_path: Path
) -> None:
    numbers = [str(number) for number in range(WRITERS + 1)]
    for number in numbers:
        registry.register(write_run(tmp_path / number, name=name, version=number))
    registry.set_alias(name, "champion", "0")
    tracking = Tracking(uri, place.uri("runs"))
    racing = Registry(tracking, Meeting(place, WRITERS), now=lambda: datetime.now(UTC))

    answers = together(
        [
            lambda version=version: racing.set_alias(name, "champion", version, expect="0")
            for version in numbers[1:]
        ]
    )

    told = [answer for answer in answers if isinstance(answer, AliasConflictError)]
    [won] = [answer for answer in answers if answer not in told]
    assert len(told) == WRITERS - 1
    assert all(f"moved {name}@champion first, to {won.version} since" in str(loser) for loser in told)
    assert [move.version for move in registry.history(name, "champion")] == ["0", won.version]
    assert registry.get(f"{name}@champion").version == won.version
    shown = MlflowClient(tracking_uri=uri, registry_uri=uri).get_registered_model(name).aliases
    assert shown == {"champion": int(won.version) + 1, "previous": 1}


def test_a_winner_whose_answer_is_lost_knows_that_it_won(
    registry: Registry, wire: Wire, name: str, tmp_path: Path
) -> None:
    for number in ("1", "2"):
        registry.register(write_run(tmp_path / number, name=name, version=number))
    registry.set_alias(name, "champion", "1")
    wire.puts.clear()
    wire.lose_answers = ["champion.json"]

    moved = registry.set_alias(name, "champion", "2", expect="1")

    assert not wire.lose_answers and wire.puts == ["champion.json"] * 2, "botocore sent it twice"
    assert (moved.sequence, moved.version) == (2, "2")
    assert [move.version for move in registry.history(name, "champion")] == ["1", "2"]


def test_no_count_of_any_thread_is_lost(place: Place) -> None:
    def count_up(thread: int) -> None:
        done = 0
        while done < 5:
            stored = place.read("count")
            count = int(stored.content.split()[0]) if stored else 0
            mine = f"{count + 1} {thread} {done}".encode()
            done += place.swap("count", mine, tag=stored.tag if stored else None)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count_up, range(4)))

    stored = place.read("count")
    assert stored is not None and stored.content.startswith(b"20 ")


def test_a_record_removed_meanwhile_is_not_written_over(place: Place) -> None:
    place.swap("record", b"1", tag=None)
    stored = place.read("record")
    assert stored is not None
    client().delete_object(Bucket=BUCKET, Key="registry/record")

    assert not place.swap("record", b"2", tag=stored.tag)


def test_a_bucket_that_is_not_there_is_said(wire: Wire, uri: str, name: str, tmp_path: Path) -> None:
    registry = open_registry(uri, "s3://nowhere/registry")

    with pytest.raises(
        RegistryUnavailableError, match=r"s3://nowhere/registry.*NoSuchBucket.*create the bucket"
    ):
        registry.register(write_run(tmp_path / "run", name=name))


def test_an_endpoint_that_does_not_answer(
    wire: Wire, uri: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "run", name=name)
    with monkeypatch.context() as broken:
        point_at(f"http://127.0.0.1:{free_port()}", broken)
        registry = open_registry(uri, ARTIFACTS)
        broken.setattr("time.sleep", lambda _: None)  # botocore's pauses between its attempts
        with pytest.raises(RegistryUnavailableError, match="check the network and AWS_ENDPOINT_URL"):
            registry.register(run)


@pytest.fixture
def server(wire: Wire, tmp_path: Path) -> Iterator[str]:
    """Run MLflow's own tracking server, as a team does; yield its address."""
    port = free_port()
    log = (tmp_path / "server.log").open("w")
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db", "--workers", "1"]
    command += ["--default-artifact-root", f"{ARTIFACTS}/runs"]
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True
    ) as running:
        try:
            until_healthy(f"http://127.0.0.1:{port}/health", running, tmp_path / "server.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(running.pid, signal.SIGTERM)
    log.close()


def test_a_tracking_server_with_artifacts_in_s3(
    server: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = open_registry(server, ARTIFACTS)
    run = write_run(tmp_path / "run", name=name)

    version = registry.register(run)
    registry.register(run, version="2", parent=str(version))
    registry.set_alias(name, "champion", "1")
    registry.set_alias(name, "champion", "2", expect="1")

    assert registry.register(run) == registry.get(f"{name}@previous")
    found = registry.get(f"{name}@champion")
    assert (str(found.parent), found.metrics["training_wall_s"]) == (f"{name}/1", 12.5)
    assert registry.parameters(found)["data.0.passes"] == "2.0"
    assert fetch(found.uri, cache_dir=tmp_path / "cache").manifest.digest == found.digest
    client_of_server = MlflowClient(tracking_uri=server, registry_uri=server)
    shown = client_of_server.get_registered_model(name).aliases
    assert {alias: int(number) for alias, number in shown.items()} == {"champion": 2, "previous": 1}
    assert f"{ARTIFACTS}/runs/{name}/{version.run_id}/artifacts/report.json" in registry.files(version)
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", ""), "MLflow would greet each run, in between of our JSON"


def test_a_tracking_server_that_does_not_answer(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    address = f"127.0.0.1:{free_port()}"

    with pytest.raises(RegistryUnavailableError, match=f"MLflow at http://{address} answered") as failed:
        open_registry(f"http://me:secret@{address}", ARTIFACTS)

    assert "secret" not in str(failed.value)


def spoil(uri: str) -> None:
    """Change the last byte of the weights at an address."""
    weights = (BUILTIN / "adapter_model.safetensors").read_bytes()
    where = key(uri, "adapter_model.safetensors")
    client().put_object(Bucket=BUCKET, Key=where, Body=weights[:-1] + b"!")


def key(uri: str, name: str) -> str:
    return f"{uri.removeprefix(f's3://{BUCKET}/')}/{name}"


def until_healthy(url: str, running: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while running.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=5).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    pytest.fail(f"no answer from {url}:\n{log.read_text()[-3000:]}")
