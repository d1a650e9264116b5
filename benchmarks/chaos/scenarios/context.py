"""Input of a scenario."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.chaos.service import SharedService


@dataclass(frozen=True, slots=True)
class ScenarioContext:
    """Service that scenarios share, and settings of the run.

    Attributes:
        shared: the shared service; a scenario that needs its own service closes it first.
        soak_s: duration of the soak in seconds.
    """

    shared: SharedService
    soak_s: float
