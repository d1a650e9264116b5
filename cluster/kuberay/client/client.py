"""KubeRay client: server-side apply, status, watch, logs and delete, over the official package's transport.

Every call has a timeout. An error response becomes an error of `cluster.errors`. Calls are retried for a
limited time after transient errors: 5xx, 429, or a broken connection.
"""

import http.client
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes import config
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException

from cluster.errors import (
    ApiServerError,
    ClusterUnreachableError,
    KubeError,
    ObjectNotFoundError,
    UnknownKindError,
    WaitError,
)
from cluster.kuberay.client.api_errors import error_of
from cluster.kuberay.client.resources import CRD, POD, ResourceKind, kind_of
from cluster.kuberay.client.status import ObjectProgress, cluster_names, progress
from cluster.kuberay.diagnosis.related_objects import read_related_objects
from cluster.kuberay.diagnosis.waiting import CauseReport

Document = dict[str, Any]
FIELD_MANAGER = "sentiment-cluster"
"""Field manager of `apply`. A rollout is another field manager, and owns serveConfigV2 while it runs."""

_APPLY = "application/apply-patch+yaml"
_CONNECT_S = 5.0
_READ_S = 30.0
_PATIENCE_S = 30.0
"""Time for which a call is retried after transient errors."""
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_WATCH_S = 4.0
"""Duration of a watch. Between two watches the object's pods and events are read, because a watch on the
object does not report changes of its pods."""
_GONE = 410


@dataclass(frozen=True)
class ClientTiming:
    """Timing of the client: clock, sleep function, and limits of retries, reads and watches, in seconds."""

    now: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep
    patience_s: float = _PATIENCE_S
    read_s: float = _READ_S
    watch_s: float = _WATCH_S


def connect(context: str | None = None, pace: ClientTiming | None = None) -> "KubeRay":
    """Return a client for a kubectl context, or for the cluster that this process runs in.

    Args:
        context: Context of the kubeconfig; None for the current one.
        pace: Timing of the client.

    Raises:
        ClusterUnreachableError: There is no configuration, or the context does not exist.
    """
    configuration = Configuration()
    configuration.retries = False  # this client retries itself
    try:
        config.load_kube_config(context=context, client_configuration=configuration)  # type: ignore[no-untyped-call]
    except config.ConfigException as outside:
        try:
            if context is not None:
                raise
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        except config.ConfigException:
            raise ClusterUnreachableError(
                f"no cluster: {outside}; see `kubectl config get-contexts` and `aws eks update-kubeconfig`"
            ) from outside
    return KubeRay(ApiClient(configuration), pace or ClientTiming())


class KubeRay:
    """Client of one cluster.

    Args:
        api: Client of the official package, with address, TLS and credentials.
        pace: Clock, sleep function and limits.
    """

    def __init__(self, api: ApiClient, pace: ClientTiming) -> None:
        self._api = api
        self._pace = pace

    @property
    def host(self) -> str:
        """URL of the API server."""
        return str(self._api.configuration.host)

    def apply(
        self,
        document: Mapping[str, Any],
        *,
        manager: str = FIELD_MANAGER,
        force: bool = False,
        dry_run: bool = False,
    ) -> Document:
        """Create or update an object by server-side apply, and own the fields that the document sets.

        Args:
            document: Manifest.
            manager: Name of the field manager.
            force: Whether to take over fields of other managers.
            dry_run: Whether to compute the result without changing the object.

        Returns:
            The resulting object.

        Raises:
            ConflictError: Other managers own fields; the message lists both.
            StaleObjectError: The document has a resourceVersion, and the object has changed since.
            ObjectRejectedError: The server or an admission webhook rejects the document.
            KubeError: See `cluster.errors`.
        """
        kind, metadata = kind_of(document), document["metadata"]
        query = {"fieldManager": manager, "fieldValidation": "Strict"}
        if force:
            query["force"] = "true"
        if dry_run:
            query["dryRun"] = "All"
        path = kind.path(metadata.get("namespace", "default"), metadata["name"])
        return self._ask("PATCH", path, kind, query, body=dict(document))

    def get(self, kind: ResourceKind, namespace: str, name: str) -> Document:
        """Return an object.

        Raises:
            ObjectNotFoundError: The object does not exist.
            KubeError: See `cluster.errors`.
        """
        return self._ask("GET", kind.path(namespace, name), kind)

    def get_or_none(self, kind: ResourceKind, namespace: str, name: str) -> Document | None:
        """Return an object, or None if it does not exist.

        Raises:
            KubeError: See `cluster.errors`.
        """
        try:
            return self.get(kind, namespace, name)
        except ObjectNotFoundError:
            return None

    def find(self, kind: ResourceKind, namespace: str, selector: str = "") -> list[Document]:
        """Return the objects of a kind with the labels of `selector`."""
        found = self._ask("GET", kind.path(namespace), kind, {"labelSelector": selector} if selector else {})
        return list(found["items"])

    def crds(self) -> list[Document]:
        """Return every CustomResourceDefinition of the cluster."""
        return self.find(CRD, "")

    def status(self, kind: ResourceKind, namespace: str, name: str) -> ObjectProgress:
        """Return the progress of a Ray object."""
        return progress(self.get(kind, namespace, name))

    def delete(self, kind: ResourceKind, namespace: str, name: str) -> None:
        """Delete an object and, in the background, its dependents.

        Raises:
            ObjectNotFoundError: The object does not exist.
        """
        self._ask("DELETE", kind.path(namespace, name), kind, {"propagationPolicy": "Background"})

    def wait(
        self,
        kind: ResourceKind,
        namespace: str,
        name: str,
        *,
        timeout_s: float,
        on_progress: Callable[[str], None],
    ) -> ObjectProgress:
        """Wait until a Ray object is ready.

        Args:
            kind: RayService, RayCluster or RayJob; a job is ready when it has succeeded.
            namespace: Namespace of the object.
            name: Name of the object.
            timeout_s: Maximum total wait in seconds.
            on_progress: Called with one line for each new state and each new cause.

        Raises:
            WaitError: The object failed, was deleted, was not ready in time, or has a cause that waiting
                cannot resolve; the message lists conditions and causes.
            ObjectNotFoundError: The object does not exist at the start.
            KubeError: See `cluster.errors`.
        """
        deadline = self._pace.now() + timeout_s
        reported, next_check = "", self._pace.now()
        last = ObjectProgress("waiting", "no status received")
        report = CauseReport(on_progress)
        for document in self._versions(kind, namespace, name, deadline):
            if document is None:
                raise WaitError(f"{kind.name} {namespace}/{name} was deleted during the wait")
            last = progress(document)
            if last.summary != reported:
                on_progress(last.summary)
                reported = last.summary
            if last.state == "ready":
                return last
            is_certain = False
            if last.state == "failed" or self._pace.now() >= next_check:
                is_certain = report.add(read_related_objects(self, document), self._pace.now())
                next_check = self._pace.now() + self._pace.watch_s
            if last.state == "failed" or is_certain:
                ended = "failed" if last.state == "failed" else "cannot become ready"
                raise WaitError(_explain(f"{kind.name} {namespace}/{name} {ended}", last, report.lines))
        what = f"{kind.name} {namespace}/{name} was not ready in {timeout_s:g} s"
        raise WaitError(_explain(what, last, report.lines))

    def pods(self, cluster: str, namespace: str) -> list[Document]:
        """Return the pods of a RayCluster."""
        return self.find(POD, namespace, f"ray.io/cluster={cluster}")

    def clusters(self, kind: ResourceKind, namespace: str, name: str) -> tuple[str, ...]:
        """Return the names of an object's RayClusters; a service has two during an upgrade."""
        return cluster_names(self.get(kind, namespace, name))

    def serves(self, api_version: str) -> bool:
        """Return whether the API server serves an API group, such as "gateway.networking.k8s.io/v1"."""
        group = ResourceKind(api_version, api_version, "", from_crd=True)
        try:
            self._ask("GET", f"/apis/{api_version}", group)
        except UnknownKindError:
            return False
        return True

    def logs(self, namespace: str, pod: str, container: str, lines: int, *, previous: bool = False) -> str:
        """Return the last lines of a container's log; with `previous`, of the run before the last restart."""
        query = {
            "container": container,
            "tailLines": str(lines),
            **({"previous": "true"} if previous else {}),
        }
        return self._text("GET", POD.path(namespace, pod) + "/log", POD, query)

    def page(self, namespace: str, pod: str, port: int, path: str) -> str:
        """Return a pod's response to a GET through the API server. No retry: callers iterate over pods."""
        way = f"{POD.path(namespace, f'{pod}:{port}')}/proxy/{path}"
        return self._text("GET", way, POD, {}, patience_s=0.0)

    def _versions(
        self, kind: ResourceKind, namespace: str, name: str, deadline: float
    ) -> Iterator[Document | None]:
        """Yield an object now and after each change, until the deadline; None if it is deleted.

        A watch that ends, breaks or is too old is replaced by a new one after reading the object.
        """
        pause_s = _FIRST_PAUSE_S
        found = False
        while (left_s := deadline - self._pace.now()) > 0:
            try:
                document = self.get(kind, namespace, name)
            except ObjectNotFoundError:
                if not found:
                    raise
                yield None
                return
            found = True
            yield document
            query = {
                "watch": "true",
                "fieldSelector": f"metadata.name={name}",
                "resourceVersion": document["metadata"]["resourceVersion"],
                "timeoutSeconds": str(max(1, int(min(left_s, self._pace.watch_s)))),
            }
            began = self._pace.now()
            for event in self._events(kind.path(namespace), kind, query, min(left_s, self._pace.watch_s)):
                pause_s = _FIRST_PAUSE_S
                if event["type"] == "DELETED":
                    yield None
                    return
                if event["type"] in ("ADDED", "MODIFIED"):
                    yield event["object"]
                if self._pace.now() >= deadline:
                    return
            was_complete = self._pace.now() - began >= self._pace.watch_s / 2
            self._pace.pause(max(0.0, min(pause_s, deadline - self._pace.now())))
            pause_s = _FIRST_PAUSE_S if was_complete else min(2 * pause_s, _LONGEST_PAUSE_S)

    def _events(
        self, path: str, kind: ResourceKind, query: Mapping[str, str], longest_s: float
    ) -> Iterator[Document]:
        """Yield the events of one watch; return when the connection is lost or the version too old (410)."""
        try:
            answer = self._send("GET", path, query, None, read_s=longest_s)
            if answer.status in (429, _GONE) or answer.status >= 500:
                return
            if answer.status != 200:
                raise error_of(answer.status, answer.read(), kind, path)
            rest = b""
            for chunk in answer.response.stream(amt=None, decode_content=True):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    event: Document = json.loads(line)
                    if event.get("type") == "ERROR":
                        return
                    yield event
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, json.JSONDecodeError):
            return

    def _ask(
        self,
        method: str,
        path: str,
        kind: ResourceKind,
        query: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> Document:
        answer: Document = json.loads(self._text(method, path, kind, query or {}, body))
        return answer

    def _text(
        self,
        method: str,
        path: str,
        kind: ResourceKind,
        query: Mapping[str, str],
        body: Any = None,
        patience_s: float | None = None,
    ) -> str:
        """Send a request, with retries after transient errors, and return the response's text.

        Every call is safe to retry: an apply sends the entire desired state, and a repeated delete is
        answered 404.
        """
        deadline = self._pace.now() + (self._pace.patience_s if patience_s is None else patience_s)
        pause_s = _FIRST_PAUSE_S
        while True:
            failure: KubeError
            try:
                answer = self._send(method, path, query, body, read_s=self._pace.read_s)
                content = answer.read()
                if 200 <= answer.status < 300:
                    return bytes(content).decode()
                failure = error_of(answer.status, content, kind, path)
                if not isinstance(failure, ApiServerError):
                    raise failure
            except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
                failure = ClusterUnreachableError(
                    f"{self.host} does not answer: {_root(error)}; check that the cluster can be reached"
                )
            if self._pace.now() + pause_s >= deadline:
                raise failure
            self._pace.pause(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _send(self, method: str, path: str, query: Mapping[str, str], body: Any, *, read_s: float) -> Any:
        """Send a request with the official client, which adds address and credentials."""
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = _APPLY
        try:
            request = self._api.param_serialize(
                method=method,
                resource_path=f"{path}?{urlencode(query)}" if query else path,
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
            )
            return self._api.call_api(*request, _request_timeout=(_CONNECT_S, read_s))
        except ApiException as error:  # error of the transport: TLS, or a login command that failed
            raise ClusterUnreachableError(f"{self.host}: {error.reason}") from error


def _explain(what: str, last: ObjectProgress, causes: list[str]) -> str:
    """Return a message with the object's last status, its conditions and the causes."""
    return "\n  ".join([f"{what}: {last.summary}", *map(str, last.conditions), *causes])


def _root(error: BaseException) -> str:
    """Return the innermost reason of a transport error."""
    reason = getattr(error, "reason", None)
    return _root(reason) if isinstance(reason, BaseException) else str(error) or type(error).__name__
