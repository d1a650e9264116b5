"""The application on pods of a known capacity: their device takes 2 ms a token, whatever the cores do.

Two cores cannot give four pods the capacity of four. What a pod does is real (HTTP, tokenising, batching,
the model's forward); the forward's thread then sleeps until a device of this rate would have been done.
"""

import os
import time
from collections.abc import Sequence
from contextlib import suppress

import psutil
from ray import serve

from serve_app.app import DEPLOYMENT, MAX_ONGOING_REQUESTS
from serve_app.deployment import ClassifierReplica
from serve_app.model.classifier import Classifier, Encoded
from serve_app.settings import Settings

TOKENS_PER_S = 500
_NICENESS = -10
_forward = Classifier.forward


class PacedReplica(ClassifierReplica):
    """A replica on such a device; it has a process to itself, so the class of the model is its own."""

    def __init__(self) -> None:
        super().__init__()
        Classifier.forward = forward  # type: ignore[method-assign]
        # On a node of its own a pod that answers shares no cores with those that start; here it goes before
        # them, as far as this user may say so.
        with suppress(PermissionError):
            for thread in psutil.Process().threads():
                os.setpriority(os.PRIO_PROCESS, thread.id, _NICENESS)


def forward(classifier: Classifier, batch: Sequence[Encoded]) -> list[list[float]]:
    """The classifier's own, at the device's pace."""
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
