"""Test of a version's lifecycle: registered, made the champion, and served from the registry's address."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from serve_app.dev_server.launcher import Plan, free_port, serving
from tests.integration.registries import write_run
from train.__main__ import main


@pytest.mark.serve
def test_the_champion_of_the_registry_is_what_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run", name="reviews", version="7")
    registry = ["--registry", f"sqlite:///{tmp_path}/registry.db"]
    assert main(["register", str(run), *registry]) == 0
    assert main(["alias", "reviews@champion", "7", *registry]) == 0
    capsys.readouterr()
    assert main(["show", "reviews@champion", "--json", *registry]) == 0
    champion = json.loads(capsys.readouterr().out)

    plan = Plan(model=champion["uri"], port=free_port(), dashboard_port=free_port())
    with serving(plan, print):
        live = httpx.get(f"{plan.url}/v1/model").json()

    assert (live["name"], live["version"]) == ("reviews", "7")
    assert live["digest"] == champion["digest"]
    assert live["uri"] == champion["uri"]
