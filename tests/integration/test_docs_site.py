"""Tests of the documentation site: a build without warnings, all pages, and failure on a dead link."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

TOOLS = ROOT / "build/docs-tools"
PAGES = [path.relative_to(ROOT / "docs") for path in sorted((ROOT / "docs").rglob("*.md"))]

pytestmark = pytest.mark.skipif(
    not TOOLS.exists(), reason="MkDocs is not installed; `make build/docs-tools` installs it"
)


def build(project: Path, site: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(TOOLS), "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    built = build(ROOT, folder)
    assert built.returncode == 0, built.stdout + built.stderr
    assert "WARNING" not in built.stdout + built.stderr
    return folder


def test_every_page_is_in_the_site_its_navigation_and_its_search(site: Path) -> None:
    start = (site / "index.html").read_text()
    index = json.loads((site / "search/search_index.json").read_text())
    found = {entry["location"] for entry in index["docs"]}
    for page in PAGES:
        html = page.with_suffix(".html").as_posix()
        assert (site / html).exists()
        assert f'href="{html}"' in start
        assert html in found


def test_the_diagrams_are_left_to_mermaid(site: Path) -> None:
    assert (site / "architecture.html").read_text().count('class="mermaid"') == 2


def test_a_linked_file_of_the_repository_is_in_the_site(site: Path) -> None:
    assert "repository/train/gate.toml.txt" in (site / "gate.html").read_text()
    copy = (site / "repository/train/gate.toml.txt").read_text()
    assert copy == (ROOT / "train/gate.toml").read_text()
    assert "<h1" in (site / "repository/serve_app/model/builtin/index.html").read_text()


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    loads = ('src="http', 'rel="stylesheet" href="http', 'src="//')
    pages = {html.name: html.read_text() for html in site.rglob("*.html")}
    assert [name for name, text in pages.items() if any(load in text for load in loads)] == []


def test_dead_links_and_pages_without_navigation_fail(tmp_path: Path) -> None:
    project = tmp_path / "project"
    docs = shutil.copytree(ROOT / "docs", project / "docs")
    for name in ("CONTRIBUTING.md", "SECURITY.md"):
        shutil.copy(ROOT / name, project)
    shutil.copy(ROOT / "mkdocs.yml", project)
    (docs / "unlisted.md").write_text("# Unlisted\n")
    page = docs / "settings.md"
    links = "[page](absent.md) [anchor](serving.md#absent) [file](../train/absent.toml)"
    page.write_text(f"{page.read_text()}\n{links}\n")
    built = build(project, tmp_path / "site")
    assert built.returncode != 0
    warnings = built.stdout + built.stderr
    for fault in ("unlisted.md", "absent.md", "#absent", "absent.toml"):
        assert fault in warnings
