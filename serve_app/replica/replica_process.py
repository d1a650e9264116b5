"""Replica class that Serve runs: its process exits at once if it cannot start.

Serve drains a replica that fails to start as if it had served requests: the replica keeps its GPU for half a
minute, while its replacement already requests another one, for which the autoscaler starts a node.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from ray.serve.schema import ReplicaRank

from serve_app.errors import NotReadyError
from serve_app.replica.deployment import ClassifierReplica

_REPORTED_S = 0.2
"""Time until the error has reached Serve's controller, which shows it in the deployment's status. If the
process exited earlier, the status would only report that it exited."""


class ReplicaProcess(ClassifierReplica):
    """Replica that exits its process if its first model cannot be loaded."""

    async def reconfigure(self, user_config: dict[str, Any], rank: ReplicaRank | None = None) -> None:
        """See `ClassifierReplica.reconfigure`."""
        try:
            await super().reconfigure(user_config, rank)
        except Exception:
            if not self._has_model():
                asyncio.get_running_loop().call_later(_REPORTED_S, os._exit, 1)
            raise

    def _has_model(self) -> bool:
        try:
            return self.live is not None
        except NotReadyError:
            return False
