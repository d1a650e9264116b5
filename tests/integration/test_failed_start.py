"""Tests that a replica's process ends only if it could not start: a serving process continues."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

SCRIPT = """
import asyncio, json, sys
from serve_app.replica.replica_process import _REPORTED_S, ReplicaProcess

async def main():
    replica = ReplicaProcess()
    for config in map(json.loads, sys.argv[1:]):
        try:
            await replica.reconfigure(config)
        except Exception as error:
            print(f"raised {type(error).__name__}: {error}", flush=True)
    await asyncio.sleep(3 * _REPORTED_S)
    print("serves", replica.live.uri, flush=True)

asyncio.run(main())
"""
LOADS = {"champion": {"model": "builtin:"}}
DOES_NOT = {"champion": {"model": "/nowhere"}}
CANARY_DOES_NOT = {**LOADS, "canary": {"model": "/nowhere", "replicas": 1}}
NO_CONFIG = {"champian": "builtin:"}


def process(*configs: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT, *map(json.dumps, configs)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("config", "cause"), [(DOES_NOT, "/nowhere"), (NO_CONFIG, "champian")], ids=["no-model", "no-config"]
)
def test_a_start_that_fails_is_reported_and_then_ends_the_process(config: dict[str, Any], cause: str) -> None:
    ended = process(config)
    assert ended.returncode == 1
    assert ended.stdout.startswith("raised ") and cause in ended.stdout
    assert "serves" not in ended.stdout


def test_a_change_that_fails_leaves_the_process_and_its_model() -> None:
    ended = process(LOADS, DOES_NOT, NO_CONFIG, CANARY_DOES_NOT)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith("serves builtin:\n")


def test_a_first_canary_that_fails_serves_the_champion() -> None:
    ended = process(CANARY_DOES_NOT)
    assert (ended.returncode, ended.stdout) == (0, "serves builtin:\n"), ended.stderr
