"""Tests of the requirements on a run's settings before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from train.errors import SettingsFileError
from train.settings import DataSettings, FitSettings, OptimiserSettings
from train.training.trainer import Resources, fit


def test_a_step_has_a_text_for_each_worker(tmp_path: Path) -> None:
    settings = FitSettings(
        name="m",
        version="1",
        base="builtin:",
        labels=("NEGATIVE", "POSITIVE"),
        data=(DataSettings(name="a", file="a.csv"),),
        optimiser=OptimiserSettings(batch_texts=3),
    )
    with pytest.raises(SettingsFileError, match=r"is 3; expected at least the number of workers, 4"):
        fit(settings, str(tmp_path), tmp_path / "out", resources=Resources(workers=4))
    assert not (tmp_path / "out").exists()
