"""Tests of the compose example: what its files name exists in the project, and they agree with each other."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from serve_app import __main__ as serve

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "examples/compose"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
DOCKERFILE = (ROOT / "cluster/Dockerfile").read_text()


def option(name: str) -> str:
    """Return the value of an option of the service's command line."""
    [value] = [
        word.partition("=")[2] for word in SERVICES["sentiment"]["command"] if word.startswith(f"{name}=")
    ]
    return str(value)


def mounts(service: str) -> dict[str, str]:
    """Return source and target of each mount of a service."""
    return {mount.split(":")[0]: mount.split(":")[1] for mount in SERVICES[service]["volumes"]}


def test_the_image_is_the_project_s_in_its_version() -> None:
    build = SERVICES["sentiment"]["build"]
    context = FOLDER / build["context"]
    assert context.resolve() == ROOT and (context / build["dockerfile"]).is_file()
    assert re.search(rf"^FROM \S+ AS {build['target']}$", DOCKERFILE, re.MULTILINE)
    assert all(re.search(rf"^ARG {name}=", DOCKERFILE, re.MULTILINE) for name in build["args"])
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert SERVICES["sentiment"]["image"] == f"sentiment-service:{version}-{build['target']}"


def test_other_images_have_a_version() -> None:
    others = [service["image"] for name, service in SERVICES.items() if name != "sentiment"]
    assert all(re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", image) for image in others)


def test_the_service_has_the_options_of_its_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    python, *module, _ = SERVICES["sentiment"]["command"][:4]
    assert (python, *module) == ("python", "-m", "serve_app")
    monkeypatch.setattr(sys, "argv", ["serve_app", "--help"])
    with pytest.raises(SystemExit):
        raise SystemExit(serve.main())
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert {word.partition("=")[0] for word in SERVICES["sentiment"]["command"][3:]} <= known


def test_ports_are_published_on_the_loopback_interface_and_have_a_listener() -> None:
    ports = {}
    for name, service in SERVICES.items():
        for port in service.get("ports", []):
            address, published, inside = port.split(":")
            assert address == "127.0.0.1" and published == inside
            ports[inside] = name
    # 9090 and 3000 are the defaults of Prometheus and Grafana.
    assert ports == {option("--port"): "sentiment", "9090": "sentiment", "3000": "grafana"}
    assert SERVICES["prometheus"]["network_mode"] == "service:sentiment"
    readme = (FOLDER / "README.md").read_text()
    assert set(re.findall(r"http://localhost:(\d+)/", readme)) == set(ports)


def test_prometheus_reads_the_metrics_and_grafana_reads_prometheus() -> None:
    prometheus = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    [scrape] = prometheus["scrape_configs"]
    assert scrape["static_configs"] == [{"targets": [f"127.0.0.1:{option('--metrics-port')}"]}]
    [source] = yaml.safe_load((FOLDER / "grafana/datasources.yml").read_text())["datasources"]
    assert source["url"] == "http://sentiment:9090"
    assert {source["uid"]} == {
        target["datasource"]["uid"] for panel in panels() for target in panel["targets"]
    }


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / "grafana/sentiment.json").read_text())["panels"]
    return found


def test_mounted_files_exist_and_volumes_are_declared() -> None:
    sources = {source for name in SERVICES for source in mounts(name)}
    files = {source for source in sources if source.startswith(".")}
    assert all((FOLDER / source).is_file() for source in files)
    assert sources - files == set(COMPOSE["volumes"])
    assert mounts("sentiment")["models"] in re.findall(r"SENTIMENT_CACHE_DIR=(\S+)", DOCKERFILE)


def test_grafana_finds_its_dashboard() -> None:
    [provider] = yaml.safe_load((FOLDER / "grafana/dashboards.yml").read_text())["providers"]
    dashboard = mounts("grafana")["./grafana/sentiment.json"]
    assert Path(dashboard).parent == Path(provider["options"]["path"])
    assert SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == dashboard
