"""What is asked of a replica and what it can do: the sample that Serve's autoscaler takes of each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Demand:
    """One sample of a replica. Serve keeps a series of each field, under its name.

    Attributes:
        requests: with texts, since the start, as far as they were tokenised.
        tokens: of those, whether they were then answered or not.
        refused: requests since the start that the full queue had no room for; nobody counted their tokens.
        ahead_s: seconds until the device is done with all that waits and runs: what a new request would wait.
        capacity_tokens_per_s: what the device does when it never lacks work; 0 while that is not known.
    """

    requests: int = 0
    tokens: int = 0
    refused: int = 0
    ahead_s: float = 0.0
    capacity_tokens_per_s: float = 0.0
