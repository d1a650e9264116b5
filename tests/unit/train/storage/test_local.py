"""Tests of storage in a folder: files appear complete, and no write of any thread or process is lost."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from train.errors import RegistryRequestError, RegistryUnavailableError
from train.storage.base import open_place
from train.storage.local import FolderPlace

COUNT_UP = """
import sys
from pathlib import Path
from train.storage.local import FolderPlace
place = FolderPlace(Path(sys.argv[1]))
sys.stdin.readline()
done = 0
while done < 25:
    stored = place.read("count")
    count = int(stored.content) if stored else 0
    done += place.swap("count", str(count + 1).encode(), tag=stored.tag if stored else None)
"""


def test_a_swap_is_made_only_over_what_was_read(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path / "made")

    assert place.read("a/b") is None
    assert place.swap("a/b", b"1", tag=None)
    assert not place.swap("a/b", b"2", tag=None)
    first = place.read("a/b")
    assert first is not None and first.content == b"1"
    assert place.swap("a/b", b"2", tag=first.tag)
    assert not place.swap("a/b", b"3", tag=first.tag)
    second = place.read("a/b")
    assert second is not None and second.content == b"2"


def test_of_writers_who_saw_the_same_one_wins(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path)

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(lambda i: place.swap("a", str(i).encode(), tag=None), range(16)))

    assert won.count(True) == 1
    stored = place.read("a")
    assert stored is not None and stored.content == str(won.index(True)).encode()


def test_no_write_of_any_process_is_lost(tmp_path: Path) -> None:
    command = [sys.executable, "-c", COUNT_UP, str(tmp_path)]
    writers = [
        subprocess.Popen(command, cwd=Path(__file__).parents[4], stdin=subprocess.PIPE) for _ in range(4)
    ]
    for writer in writers:
        writer.communicate(b"go\n", timeout=60)

    assert [writer.returncode for writer in writers] == [0] * 4
    assert (tmp_path / "count").read_text() == "100"


def test_files_take_the_place_of_others_and_locks_are_not_listed(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path / "place")
    for content in ("old", "new"):
        (tmp_path / "file").write_text(content)
        place.put("folder/file", tmp_path / "file")
    place.swap("folder/document", b"", tag=None)

    assert (tmp_path / "place" / "folder" / "file").read_text() == "new"
    assert place.keys("folder") == ["folder/document", "folder/file"]
    assert place.keys("nothing") == []
    assert place.uri("folder/a b") == (tmp_path / "place/folder/a b").as_uri()


def test_a_file_that_cannot_be_read_leaves_what_was_there(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path / "place")
    (tmp_path / "file").write_text("old")
    place.put("file", tmp_path / "file")

    with pytest.raises(RegistryUnavailableError, match="missing: No such file"):
        place.put("file", tmp_path / "missing")

    assert [path.name for path in (tmp_path / "place").iterdir()] == ["file"]


def test_addresses(tmp_path: Path) -> None:
    here = FolderPlace(tmp_path / "a b")
    assert open_place(str(tmp_path / "a b")) == open_place((tmp_path / "a b").as_uri()) == here
    with pytest.raises(RegistryRequestError, match="cannot be stored at 'gs://bucket'"):
        open_place("gs://bucket")
    with pytest.raises(RegistryRequestError, match="names no bucket"):
        open_place("s3://")
