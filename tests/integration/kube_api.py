"""Kubernetes API stand-in over HTTP for the client's tests: server-side apply, watches, injected failures.

It implements the features that the client relies on: paths, resourceVersion and generation, field managers
with conflicts, dry runs, watches, the proxy to pods, bearer tokens, and the Status objects in which a real
API server explains errors. A list has one owner as a unit.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

Object = dict[str, Any]
TOKEN = "a-token-of-the-test"
KINDS = {
    "rayservices": "RayService",
    "rayclusters": "RayCluster",
    "rayjobs": "RayJob",
    "namespaces": "Namespace",
    "pods": "Pod",
    "events": "Event",
    "persistentvolumeclaims": "PersistentVolumeClaim",
    "services": "Service",
    "serviceaccounts": "ServiceAccount",
    "statefulsets": "StatefulSet",
    "poddisruptionbudgets": "PodDisruptionBudget",
    "networkpolicies": "NetworkPolicy",
    "ingresses": "Ingress",
    "ingressclasses": "IngressClass",
    "storageclasses": "StorageClass",
    "deployments": "Deployment",
    "gateways": "Gateway",
    "gatewayclasses": "GatewayClass",
    "nodepools": "NodePool",
    "ec2nodeclasses": "EC2NodeClass",
    "customresourcedefinitions": "CustomResourceDefinition",
}
DROP, GONE = "drop", "gone"
LOST, HANG = "lost", "hang"
Fault = int | str | None
"""Status to answer with; DROP: not executed, no answer; LOST: executed, no answer; HANG: never an answer."""
Step = Callable[[], None] | str


@dataclass
class KubeApi:
    """State of the stand-in, and its faults.

    Attributes:
        url: address at which it listens.
        absent: API groups whose CRDs are not installed.
        denied: plurals to which access is denied.
        statuses: HTTP statuses for the next calls, in order; watches do not count.
        invalid: field and message with which every apply is refused; empty: none.
        script: events during watches: functions change objects, DROP breaks the watch, GONE reports that its
            version is too old. If it is empty, a watch ends immediately.
        hang: while set, calls are not answered.
        before: called with method and path before each call except watches; the fault that it returns applies
            to the call.
        pages: answers of pods, by the path through the proxy; a pod that is not here cannot be reached.
        calls: method and path of each call.
    """

    url: str = ""
    objects: dict[str, Object] = field(default_factory=dict)
    owners: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)
    statuses: list[int] = field(default_factory=list)
    invalid: tuple[str, str] | None = None
    script: list[Step] = field(default_factory=list)
    hang: Event = field(default_factory=Event)
    released: Event = field(default_factory=Event)
    before: Callable[[str, str], Fault] = lambda method, path: None
    pages: dict[str, Callable[[], str]] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    watches: int = 0
    version: int = 100
    lock: Lock = field(default_factory=Lock)
    changed: list[tuple[str, str, Object]] = field(default_factory=list)

    def put(self, path: str, document: Object) -> None:
        """Store an object as if it had always existed."""
        self._store(path, copy.deepcopy(document), "ADDED")

    def set_status(self, path: str, status: Object, *, seen: bool = True) -> None:
        """Write the status like an operator; `seen` means that the operator has processed the newest spec."""
        document = copy.deepcopy(self.objects[path])
        document["status"] = status
        if seen:
            document["status"]["observedGeneration"] = document["metadata"]["generation"]
        self._store(path, document, "MODIFIED")

    def update(self, path: str, wish: Object, manager: str) -> None:
        """Set fields and take over their ownership, like `kubectl edit`."""
        self.apply(path, wish, manager, force=True, dry_run=False)
        mine = self.owners[path][manager]
        self.owners[path] = {
            who: held if who == manager else held - mine for who, held in self.owners[path].items()
        }

    def shown(self, path: str) -> Object:
        """Return an object as the server shows it, with the owners of its fields."""
        return _with_owners(self.objects[path], self.owners.get(path, {}))

    def remove(self, path: str) -> None:
        """Delete an object."""
        document = self.objects.pop(path)
        self.owners.pop(path, None)
        self.changed.append(("DELETED", path, document))

    def _store(self, path: str, document: Object, event: str) -> None:
        self.version += 1
        metadata = document["metadata"]
        metadata.setdefault("uid", f"uid-{self.version}")
        metadata.setdefault("generation", 1)
        metadata["resourceVersion"] = str(self.version)
        self.objects[path] = document
        self.changed.append((event, path, document))

    def apply(
        self, path: str, wish: Object, manager: str, *, force: bool, dry_run: bool
    ) -> tuple[int, Object]:
        """Execute a server-side apply: merge, own, and refuse fields that another manager holds.

        A field is refused only if the other manager's value is different.
        """
        before = self.objects.get(path)
        read = wish["metadata"].get("resourceVersion")
        if read and (before is None or read != before["metadata"]["resourceVersion"]):
            said = (
                "the object has been modified; please apply your changes to the latest version and try again"
            )
            details = {"name": wish["metadata"]["name"], "kind": _parts(path)[0]}
            said = f"Operation cannot be fulfilled on {path}: {said}"
            return 409, _status(409, "Conflict", said, details=details)
        owners = copy.deepcopy(self.owners.get(path, {}))
        after: Object = copy.deepcopy(before) if before else {}
        mine = {place: value for place, value in _leaves(wish, ()) if not _fixed(place)}
        conflicts = []
        for place, value in mine.items():
            others = {who for who, held in owners.items() if who != manager and _name(place) in held}
            if others and _at(after, place) != value:
                conflicts.append((".".join(place), sorted(others)[0]))
                for who in others:
                    owners[who].discard(_name(place))
        if conflicts and not force:
            return 409, _status(
                409,
                "Conflict",
                f"Apply failed with {len(conflicts)} conflict(s)",
                causes=[
                    {
                        "reason": "FieldManagerConflict",
                        "message": f'conflict with "{who}"',
                        "field": f".{place}",
                    }
                    for place, who in conflicts
                ],
            )
        held_elsewhere = {place for who, held in owners.items() if who != manager for place in held}
        kept = {_name(place) for place in mine} | held_elsewhere
        for place in owners.get(manager, set()) - kept:
            _remove(after, tuple(place.split(_BETWEEN)))
        for place, value in _leaves(wish, ()):
            if place == ("metadata", "resourceVersion"):
                continue
            _put(after, place, copy.deepcopy(value))
        owners[manager] = {_name(place) for place in mine}
        if before is not None and after.get("spec") != before.get("spec"):
            after["metadata"]["generation"] = before["metadata"]["generation"] + 1
        if dry_run:
            return 200, _with_owners(after, owners)
        self.owners[path] = owners
        if after != before:
            self._store(path, after, "MODIFIED" if before else "ADDED")
        return (200 if before else 201), self.shown(path)


@contextmanager
def kube_api() -> Iterator[KubeApi]:
    """Yield a stand-in that listens on 127.0.0.1 while the block runs."""
    api = KubeApi()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(api))
    server.daemon_threads = True
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield api
    finally:
        api.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(api: KubeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            self._serve()

        def do_PATCH(self) -> None:
            self._serve()

        def do_DELETE(self) -> None:
            self._serve()

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length) if length else b""
            url = urlsplit(self.path)
            query = {key: values[-1] for key, values in parse_qs(url.query).items()}
            if api.hang.is_set():
                api.released.wait()
                self.close_connection = True
                return
            if query.get("watch") == "true":
                self._watch(url.path, query)
                return
            with api.lock:
                api.calls.append((self.command, url.path))
                fault = api.before(self.command, url.path)
                if isinstance(fault, int):
                    status, answer = fault, _status(fault, "InternalError", "etcdserver: leader changed")
                elif fault in (None, LOST):
                    status, answer = self._answer(url.path, query, body)
            if fault == HANG:
                api.released.wait()
            if isinstance(fault, str):
                self.connection.close()
                self.close_connection = True
                return
            self._send(status, answer)

        def _answer(self, path: str, query: dict[str, str], body: bytes) -> tuple[int, Object | str]:
            if api.statuses:
                status = api.statuses.pop(0)
                return status, _status(status, "InternalError", "etcdserver: leader changed")
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return 401, _status(401, "Unauthorized", "Unauthorized")
            if any(f"/{group}/" in path for group in api.absent):
                return 404, "404 page not found\n"
            if path.startswith("/apis/") and path.count("/") == 3:
                return 200, {"kind": "APIResourceList"}
            plural, name = _parts(path)
            if plural in api.denied:
                said = (
                    f'{plural} is forbidden: User "tester" cannot {self.command.lower()} resource "{plural}"'
                )
                return 403, _status(403, "Forbidden", said, details={"name": name, "kind": plural})
            if "/proxy/" in path:
                if path not in api.pages:
                    return 503, _status(503, "ServiceUnavailable", "no endpoints available for the pod")
                return 200, api.pages[path]()
            if path.endswith("/log"):
                return 200, api.logs[f"{path.removesuffix('/log')}#{query['container']}"]
            if self.command == "PATCH":
                return self._apply(path, query, body)
            if not name:
                found = [stored for key, stored in api.objects.items() if key.startswith(f"{path}/")]
                return 200, {"items": [stored for stored in found if _selected(stored, query)]}
            if path not in api.objects:
                details = {"name": name, "kind": plural}
                return 404, _status(404, "NotFound", f'{plural} "{name}" not found', details=details)
            if self.command == "DELETE":
                assert query["propagationPolicy"] == "Background"
                before = api.shown(path)
                api.remove(path)
                return 200, before
            return 200, api.shown(path)

        def _apply(self, path: str, query: dict[str, str], body: bytes) -> tuple[int, Object]:
            if self.headers.get("Content-Type") != "application/apply-patch+yaml":
                return 415, _status(415, "UnsupportedMediaType", str(self.headers.get("Content-Type")))
            if not query.get("fieldManager") or query.get("fieldValidation") != "Strict":
                return 422, _status(
                    422, "Invalid", "fieldManager is required, and fieldValidation=Strict here"
                )
            if api.invalid:
                where, said = api.invalid
                return 422, _status(422, "Invalid", said, causes=[{"field": where, "message": said}])
            return api.apply(
                path,
                json.loads(body),
                query["fieldManager"],
                force=query.get("force") == "true",
                dry_run=query.get("dryRun") == "All",
            )

        def _watch(self, path: str, query: dict[str, str]) -> None:
            name = query["fieldSelector"].removeprefix("metadata.name=")
            key = f"{path}/{name}"
            with api.lock:
                api.watches += 1
                step: Step | None = api.script.pop(0) if api.script else None
                if step == GONE:
                    self._send(410, _status(410, "Expired", "too old resource version"))
                    return
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while step is not None:
                if step == DROP:
                    # Half an event is sent before the connection breaks.
                    self._chunk(b'{"type": "MODIFIED", "obj')
                    self.wfile.flush()
                    self.connection.close()
                    self.close_connection = True
                    return
                with api.lock:
                    seen = len(api.changed)
                    assert callable(step)
                    step()
                    for event, changed, document in api.changed[seen:]:
                        if changed == key:
                            self._chunk(json.dumps({"type": event, "object": document}).encode() + b"\n")
                    step = api.script.pop(0) if api.script else None
                    if step == GONE:
                        expired = {"type": "ERROR", "object": _status(410, "Expired", "too old")}
                        self._chunk(json.dumps(expired).encode() + b"\n")
                        break
            self._chunk(b"")

        def _chunk(self, content: bytes) -> None:
            self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")

        def _send(self, status: int, answer: Object | str) -> None:
            content = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return Handler


def _parts(path: str) -> tuple[str, str]:
    """Return plural and name; the name is empty if the path is that of all objects."""
    parts = path.strip("/").removesuffix("/log").split("/")
    number = max((index for index, part in enumerate(parts) if part in KINDS), default=-1)
    assert number >= 0, path
    return parts[number], parts[number + 1] if len(parts) > number + 1 else ""


def _selected(document: Object, query: dict[str, str]) -> bool:
    key, _, value = query.get("labelSelector", "").partition("=")
    return not key or document["metadata"].get("labels", {}).get(key) == value


def _status(
    code: int, reason: str, message: str, causes: list[Object] | None = None, details: Object | None = None
) -> Object:
    extra = {**(details or {}), **({"causes": causes} if causes else {})}
    return {"kind": "Status", "code": code, "reason": reason, "message": message, "details": extra}


Place = tuple[str, ...]
_BETWEEN = "\x1f"


def _fixed(place: Place) -> bool:
    """Return whether a field has no owner."""
    return place[0] in ("apiVersion", "kind") or place[:2] in (
        ("metadata", "name"),
        ("metadata", "namespace"),
        ("metadata", "resourceVersion"),
    )


def _with_owners(document: Object, owners: dict[str, set[str]]) -> Object:
    """Return the object with `managedFields`, as the API server writes them."""
    managed = []
    for manager, places in owners.items():
        fields: Object = {}
        for place in places:
            _put(fields, tuple(f"f:{part}" for part in place.split(_BETWEEN)), {})
        managed.append({"manager": manager, "operation": "Apply", "fieldsV1": fields})
    return {**document, "metadata": {**document["metadata"], "managedFields": managed}}


def _leaves(value: Any, place: Place) -> Iterator[tuple[Place, Any]]:
    if isinstance(value, dict) and value:
        for key, child in value.items():
            yield from _leaves(child, (*place, key))
    else:
        yield place, value


def _name(place: Place) -> str:
    """Return a place as one string; keys may contain dots, so dots cannot separate them."""
    return _BETWEEN.join(place)


def _at(document: Any, place: Place) -> Any:
    for part in place:
        document = document.get(part) if isinstance(document, dict) else None
    return document


def _put(document: Object, place: Place, value: Any) -> None:
    for part in place[:-1]:
        document = document.setdefault(part, {})
    document[place[-1]] = value


def _remove(document: Object, place: Place) -> None:
    """Remove a value, and the containers that become empty."""
    if len(place) > 1:
        inner = document.get(place[0], {})
        _remove(inner, place[1:])
        if inner:
            return
    document.pop(place[0], None)
