"""Tests of the model cache: a folder is complete or absent, with concurrent callers and interruptions."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from filelock import FileLock

from serve_app.errors import ChecksumMismatchError, StoreUnavailableError
from serve_app.model.cache import keep


def accept(_folder: Path) -> None:
    pass


class Filler:
    """Fill function that writes one file, counts its calls, and can be blocked halfway."""

    def __init__(self) -> None:
        self.calls = 0
        self.begun, self.go_on = Event(), Event()
        self.go_on.set()

    def __call__(self, staging: Path) -> None:
        self.calls += 1
        self.begun.set()
        assert self.go_on.wait(timeout=10)
        (staging / "content").write_text("whole")


def check(folder: Path) -> None:
    if (folder / "content").read_text() != "whole":
        raise ChecksumMismatchError("content is not whole")


def test_a_folder_is_filled_once_and_then_kept(tmp_path: Path) -> None:
    fill = Filler()

    first = keep(tmp_path / "cache", "key", fill=fill, check=check)
    second = keep(tmp_path / "cache", "key", fill=fill, check=check)

    assert first == second == tmp_path / "cache" / "key"
    assert fill.calls == 1
    assert not (tmp_path / "cache" / "key.staging").exists()


def test_who_asks_meanwhile_waits_and_gets_the_same(tmp_path: Path) -> None:
    fill = Filler()
    fill.go_on.clear()

    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(keep, tmp_path, "key", fill=fill, check=check) for _ in range(8)]
        assert fill.begun.wait(timeout=10)
        assert not (tmp_path / "key").exists()
        fill.go_on.set()
        assert {answer.result(timeout=10) for answer in answers} == {tmp_path / "key"}

    assert fill.calls == 1


def test_a_fill_that_fails_leaves_its_part_for_the_next(tmp_path: Path) -> None:
    def half(staging: Path) -> None:
        (staging / "content").write_text("half")
        raise StoreUnavailableError("the line is down")

    def rest(staging: Path) -> None:
        assert (staging / "content").read_text() == "half"
        (staging / "content").write_text("whole")

    with pytest.raises(StoreUnavailableError, match="the line is down"):
        keep(tmp_path, "key", fill=half, check=check)
    assert not (tmp_path / "key").exists()
    keep(tmp_path, "key", fill=rest, check=check)


def test_a_fill_that_does_not_check_is_discarded(tmp_path: Path) -> None:
    with pytest.raises(ChecksumMismatchError):
        keep(tmp_path, "key", fill=lambda staging: _write(staging, "wrong"), check=check)

    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_a_folder_damaged_since_is_filled_again(tmp_path: Path) -> None:
    fill = Filler()
    folder = keep(tmp_path, "key", fill=fill, check=check)
    _write(folder, "damaged")

    assert keep(tmp_path, "key", fill=fill, check=check) == folder
    assert fill.calls == 2
    assert (folder / "content").read_text() == "whole"


def test_waiting_for_another_process_ends(tmp_path: Path) -> None:
    with FileLock(tmp_path / "key.lock"), pytest.raises(StoreUnavailableError, match=r"key\.lock"):
        keep(tmp_path, "key", fill=Filler(), check=check, lock_timeout_s=0.0)


def test_a_disk_that_fails_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreUnavailableError, match="cache folder"):
        keep(tmp_path / "file" / "cache", "key", fill=Filler(), check=accept)


def _write(folder: Path, content: str) -> None:
    (folder / "content").write_text(content)
