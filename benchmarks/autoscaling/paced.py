"""Application on pods with a known capacity: their simulated device takes 2 ms per token, on any cores.

Two cores cannot provide the capacity of four pods. The work of a pod is real (HTTP, tokenization, batching,
forward pass); the forward's thread then sleeps until a device of this speed would have finished.
"""

import os
import time
from collections.abc import Sequence
from contextlib import suppress

import psutil
from ray import serve

from serve_app.app import DEPLOYMENT, MAX_ONGOING_REQUESTS
from serve_app.model.classifier import Classifier
from serve_app.model.scorer import EncodedText
from serve_app.replica.deployment import ClassifierReplica
from serve_app.settings import Settings

TOKENS_PER_S = 500
_NICENESS = -10
_forward = Classifier.forward


class PacedReplica(ClassifierReplica):
    """Replica on the simulated device; it has its own process, so changing the class `Classifier` is safe."""

    def __init__(self) -> None:
        super().__init__()
        Classifier.forward = forward  # type: ignore[method-assign, assignment]
        # On its own node, a serving pod shares no cores with starting pods; here it gets a higher priority
        # instead, if this user is permitted to set it.
        with suppress(PermissionError):
            for thread in psutil.Process().threads():
                os.setpriority(os.PRIO_PROCESS, thread.id, _NICENESS)


def forward(classifier: Classifier, batch: Sequence[EncodedText]) -> list[list[float]]:
    """Run the classifier's own forward at the speed of the device."""
    done_s = time.monotonic() + sum(item.tokens for item in batch) / TOKENS_PER_S
    scores = _forward(classifier, batch)
    time.sleep(max(0.0, done_s - time.monotonic()))
    return scores


app = serve.deployment(
    serve.ingress()(PacedReplica),
    name=DEPLOYMENT,
    max_ongoing_requests=MAX_ONGOING_REQUESTS,
    user_config={"champion": {"model": "builtin:"}},
    ray_actor_options={"num_cpus": Settings().replica_cpus, "num_gpus": Settings().replica_gpus},
    health_check_period_s=5,
).bind()
