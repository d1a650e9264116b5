"""The replica as Serve runs it: a process that ends at once when it could not start.

Serve drains a replica that fails to start as if it had served: it keeps its GPU for half a minute, while its
replacement already asks for another one, and the autoscaler starts a node for that.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from ray.serve.schema import ReplicaRank

from serve_app.deployment import ClassifierReplica
from serve_app.errors import NotReady

_REPORTED_S = 0.2
"""What the error takes to reach Serve's controller, which shows it in the deployment's status. A process that
ended before would leave only that it ended."""


class ReplicaProcess(ClassifierReplica):
    """A replica that ends its process when its first model cannot be loaded."""

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
        except NotReady:
            return False
