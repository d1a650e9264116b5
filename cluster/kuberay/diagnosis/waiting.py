"""Report of causes during a wait, and the decision that waiting cannot resolve them."""

import re
from collections.abc import Callable, Sequence

from cluster.kuberay.diagnosis.causes import RelatedObjects, causes, lines
from cluster.kuberay.diagnosis.pod_causes import Cause

_ROLE = "cluster/aws/ci-rbac.yaml"
_VARYING = re.compile(r"\b[0-9a-f]{8}[0-9a-f-]*\b|\d+")
"""Identifiers, times and counts, which differ between attempts that fail for the same reason."""
_ENDED_MAX = 3
"""Number of pods that ended in the same way after which the next one is expected to end likewise."""
CERTAIN_S = 15.0
"""Time for which a final cause must persist: the operator reads from a cache, which may be slightly older
than a ServiceAccount that was just created."""


class CauseReport:
    """Causes during one wait.

    Args:
        on_progress: Called with each line that has not been reported.
    """

    def __init__(self, on_progress: Callable[[str], None]) -> None:
        self._on_progress = on_progress
        self._told: set[str] = set()
        self._since: dict[str, tuple[float, str]] = {}
        self._ended: dict[str, set[str]] = {}
        self.lines: list[str] = []

    def add(self, evidence: RelatedObjects, now_s: float) -> bool:
        """Report new causes, and return whether it is certain that waiting cannot resolve them.

        Args:
            evidence: Current state of the objects.
            now_s: Time on the clock of the wait.
        """
        found = causes(evidence)
        self.lines = lines(found)
        names = ", ".join(evidence.unread)
        unread = f"not allowed to read {names}: causes may be missing; see the role in {_ROLE}"
        for line in [*self.lines, *([unread] if evidence.unread else [])]:
            shape = _VARYING.sub("#", line)
            if shape not in self._told:
                self._told.add(shape)
                self._on_progress(line)
        for cause in found:
            if cause.fault:
                self._ended.setdefault(cause.fault, set()).add(cause.subject)
        is_repeated = any(len(pods) >= _ENDED_MAX for pods in self._ended.values())
        return is_repeated or self._is_certain([cause for cause in found if cause.is_final], now_s)

    def _is_certain(self, final: Sequence[Cause], now_s: float) -> bool:
        """Return whether a final cause has persisted, with another failed attempt since it was first seen.

        Without the second condition, a wait that starts right after the cause was removed would fail: the
        kubelet's next attempt may be minutes later.
        """
        self._since = {
            cause.subject: self._since.get(cause.subject, (now_s, cause.attempted_at)) for cause in final
        }
        return any(
            now_s - self._since[cause.subject][0] >= CERTAIN_S
            and (not cause.attempted_at or cause.attempted_at > self._since[cause.subject][1])
            for cause in final
        )
