"""Autoscaling statistics of a replica: the sample that Serve's autoscaler collects from each replica."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AutoscalingStats:
    """Sample of one replica. Serve keeps a time series of each field, under the field's name.

    Attributes:
        requests: Number of inference requests that were tokenised since the start.
        tokens: Number of tokens of these requests, answered or not.
        refused: Number of requests since the start that the full queue refused; their tokens are not counted.
        ahead_s: Backlog in seconds of device time, queued and running: the expected wait of a new request.
        capacity_tokens_per_s: Throughput of the device when it always has work; 0 while it is unknown.
    """

    requests: int = 0
    tokens: int = 0
    refused: int = 0
    ahead_s: float = 0.0
    capacity_tokens_per_s: float = 0.0
