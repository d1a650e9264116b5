"""What a scenario is given."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.chaos.service import SharedService


@dataclass(frozen=True, slots=True)
class Context:
    """The service that scenarios share, and the settings of the run.

    Attributes:
        shared: the service; a scenario that needs one of its own closes it first.
        soak_s: duration of the soak in seconds.
    """

    shared: SharedService
    soak_s: float
