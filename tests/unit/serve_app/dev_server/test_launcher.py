"""Tests of the ports that a local service chooses."""

from __future__ import annotations

import random

import pytest

from serve_app.dev_server import launcher
from serve_app.dev_server.launcher import Plan, free_port


@pytest.fixture(autouse=True)
def same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try the ports in ascending order, so that each call begins with the same ports as the previous one."""
    monkeypatch.setattr(random, "sample", lambda ports, count: list(ports)[:count])


def test_a_port_is_given_once() -> None:
    """Ray, Serve and HAProxy use seven ports; if two of them are equal, the second program fails to start."""
    ports = [free_port() for _ in range(7)]
    assert len(set(ports)) == len(ports)


def test_the_ports_of_a_plan_are_not_given() -> None:
    unused = free_port()
    plan = Plan(port=unused + 1, dashboard_port=unused + 2)
    assert {plan.metrics_port, free_port()}.isdisjoint({plan.port, plan.dashboard_port})
    assert Plan(metrics_port=7).metrics_port == 7


def test_no_free_port_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "_FREE_PORTS", range(0))
    with pytest.raises(launcher.LocalError, match="is free; stop a process"):
        free_port()
