"""What a wait reports of the causes, and when it is certain that waiting cannot improve them. Pure."""

import re
from collections.abc import Callable, Sequence

from cluster.kuberay.causes import Evidence, causes, lines
from cluster.kuberay.pod_causes import Cause

_ROLE = "cluster/aws/deployers.yaml"
_VARYING = re.compile(r"\b[0-9a-f]{8}[0-9a-f-]*\b|\d+")
"""Identifiers, times and counts, which differ between two attempts that fail for the same reason."""
_ENDED_MAX = 3
"""After so many pods that ended in the same way, the next one is expected to end so, too."""
CERTAIN_S = 15.0
"""How long a final cause must hold: the operator reads from a cache, which may be a moment older than the
ServiceAccount that was just created."""


class CauseReport:
    """The causes over one wait.

    Args:
        tell: receives each line that was not reported before.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._told: set[str] = set()
        self._since: dict[str, tuple[float, str]] = {}
        self._ended: dict[str, set[str]] = {}
        self.lines: list[str] = []

    def add(self, evidence: Evidence, now_s: float) -> bool:
        """Report what is new, and return whether waiting is certain not to improve it.

        Args:
            evidence: as it was read now.
            now_s: by the clock of the wait.
        """
        found = causes(evidence)
        self.lines = lines(found)
        unread = (
            f"not allowed to read {', '.join(evidence.unread)}: causes may be missing; {_ROLE} has the role"
        )
        for line in [*self.lines, *([unread] if evidence.unread else [])]:
            shape = _VARYING.sub("#", line)
            if shape not in self._told:
                self._told.add(shape)
                self._tell(line)
        for cause in found:
            if cause.fault:
                self._ended.setdefault(cause.fault, set()).add(cause.subject)
        is_repeated = any(len(pods) >= _ENDED_MAX for pods in self._ended.values())
        return is_repeated or self._is_certain([cause for cause in found if cause.is_final], now_s)

    def _is_certain(self, final: Sequence[Cause], now_s: float) -> bool:
        """Whether one has held for long enough, and an attempt has failed again since it was first seen.

        Without the second, a wait that starts right after the cause was removed would end with it: the
        kubelet's next attempt may be minutes away.
        """
        self._since = {
            cause.subject: self._since.get(cause.subject, (now_s, cause.attempted_at)) for cause in final
        }
        return any(
            now_s - self._since[cause.subject][0] >= CERTAIN_S
            and (not cause.attempted_at or cause.attempted_at > self._since[cause.subject][1])
            for cause in final
        )
