"""Tests of the plots: each panel has a title, labelled axes and a legend."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cluster.continuous_training.planner import LoopStep, PlannedStep
from cluster.cost.arithmetic import Rate
from cluster.cost.prices import read_books
from cluster.cost.report import plot as plot_costs
from examples.canary_rollout.load import RequestSample
from examples.canary_rollout.report import draw
from examples.canary_rollout.timeline import ObservedStage
from examples.closed_loop.report import plot as plot_loop
from examples.closed_loop.run import NEW, OLD, LoopResults
from tests.unit.train.drift.builders import reference, traffic
from tests.unit.train.evaluation.synthetic import FakeModel, evaluated, texts
from train.drift import report as drift
from train.drift.detector import DriftCheck, judge
from train.drift.thresholds import read_thresholds
from train.evaluation import report as evaluation
from train.training.artifacts import draw_curves


@pytest.fixture
def panels(monkeypatch: pytest.MonkeyPatch) -> list[Axes]:
    """The panels of all figures that a test writes."""
    written: list[Axes] = []
    write = Figure.savefig

    def record(figure: Figure, *args: Any, **options: Any) -> None:
        written.extend(figure.axes)
        write(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", record)
    return written


def assert_labelled(panels: list[Axes], *, legend: bool = True) -> None:
    assert panels
    for panel in panels:
        assert panel.get_title() and panel.get_xlabel() and panel.get_ylabel(), panel
        entries = panel.get_legend().get_texts() if panel.get_legend() else []
        assert not legend or (entries and all(entry.get_text() for entry in entries)), panel


def test_an_evaluation(panels: list[Axes]) -> None:
    result = evaluated(FakeModel(noise=4.0), FakeModel(), {"shop": texts("shop", 200, seed=3)}, [])
    evaluation.reliability(result)
    evaluation.differences(result)
    assert_labelled(panels)
    panels.clear()
    evaluation.confusion(result)  # each cell has its value
    assert_labelled(panels, legend=False)


def test_a_drift_check(panels: list[Axes]) -> None:
    window = traffic(negative=400)
    drift.plots(DriftCheck(judge(reference(), window, read_thresholds()), reference(), window))
    assert_labelled(panels)


def test_the_learning_curves(panels: list[Axes], tmp_path: Path) -> None:
    entry = {"step": 10.0, "loss": 0.5, "held_out_loss": 0.6, "shop_balanced_accuracy": 0.8}
    draw_curves([entry, {**entry, "step": 20.0}], tmp_path / "curves.png")
    assert_labelled(panels)


def test_the_costs(panels: list[Axes], tmp_path: Path) -> None:
    rate = Rate(Decimal(480), Decimal(2500), "the document")
    book = read_books()["list"]
    plot_costs(tmp_path / "cost.png", "list", book, ["g5.4xlarge"], rate, max_per_minute=Decimal(5000))
    assert_labelled(panels)


def test_the_closed_loop(panels: list[Axes]) -> None:
    steps = [PlannedStep(LoopStep.ROLLOUT, "")]
    accuracy = {OLD: (0.8, 0.8), NEW: (0.7, 0.8)}
    plot_loop(LoopResults("texts", False, steps, "2", accuracy, 10, [], 0, 10, []))
    assert_labelled(panels)


def test_the_canary_rollout(panels: list[Axes], tmp_path: Path) -> None:
    samples = [RequestSample(at, at + 0.01, "old", None) for at in range(20)]
    draw(tmp_path / "canary.png", samples, [ObservedStage("canary on 1 of 4", 5.0, 6.0, 15.0, "")])
    assert_labelled(panels)
