"""Tests of checksums: files are identified by SHA-256, under names that stay inside their folder."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.errors import ChecksumMismatchError, InvalidBundleError, UnsafeArtifactError
from serve_app.model.checksums import check, is_safe_name, sha256_files, visible_files


def test_visible_files_are_sorted_and_leave_hidden_ones_out(tmp_path: Path) -> None:
    for name in ("b.txt", "a/c.json", ".git/config", "a/.hidden", "__pycache__/x.pyc", ".DS_Store"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)

    assert visible_files(tmp_path) == ["a/c.json", "b.txt"]


def test_digests_come_in_the_order_asked_for(tmp_path: Path) -> None:
    names = [f"{number}.txt" for number in range(20)]
    for name in names:
        (tmp_path / name).write_text(name)

    found = sha256_files(tmp_path, reversed(names))

    assert list(found) == names[::-1]
    assert all(found[name] == hashlib.sha256(name.encode()).hexdigest() for name in names)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidBundleError, match=r"gone\.json cannot be read"):
        sha256_files(tmp_path, ["gone.json"])


def test_a_changed_file_is_named_with_both_digests(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("now")
    expected = hashlib.sha256(b"then").hexdigest()

    with pytest.raises(ChecksumMismatchError) as caught:
        check(tmp_path, {"a.txt": expected})

    assert all(part in str(caught.value) for part in ("a.txt", expected, hashlib.sha256(b"now").hexdigest()))


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../up", "a/../../up", "a//b", "./a", "a/", "C:a", "a\\b", "a\0", "."]
)
def test_names_that_could_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    assert not is_safe_name(name)
    with pytest.raises(UnsafeArtifactError):
        check(tmp_path, {name: "0" * 64})


@given(st.text(max_size=30))
def test_a_safe_name_stays_inside(name: str) -> None:
    folder = Path("/folder")

    if is_safe_name(name):
        assert folder in (folder / name).parents
        assert ".." not in (folder / name).parts


def test_a_link_may_lead_only_where_it_is_told(tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "blobs"
    folder.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (folder / "a.txt").symlink_to(outside / "secret")
    expected = sha256_files(folder, ["a.txt"])

    with pytest.raises(UnsafeArtifactError, match=r"a\.txt.*points out of"):
        check(folder, expected)
    check(folder, expected, links_within=tmp_path)
