"""Requests whose answers the client depends on, and the parts of an answer that it reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.kuberay.client.client import FIELD_MANAGER

RECORDED = Path(__file__).with_name("kube_answers.json")
"""Answers of kube-apiserver 1.36.2; tests/operator/test_answers.py compares them with a running server."""
NAMESPACE = "NAMESPACE"
_ACCOUNT = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/one"
_RAY = f"/apis/ray.io/v1/namespaces/{NAMESPACE}/rayservices"
Answer = tuple[int, str]
Ask = Callable[["Exchange"], Answer]


@dataclass(frozen=True)
class Exchange:
    """Request to the Kubernetes API.

    Attributes:
        name: name of the request in the recorded answers.
        method: HTTP method.
        path: path, with NAMESPACE for the namespace.
        query: query of the URL.
        label: value of the label that an apply sets; None: no body.
        version: resourceVersion that an apply names.
        user: sender: the administrator, a user without rights, or a user unknown to the server.
    """

    name: str
    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    label: str | None = None
    version: str | None = None
    user: str = "administrator"

    def body(self, namespace: str) -> dict[str, Any] | None:
        """Return the document of an apply."""
        if self.label is None:
            return None
        metadata = {"name": "one", "namespace": namespace, "labels": {"colour": self.label}}
        if self.version:
            metadata["resourceVersion"] = self.version
        return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


def _apply(name: str, label: str, manager: str = FIELD_MANAGER, **rest: Any) -> Exchange:
    query = {"fieldManager": manager, "fieldValidation": "Strict", **rest.pop("query", {})}
    return Exchange(name, "PATCH", _ACCOUNT, query, label, **rest)


EXCHANGES = (
    Exchange("an object that is not there", "GET", f"{_RAY}/none"),
    Exchange("objects of no kind", "GET", f"/apis/nowhere.example/v1/namespaces/{NAMESPACE}/nothings/one"),
    Exchange("objects that are not there", "GET", _RAY),
    _apply("an apply that creates", "red"),
    _apply("the same apply again", "red"),
    _apply("an apply of what another manager owns", "blue", "another"),
    _apply("a dry run by force", "blue", "another", query={"force": "true", "dryRun": "All"}),
    _apply("an apply to an older version", "green", version="1"),
    Exchange("a user without rights", "GET", _ACCOUNT, user="somebody"),
    Exchange("a user that is not known", "GET", _ACCOUNT, user="nobody"),
    Exchange("a deletion", "DELETE", _ACCOUNT, {"propagationPolicy": "Background"}),
    Exchange("a second deletion", "DELETE", _ACCOUNT, {"propagationPolicy": "Background"}),
)


def read(answer: Answer) -> dict[str, Any]:
    """Return the parts of an answer that the client reads; of a message only whether there is one."""
    status, text = answer
    try:
        body = json.loads(text)
    except ValueError:
        return {"status": status, "text": text.strip()}
    if body.get("kind") != "Status" or status < 400:
        labels = (body.get("metadata") or {}).get("labels")
        return {"status": status, "labels": labels, "is_list": "items" in body}
    details = body.get("details") or {}
    return {
        "status": status,
        "reason": body["reason"],
        "has_message": bool(body["message"]),
        "name": details.get("name"),
        "causes": details.get("causes"),
    }


def answers(ask: Ask) -> dict[str, dict[str, Any]]:
    """Return the read parts of every answer, in order: the requests build on each other."""
    return {exchange.name: read(ask(exchange)) for exchange in EXCHANGES}
