"""Tests of the examples: each runs as its README describes, with the real service."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import matplotlib
import pytest

from tests.conftest import ROOT, Service

pytestmark = pytest.mark.serve
EXAMPLES = ROOT / "examples"
PATIENCE_S = 300


def documented(example: str) -> list[str]:
    """Return the first command of an example's README, without its interpreter."""
    text = (EXAMPLES / example / "README.md").read_text()
    found = re.search(r"^    \.venv/bin/python (-m .*)$", text, re.MULTILINE)
    assert found
    return re.findall(r'"[^"]*"|\S+', found[1])


def run(words: list[str], folder: Path = ROOT) -> str:
    command = [sys.executable, *(word.strip('"') for word in words)]
    path = {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        command, cwd=folder, env=os.environ | path, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_every_example_has_a_readme_and_is_in_the_index() -> None:
    folders = {path.name for path in EXAMPLES.iterdir() if path.is_dir() and path.name != "__pycache__"}
    index = (ROOT / "docs/index.md").read_text()
    assert {name for name in folders if f"(../examples/{name}/README.md)" not in index} == set()


def test_python_client(service: Service) -> None:
    said = run([*documented("python_client"), "--url", service.url])
    assert [line.split()[0] for line in said.splitlines()] == ["POSITIVE", "NEGATIVE"]


def test_own_model(tmp_path: Path) -> None:
    said = run(documented("own_model"), tmp_path)
    assert "labels: delivery, price, quality" in said
    assert re.search(r"^(delivery|price|quality) +0\.\d+  The fabric feels soft$", said, re.MULTILINE)
    assert (tmp_path / "runs/own_model/model.safetensors").is_file()


def test_notebook(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Execute the cells in order in one namespace, as a kernel does; Jupyter itself is not installed here."""
    notebook = json.loads((EXAMPLES / "notebook/first_requests.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells), (
        "clear the outputs"
    )
    monkeypatch.setenv("SENTIMENT_URL", service.url)
    matplotlib.use("Agg")
    namespace: dict[str, Any] = {}
    for cell in cells:
        exec(compile("".join(cell["source"]), cell["id"], "exec"), namespace)
    said = capsys.readouterr().out
    assert re.search(r"^POSITIVE +0\.\d+  I love this cream$", said, re.MULTILINE)
    assert len(namespace["axes"].patches) == len(namespace["texts"])


def test_the_dashboard_of_compose_shows_metrics_that_the_service_exports(service: Service) -> None:
    dashboard = json.loads((EXAMPLES / "compose/grafana/sentiment.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    named = {name for query in queries for name in re.findall(r"\bray_\w+", query)}
    assert len(named) >= 9
    httpx.post(f"{service.url}/v1/classify", json={"inputs": "fine"}, timeout=60).raise_for_status()
    # A counter is exported from its first count on, and no request may have been late.
    late = "ray_sentiment_late_requests_total"
    assert f"`{late}`" in (ROOT / "docs/metrics.md").read_text()
    wait_for_metrics(service, named - {late})


def wait_for_metrics(service: Service, names: set[str]) -> None:
    missing, deadline = names, time.monotonic() + PATIENCE_S
    while missing:
        assert time.monotonic() < deadline, f"not exported: {sorted(missing)}"
        exported = httpx.get(service.metrics, timeout=60).text
        missing = {name for name in names if not re.search(rf"^{name}[{{ ]", exported, re.MULTILINE)}
        time.sleep(0.2 if missing else 0)
