"""Diagnosis of pods that are not ready, from their conditions, containers and events."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from serve_app.tracebacks import last_error

Document = Mapping[str, Any]

_RESTARTS_MAX = 5
"""Until then the kubelet has waited 10, 20, 40, 80 and 160 s between the attempts, longer than the start of
Redis or of a volume takes."""
_OUT_OF_MEMORY_MAX = 3
"""Lower, because the memory limit is the same at every attempt."""
_ASKED_TO_END = (0, 137, 143)
"""Exit codes of containers that were requested to end, also on a spot node that is reclaimed. Out of memory
(137 too) has a reason of its own."""
_NEVER_PULLED = ("InvalidImageName", "ErrImageNeverPull")
_PULL_REFUSED = re.compile(
    r"not found|manifest unknown|does not exist|access denied|unauthorized|authorization failed|forbidden|"
    r"\b40[134]\b|invalid reference",
    re.IGNORECASE,
)
"""Responses of a registry that do not change with a retry, unlike timeouts, 429 and 5xx."""
_ABSENT = re.compile(
    r"(secret|configmap|persistentvolumeclaim) \"[^\"]+\" not found|couldn't find key", re.IGNORECASE
)
_ATTEMPTS = ("Failed", "FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox")
"""Reasons of the kubelet's events on failed attempts."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Cause why an object is not ready.

    Attributes:
        subject: Kind and name of the affected object.
        text: Description on one line.
        is_final: Whether waiting cannot resolve it.
        attempted_at: Time of the last failed attempt, if the cause is a failed attempt that may since have
            succeeded. Empty if the state is current.
        fault: How a pod that is then replaced ended; the same fault of several pods is systematic. Otherwise
            empty.
    """

    subject: str
    text: str
    is_final: bool
    attempted_at: str = field(default="", compare=False)
    fault: str = ""


def pod_causes(
    pod: Document, events: Sequence[Mapping[str, Any]], last_lines: Mapping[tuple[str, str], str]
) -> Iterator[Cause]:
    """Return the causes why a pod is not ready; none if it is starting, or is being deleted.

    Args:
        pod: Pod object.
        events: Events of the pod.
        last_lines: Last line of the log of an ended container, by pod and container.
    """
    status, name = pod.get("status") or {}, pod["metadata"]["name"]
    subject = f"pod {name}"
    if pod["metadata"].get("deletionTimestamp"):
        yield from _replaced(pod, subject, last_lines)
        return
    for condition in status.get("conditions") or []:
        if (condition["type"], condition["status"]) == ("PodScheduled", "False"):
            message = short(condition.get("message", ""))
            yield Cause(subject, f"cannot be scheduled: {message}", bool(_ABSENT.search(message)))
    attempts = [event for event in events if event.get("reason") in _ATTEMPTS]
    last = max(attempts, key=attempted_at, default=None)
    at = attempted_at(last) if last else ""
    waits = False
    for container in _containers(status):
        if cause := _of_container(pod, container, subject, at, last_lines.get((name, container["name"]), "")):
            waits = True
            yield cause
    if last and not waits and status.get("phase") == "Pending":
        message = short(last.get("message", ""))
        yield Cause(subject, f"{last['reason']}: {message}", bool(_ABSENT.search(message)), at)


def ended_containers(pod: Document) -> Iterator[tuple[str, bool]]:
    """Return the containers of a pod that ended with an error, and whether each has been restarted."""
    for container in _containers(pod.get("status") or {}):
        now, before = container.get("state") or {}, container.get("lastState") or {}
        if (now.get("terminated") or {}).get("exitCode"):
            yield container["name"], False
        elif not container.get("ready") and (before.get("terminated") or {}).get("exitCode"):
            yield container["name"], True


def is_fault(exit_code: int, reason: str) -> bool:
    """Return whether a container failed: it neither succeeded nor was requested to end."""
    return reason == "OOMKilled" or exit_code not in _ASKED_TO_END


def attempted_at(event: Mapping[str, Any]) -> str:
    """Return the time of an event's last occurrence in UTC, in either of Kubernetes' formats of events."""
    series = event.get("series") or {}
    return str(
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or event["metadata"].get("creationTimestamp", "")
    )


def short(message: str) -> str:
    """Return the first sentence of a message; the others of the scheduler's messages concern preemption."""
    return " ".join(message.split()).partition(". ")[0].removesuffix(".")


def _containers(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _of_container(
    pod: Document, container: Mapping[str, Any], subject: str, attempt: str, last_line: str
) -> Cause | None:
    state, before = container.get("state") or {}, container.get("lastState") or {}
    name, restarts = container["name"], container.get("restartCount", 0)
    log = _log(last_line)
    if ended := state.get("terminated"):
        if container in (pod["status"].get("initContainerStatuses") or []) and not ended.get("exitCode"):
            return None
        return _ended(pod, container, subject, log)
    waiting = state.get("waiting") or {}
    reason, message = waiting.get("reason", ""), " ".join(waiting.get("message", "").split())
    if reason in _NEVER_PULLED:
        return Cause(subject, f"container {name}: {reason}: {message}", True)
    if reason in ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"):
        return Cause(
            subject, f"container {name}: {reason}: {message}", bool(_PULL_REFUSED.search(message)), attempt
        )
    if reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
        return Cause(
            subject, f"container {name}: {reason}: {message}", bool(_ABSENT.search(message)), attempt
        )
    last = before.get("terminated")
    if last and not container.get("ready"):
        text = f"container {name} was restarted {restarts} times, the last time after {_exit(last)}{log}"
        return Cause(subject, text, restarts >= _restarts_max(last))
    return None


def _ended(pod: Document, container: Mapping[str, Any], subject: str, log: str) -> Cause | None:
    """Return the cause of an ended container, which is restarted, replaced with its pod, or stays ended."""
    policy, name = pod["spec"].get("restartPolicy", "Always"), container["name"]
    ended = container["state"]["terminated"]
    text = f"container {name} ended with {_exit(ended)}{log}"
    if policy == "Always" or (policy == "OnFailure" and ended.get("exitCode")):
        return Cause(subject, text, container.get("restartCount", 0) >= _restarts_max(ended))
    states = {one["name"]: one.get("state") or {} for one in pod["status"].get("containerStatuses") or []}
    ray = pod["spec"]["containers"][0]["name"]  # the container that the operator checks
    if name == ray or pod["status"].get("phase") in ("Failed", "Succeeded"):
        return Cause(subject, f"{text}; the operator replaces the pod", False, fault=f"{name} {_exit(ended)}")
    if "terminated" in states.get(ray, {}):
        return None  # the pod is replaced because of its Ray container
    return Cause(
        subject, f"{text}; nothing restarts it: delete the pod, and the operator creates another", True
    )


def _replaced(pod: Document, subject: str, last_lines: Mapping[tuple[str, str], str]) -> Iterator[Cause]:
    """Yield the cause of a pod that is being deleted because its Ray container failed."""
    ray = pod["spec"]["containers"][0]["name"]
    for container in (pod.get("status") or {}).get("containerStatuses") or []:
        ended = (container.get("state") or {}).get("terminated") or {}
        if container["name"] == ray and is_fault(ended.get("exitCode", 0), ended.get("reason", "")):
            log = _log(last_lines.get((pod["metadata"]["name"], ray), ""))
            text = f"container {ray} ended with {_exit(ended)}{log}; the operator replaces the pod"
            yield Cause(subject, text, False, fault=f"{ray} {_exit(ended)}")


def _log(last_line: str) -> str:
    return f"; its log ends with: {last_error(last_line)}" if last_line else ""


def _restarts_max(ended: Mapping[str, Any]) -> int:
    return _OUT_OF_MEMORY_MAX if ended.get("reason") == "OOMKilled" else _RESTARTS_MAX


def _exit(ended: Mapping[str, Any]) -> str:
    code, reason = ended.get("exitCode"), ended.get("reason")
    return f"exit code {code}" + (f" ({reason})" if reason and reason != "Error" else "")
