"""Bounds of every measure of every scenario: the guaranteed reliability of the service.

docs/reliability.md states the reason for each bound. The run fails if a measure is above its bound.
"""

from __future__ import annotations

from collections.abc import Mapping

RATE_PER_S = 30.0
"""Small requests per second during every fault."""

MEASURES: Mapping[str, str] = {
    "failed": "requests failed",
    "failed_not_in_flight": "requests failed that were not in flight at the kill",
    "gap_s": "longest gap without an answer (s)",
    "normal_s": "normal again after (s)",
    "whole_s": "all processes back after (s)",
    "lost_rows": "rows of the prediction log lost",
    "lost_rows_flushed": "rows lost that were older than the flush interval",
    "wrong_exit_code": "launcher ended with another code than 1",
    "exit_s": "launcher ended after (s)",
    "processes_left": "processes left",
    "other_version": "answers of another version than before",
    "failure_not_reported": "failed load not reported on /v1/model",
    "p99_ratio": "p99 over that without the fault",
    "capacity_lost": "fraction of the capacity lost",
    "accepted_p99_s": "p99 of the accepted requests (s)",
    "refused_fraction": "fraction of the requests refused",
    "growing_series": "series of memory or descriptors that grow",
}
"""Description of each measure."""

_UNNOTICED = {"failed": 0, "gap_s": 2, "lost_rows": 0}

BOUNDS: Mapping[str, Mapping[str, float]] = {
    "replica killed": {
        "failed_not_in_flight": 0,
        "gap_s": 2,
        "normal_s": 5,
        "whole_s": 60,
        "lost_rows_flushed": 0,
    },
    "replica stopped for 20 s": {"failed": 0, "gap_s": 2, "normal_s": 5, "lost_rows": 0},
    "HAProxy killed": {"failed": 2 * RATE_PER_S, "gap_s": 2, "normal_s": 3, "whole_s": 30, "lost_rows": 0},
    "proxy actor killed": {**_UNNOTICED, "normal_s": 5, "whole_s": 60},
    "fallback proxy killed": {**_UNNOTICED, "normal_s": 5, "whole_s": 60},
    "controller killed": {**_UNNOTICED, "normal_s": 5, "whole_s": 60},
    "log folder unwritable": {**_UNNOTICED, "normal_s": 5},
    "log folder full": {**_UNNOTICED, "normal_s": 5},
    "model folder deleted": {**_UNNOTICED, "normal_s": 5, "other_version": 0},
    "broken bundle deployed": {**_UNNOTICED, "other_version": 0, "failure_not_reported": 0, "whole_s": 60},
    "scaled 2 to 1 and back": {**_UNNOTICED, "whole_s": 60},
    "worst-case bodies": {**_UNNOTICED, "p99_ratio": 2},
    "slow clients": {**_UNNOTICED, "p99_ratio": 2},
    "vanishing clients": {**_UNNOTICED, "p99_ratio": 2},
    "10 x overload": {"failed": 0, "normal_s": 2, "lost_rows": 0, "accepted_p99_s": 3, "capacity_lost": 0.5},
    "soak at 70 %": {**_UNNOTICED, "refused_fraction": 0.01, "growing_series": 0},
    "GCS killed": {"wrong_exit_code": 0, "exit_s": 20, "processes_left": 0},
    "GCS restarted on Redis": {**_UNNOTICED, "normal_s": 10, "whole_s": 60},
    "parent killed": {"exit_s": 20, "processes_left": 0},
}
"""Maximum value by scenario and measure."""
