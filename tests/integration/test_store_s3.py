"""Tests of models from S3: downloads are resumed, wrong files refused, and existing ones reused.

S3 is moto's, over HTTP; the middleware in front of it counts what is sent and can cut or hold it.
"""

import functools
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Lock
from typing import Any

import boto3
import pytest

from serve_app.errors import (
    BundleNotFoundError,
    ChecksumMismatchError,
    InvalidBundleError,
    StoreUnavailableError,
    UnsafeArtifactError,
)
from serve_app.model import s3_download
from serve_app.model.bundle import MANIFEST, BaseRef, BundleManifest, verify, write_manifest
from serve_app.model.checksums import sha256_files
from serve_app.model.resolver import Bundle, fetch
from tests.integration.aws import PATIENCE_S, listening, moto, point_at
from tests.no_account import NOWHERE

KIB = 1024
CHUNK_BYTES = 256 * KIB
WEIGHTS = os.urandom(3 * CHUNK_BYTES + 1000)
BUCKET = "models"
URI = f"s3://{BUCKET}/senti/7"
SEND_BYTES = 8 * KIB


class Wire:
    """WSGI middleware that counts the bytes sent of each object, and can cut or hold an answer."""

    def __init__(self, app: Any) -> None:
        self._app, self._lock = app, Lock()
        self.gets: Counter[str] = Counter()
        self.sent_bytes: Counter[str] = Counter()
        self.cuts: dict[str, list[int]] = {}
        """By file name: bytes after which the next longer answers break off."""
        self.hold_after_bytes: int | None = None
        """Bytes of each answer after which weights are held, until `go_on`."""
        self.held, self.go_on = Event(), Event()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        name = environ["PATH_INFO"].rpartition("/")[2]
        body = b"".join(self._app(environ, start_response))
        if environ["REQUEST_METHOD"] != "GET":
            yield body
            return
        with self._lock:
            self.gets[name] += 1
            sent_bytes = self.sent_bytes
            cuts = self.cuts.get(name)
            cut = cuts.pop(0) if cuts and cuts[0] < len(body) else None
        for start in range(0, len(body), SEND_BYTES):
            if cut is not None and start >= cut:
                raise ConnectionAbortedError("cut here")
            if (
                self.hold_after_bytes is not None
                and name == "model.safetensors"
                and start >= self.hold_after_bytes
            ):
                self.held.set()
                if not self.go_on.wait(PATIENCE_S):
                    raise ConnectionAbortedError("held for too long")
            block = body[start : start + SEND_BYTES]
            with self._lock:
                sent_bytes[name] += len(block)
            yield block

    def forget(self) -> None:
        """Reset the counts; answers in progress are not counted."""
        with self._lock:
            self.gets, self.sent_bytes = Counter(), Counter()


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """Yield an empty S3 at a free port, which boto3 finds through its environment."""
    wire = Wire(moto())
    with listening(wire) as endpoint:
        point_at(endpoint, monkeypatch)
        monkeypatch.setattr(s3_download, "_CHUNK_BYTES", CHUNK_BYTES)
        client().create_bucket(Bucket=BUCKET)
        yield wire
        wire.go_on.set()


@pytest.fixture
def source(tmp_path: Path) -> BundleManifest:
    """Create a bundle in `tmp_path/source`, with an empty file and one in a folder."""
    folder = tmp_path / "source"
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "config.json").write_text('{"architectures": ["BertForSequenceClassification"]}')
    (folder / "1_Pooling" / "config.json").write_text('{"pooling": "mean"}')
    (folder / "empty.txt").write_bytes(b"")
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    return write_manifest(folder, name="senti", version="7", labels=["NEG", "POS"])


@functools.cache
def _client(endpoint: str) -> Any:
    return boto3.session.Session().client("s3", endpoint_url=endpoint)


def client() -> Any:
    return _client(os.environ["AWS_ENDPOINT_URL"])


def upload(folder: Path, uri: str = URI) -> None:
    prefix = uri.removeprefix(f"s3://{BUCKET}/")
    for path in folder.rglob("*"):
        if path.is_file():
            client().upload_file(str(path), BUCKET, f"{prefix}/{path.relative_to(folder).as_posix()}")


def put(name: str, content: bytes) -> None:
    client().put_object(Bucket=BUCKET, Key=f"senti/7/{name}", Body=content)


def assert_whole(found: Bundle, manifest: BundleManifest, cache: Path) -> None:
    verify(found.folder, manifest)
    assert found.manifest == manifest
    assert (found.folder / "model.safetensors").read_bytes() == WEIGHTS
    assert [path.name for path in (cache / "s3").iterdir() if path.is_dir()] == [manifest.digest]


def test_a_bundle_is_downloaded_once_in_chunks(wire: Wire, source: BundleManifest, tmp_path: Path) -> None:
    upload(tmp_path / "source")

    assert_whole(fetch(URI, cache_dir=tmp_path / "cache"), source, tmp_path / "cache")

    assert wire.gets["model.safetensors"] == 4
    assert wire.sent_bytes["model.safetensors"] == len(WEIGHTS)


def test_what_is_cached_is_not_downloaded_again(wire: Wire, source: BundleManifest, tmp_path: Path) -> None:
    upload(tmp_path / "source")
    first = fetch(URI, cache_dir=tmp_path / "cache")
    wire.forget()

    assert fetch(URI, cache_dir=tmp_path / "cache") == first
    assert wire.gets == {MANIFEST: 1}


def test_a_cached_file_damaged_since_is_downloaded_again(
    wire: Wire, source: BundleManifest, tmp_path: Path
) -> None:
    upload(tmp_path / "source")
    found = fetch(URI, cache_dir=tmp_path / "cache")
    (found.folder / "model.safetensors").write_bytes(WEIGHTS[::-1])

    assert_whole(fetch(URI, cache_dir=tmp_path / "cache"), source, tmp_path / "cache")


def test_a_stream_that_breaks_is_continued(wire: Wire, source: BundleManifest, tmp_path: Path) -> None:
    upload(tmp_path / "source")
    wire.cuts = {"model.safetensors": [200 * KIB, 100 * KIB, 40 * KIB]}

    assert_whole(fetch(URI, cache_dir=tmp_path / "cache"), source, tmp_path / "cache")

    assert wire.cuts == {"model.safetensors": []}
    assert wire.gets["model.safetensors"] == 4 + 3
    assert (
        wire.sent_bytes["model.safetensors"] < len(WEIGHTS) + 340 * KIB
    )  # the bytes before the cuts were not all sent twice


def test_a_download_that_was_killed_is_continued_by_the_next_process(
    wire: Wire, source: BundleManifest, tmp_path: Path
) -> None:
    upload(tmp_path / "source")
    wire.hold_after_bytes = 200 * KIB
    with start_fetch(tmp_path / "cache") as child:
        wait_until(lambda: part_bytes(tmp_path / "cache") > CHUNK_BYTES)
        child.kill()
    kept = part_bytes(tmp_path / "cache")
    wire.hold_after_bytes = None
    wire.go_on.set()
    wire.forget()

    found = fetch(URI, cache_dir=tmp_path / "cache")

    assert_whole(found, source, tmp_path / "cache")
    needed = sum((found.folder / name).stat().st_size for name in source.files) - kept
    assert sum(wire.sent_bytes.values()) - wire.sent_bytes[MANIFEST] == needed


def test_a_stream_that_breaks_each_time_ends_in_an_error(
    wire: Wire, source: BundleManifest, tmp_path: Path
) -> None:
    upload(tmp_path / "source")
    wire.cuts = {"model.safetensors": [SEND_BYTES] * 40}

    with pytest.raises(StoreUnavailableError, match=r"model\.safetensors .* broke"):
        fetch(URI, cache_dir=tmp_path / "cache")

    wire.cuts = {}
    assert_whole(fetch(URI, cache_dir=tmp_path / "cache"), source, tmp_path / "cache")


def test_a_part_longer_than_its_chunk_is_not_trusted(
    wire: Wire, source: BundleManifest, tmp_path: Path
) -> None:
    upload(tmp_path / "source")
    wire.cuts = {"model.safetensors": [SEND_BYTES] * 40}
    with pytest.raises(StoreUnavailableError):
        fetch(URI, cache_dir=tmp_path / "cache")
    for part in (tmp_path / "cache").rglob("*.part"):
        part.write_bytes(bytes(CHUNK_BYTES + 1))
    wire.cuts = {}

    assert_whole(fetch(URI, cache_dir=tmp_path / "cache"), source, tmp_path / "cache")


def test_parts_of_an_object_since_replaced_are_not_used(
    wire: Wire, source: BundleManifest, tmp_path: Path
) -> None:
    upload(tmp_path / "source")
    put("model.safetensors", WEIGHTS[::-1])  # the upload of another version, replaced below
    wire.cuts = {"model.safetensors": [72 * KIB] * 2 + [SEND_BYTES] * 38}
    with pytest.raises(StoreUnavailableError):
        fetch(URI, cache_dir=tmp_path / "cache")
    put("model.safetensors", WEIGHTS)
    wire.cuts = {}

    assert_whole(fetch(URI, cache_dir=tmp_path / "cache"), source, tmp_path / "cache")


def test_an_object_replaced_while_it_is_read_is_noticed(
    wire: Wire, source: BundleManifest, tmp_path: Path
) -> None:
    upload(tmp_path / "source")
    wire.hold_after_bytes = 0
    wire.cuts = {"model.safetensors": [72 * KIB] * 4}

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(fetch, URI, cache_dir=tmp_path / "cache")
        wait_until(lambda: wire.gets["model.safetensors"] == 4)
        put("model.safetensors", WEIGHTS[::-1])
        wire.go_on.set()
        with pytest.raises(StoreUnavailableError, match="replaced during the download"):
            answer.result(PATIENCE_S)

    put("model.safetensors", WEIGHTS)
    assert_whole(fetch(URI, cache_dir=tmp_path / "cache"), source, tmp_path / "cache")


def test_a_corrupted_object_is_refused_by_name_and_not_kept(
    wire: Wire, source: BundleManifest, tmp_path: Path
) -> None:
    upload(tmp_path / "source")
    put("model.safetensors", WEIGHTS[:-1] + b"!")

    with pytest.raises(ChecksumMismatchError, match=r"model\.safetensors"):
        fetch(URI, cache_dir=tmp_path / "cache")

    assert not [path for path in (tmp_path / "cache" / "s3").iterdir() if path.is_dir()]
    put("model.safetensors", WEIGHTS)
    assert_whole(fetch(URI, cache_dir=tmp_path / "cache"), source, tmp_path / "cache")


def test_two_processes_at_once_download_once(wire: Wire, source: BundleManifest, tmp_path: Path) -> None:
    upload(tmp_path / "source")
    wire.hold_after_bytes = 0
    with start_fetch(tmp_path / "cache") as one, start_fetch(tmp_path / "cache") as other:
        wait_until(lambda: wire.gets[MANIFEST] == 2 and wire.held.is_set())
        wire.go_on.set()
        folders = {child.communicate(timeout=PATIENCE_S)[0].strip() for child in (one, other)}

    assert folders == {str(tmp_path / "cache" / "s3" / source.digest)}
    assert (one.returncode, other.returncode) == (0, 0)
    assert wire.sent_bytes["model.safetensors"] == len(WEIGHTS)
    assert_whole(fetch(URI, cache_dir=tmp_path / "cache"), source, tmp_path / "cache")


def test_many_threads_get_one_good_folder(wire: Wire, source: BundleManifest, tmp_path: Path) -> None:
    upload(tmp_path / "source")

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: fetch(URI, cache_dir=tmp_path / "cache"), range(6)))

    assert len({bundle.folder for bundle in found}) == 1
    assert wire.sent_bytes["model.safetensors"] == len(WEIGHTS)
    assert_whole(found[0], source, tmp_path / "cache")


def test_a_plain_model_is_downloaded_without_its_pickles(
    wire: Wire, source: BundleManifest, tmp_path: Path
) -> None:
    folder = tmp_path / "source"
    (folder / MANIFEST).unlink()
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    (folder / ".gitattributes").write_bytes(b"hidden")
    upload(folder)

    found = fetch(URI + "/", cache_dir=tmp_path / "cache")
    again = fetch(URI + "/", cache_dir=tmp_path / "cache")

    assert (found.manifest.name, found.manifest.labels) == ("7", ("LABEL_0", "LABEL_1"))
    assert found.manifest.files == source.files
    assert again == found
    assert wire.sent_bytes["model.safetensors"] == len(WEIGHTS)
    assert wire.sent_bytes["pytorch_model.bin"] == 0


def test_a_plain_model_that_was_replaced_is_another_version(
    wire: Wire, source: BundleManifest, tmp_path: Path
) -> None:
    (tmp_path / "source" / MANIFEST).unlink()
    upload(tmp_path / "source")
    before = fetch(URI, cache_dir=tmp_path / "cache")
    put("model.safetensors", WEIGHTS[::-1])

    after = fetch(URI, cache_dir=tmp_path / "cache")

    assert after.manifest.version != before.manifest.version
    assert after.folder != before.folder


def test_adapter_and_base_both_come_from_s3(wire: Wire, source: BundleManifest, tmp_path: Path) -> None:
    (tmp_path / "source" / MANIFEST).unlink()
    upload(tmp_path / "source", f"s3://{BUCKET}/base")
    pins = sha256_files(tmp_path / "source", ["config.json", "model.safetensors"])
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    for name in ("config.json", "adapter_config.json", "adapter_model.safetensors"):
        (adapter / name).write_text("{}")
    ref = BaseRef(uri=f"s3://{BUCKET}/base", sha256=pins)
    write_manifest(adapter, name="senti", version="8", labels=["NEG", "POS"], base=ref)
    upload(adapter)

    found = fetch(URI, cache_dir=tmp_path / "cache")

    assert found.base_folder is not None
    assert (found.base_folder / "model.safetensors").read_bytes() == WEIGHTS
    assert (found.folder / "adapter_model.safetensors").exists()


def test_a_remote_adapter_names_no_local_path(wire: Wire, source: BundleManifest, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    for name in ("config.json", "adapter_config.json", "adapter_model.safetensors"):
        (adapter / name).write_text("{}")
    ref = BaseRef(uri="../source", sha256=sha256_files(tmp_path / "source", ["config.json"]))
    write_manifest(adapter, name="senti", version="8", labels=["NEG", "POS"], base=ref)
    upload(adapter)

    with pytest.raises(InvalidBundleError, match="remote"):
        fetch(URI, cache_dir=tmp_path / "cache")


def test_a_bucket_or_a_prefix_that_is_not_there(wire: Wire, tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError, match="no such bucket"):
        fetch("s3://nowhere/senti", cache_dir=tmp_path)
    with pytest.raises(BundleNotFoundError, match="no model under"):
        fetch(f"s3://{BUCKET}/nothing/here", cache_dir=tmp_path)


def test_a_listed_object_that_is_missing_is_named(wire: Wire, source: BundleManifest, tmp_path: Path) -> None:
    upload(tmp_path / "source")
    client().delete_object(Bucket=BUCKET, Key="senti/7/1_Pooling/config.json")

    with pytest.raises(InvalidBundleError, match=r"1_Pooling/config\.json is listed in"):
        fetch(URI, cache_dir=tmp_path / "cache")


def test_a_manifest_that_lists_a_pickle_or_leaves_its_folder_is_refused_before_any_download(
    wire: Wire, source: BundleManifest, tmp_path: Path
) -> None:
    upload(tmp_path / "source")
    text = (tmp_path / "source" / MANIFEST).read_text()
    put(MANIFEST, text.replace("empty.txt", "model.pkl").encode())
    with pytest.raises(UnsafeArtifactError, match=r"model\.pkl"):
        fetch(URI, cache_dir=tmp_path / "cache")
    put(MANIFEST, text.replace("empty.txt", "../empty.txt").encode())
    with pytest.raises(InvalidBundleError, match=r"\.\./empty\.txt"):
        fetch(URI, cache_dir=tmp_path / "cache")

    assert wire.sent_bytes["model.safetensors"] == 0


def test_an_endpoint_that_does_not_answer(
    wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_at(NOWHERE, monkeypatch)
    monkeypatch.setattr("time.sleep", lambda _: None)  # botocore's pauses between its attempts

    with pytest.raises(StoreUnavailableError, match="check the network and AWS_ENDPOINT_URL"):
        fetch(URI, cache_dir=tmp_path)
    monkeypatch.undo()


def test_no_credentials(wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as changed:
        changed.delenv("AWS_ACCESS_KEY_ID")
        changed.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(StoreUnavailableError, match="no AWS credentials"):
            fetch(URI, cache_dir=tmp_path)


def test_a_disk_without_room_is_refused_before_the_download(
    wire: Wire, source: BundleManifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(tmp_path / "source")
    wire.forget()
    usage = s3_download.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(s3_download.shutil, "disk_usage", lambda _: usage)

    with pytest.raises(StoreUnavailableError, match=r"needs 787,\d\d\d bytes, .* has 1,000 free"):
        fetch(URI, cache_dir=tmp_path / "cache")
    assert wire.sent_bytes["model.safetensors"] == 0


def start_fetch(cache: Path) -> subprocess.Popen[str]:
    """Start a process that fetches `URI` and prints the folder."""
    code = (
        "import sys, pathlib\n"
        "from serve_app.model import resolver, s3_download\n"
        f"s3_download._CHUNK_BYTES = {CHUNK_BYTES}\n"
        "print(resolver.fetch(sys.argv[1], cache_dir=pathlib.Path(sys.argv[2])).folder)"
    )
    return subprocess.Popen([sys.executable, "-c", code, URI, str(cache)], stdout=subprocess.PIPE, text=True)


def part_bytes(cache: Path) -> int:
    """Return the bytes of incomplete downloads."""
    return sum(part.stat().st_size for part in cache.rglob("*.part"))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition was never met"
        time.sleep(0.01)
