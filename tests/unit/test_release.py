"""Tests of `make release` in a separate repository, whose `make test` records that it ran."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a repository that is ready for the release 1.2.3."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/release", tmp_path / ".ci")
    (tmp_path / "Makefile").write_text("test:\n\t@echo every test ran\n")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "one"\nversion = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n## 1.2.3\n\n- Add one.\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "config", "user.name", "test")
    git(tmp_path, "config", "user.email", "test@example.org")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    return tmp_path


def release(repository: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([repository / ".ci/release"], capture_output=True, text=True, check=False)


def test_a_release_is_tested_and_tagged(repository: Path) -> None:
    done = release(repository)
    assert done.returncode == 0, done.stderr
    assert "every test ran" in done.stdout
    assert git(repository, "cat-file", "-t", "v1.2.3").strip() == "tag"


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("CHANGELOG.md", "## 1.2.3", "## 1.2.30", 'no section "## 1.2.3"'),
        ("Makefile", "@echo every test ran", "false", "make"),
    ],
)
def test_what_is_not_ready_is_not_tagged(repository: Path, file: str, old: str, new: str, said: str) -> None:
    path = repository / file
    path.write_text(path.read_text().replace(old, new))
    git(repository, "commit", "--quiet", "--all", "--message", "another")
    done = release(repository)
    assert done.returncode != 0 and said in done.stderr
    assert git(repository, "tag") == ""


def test_a_changed_tree_is_not_tagged(repository: Path) -> None:
    (repository / "new").touch()
    assert "working tree" in release(repository).stderr and git(repository, "tag") == ""


def test_a_version_is_tagged_once(repository: Path) -> None:
    assert release(repository).returncode == 0
    again = release(repository)
    assert again.returncode != 0 and "v1.2.3 exists" in again.stderr
