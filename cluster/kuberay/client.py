"""The KubeRay client: server-side apply, status, watch, logs, delete, over the official package's transport.

Every call has a timeout, every answer that is not the wanted one becomes an error of `cluster.errors`, and
what the server may get over by itself (5xx, 429, a broken connection) is repeated until the patience ends.
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

from cluster.errors import KubeError, NoCluster, NoKind, NotFound, ServerFailed, WaitFailed
from cluster.kuberay.answers import error_of
from cluster.kuberay.evidence import read_evidence
from cluster.kuberay.kinds import CRD, POD, Kind, kind_of
from cluster.kuberay.progress import Progress, cluster_names, progress
from cluster.kuberay.waiting import CauseReport

Document = dict[str, Any]
FIELD_MANAGER = "sentiment-cluster"
"""Owns what `apply` sets; a rollout is another manager, and owns serveConfigV2 while it runs."""

_APPLY = "application/apply-patch+yaml"
_CONNECT_S = 5.0
_READ_S = 30.0
_PATIENCE_S = 30.0
"""How long a call that the server may get over is repeated."""
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_WATCH_S = 4.0
"""After this the server ends a watch, and the object's pods and events are read before the next one begins: a
watch on the object does not report what happens to its pods."""
_GONE = 410


@dataclass(frozen=True)
class Pace:
    """The client's time: a clock and a pause, both in seconds, and how long it goes on asking."""

    now: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep
    patience_s: float = _PATIENCE_S
    read_s: float = _READ_S
    watch_s: float = _WATCH_S


def connect(context: str | None = None, pace: Pace | None = None) -> "KubeRay":
    """A client for a kubectl context, or for the cluster that this process runs in.

    Args:
        context: of the kubeconfig; None for its current one.
        pace: of the client.

    Raises:
        NoCluster: there is no configuration, or no such context.
    """
    configuration = Configuration()
    configuration.retries = False  # what is asked again, and for how long, is decided here
    try:
        config.load_kube_config(context=context, client_configuration=configuration)  # type: ignore[no-untyped-call]
    except config.ConfigException as outside:
        try:
            if context is not None:
                raise
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        except config.ConfigException:
            raise NoCluster(
                f"no cluster: {outside}; see `kubectl config get-contexts`, or `aws eks update-kubeconfig`"
            ) from outside
    return KubeRay(ApiClient(configuration), pace or Pace())


class KubeRay:
    """Talks to one cluster.

    Args:
        api: the official package's client: address, TLS and credentials.
        pace: clock, pause and limits.
    """

    def __init__(self, api: ApiClient, pace: Pace) -> None:
        self._api = api
        self._pace = pace

    @property
    def host(self) -> str:
        """Address of the API server."""
        return str(self._api.configuration.host)

    def apply(
        self,
        document: Mapping[str, Any],
        *,
        manager: str = FIELD_MANAGER,
        force: bool = False,
        dry_run: bool = False,
    ) -> Document:
        """Server-side apply: make or change an object, and own the fields that the document sets.

        Args:
            document: a manifest.
            manager: name under which the fields are owned.
            force: take over fields that another manager owns.
            dry_run: only answer what would be.

        Returns:
            The object as the server has it now.

        Raises:
            Conflict: another manager owns a field; each is named with its manager.
            Outdated: the document names a resourceVersion, and the object is another one by now.
            Rejected: the server or an admission hook refuses it.
            KubeError: see `cluster.errors`.
        """
        kind, metadata = kind_of(document), document["metadata"]
        query = {"fieldManager": manager, "fieldValidation": "Strict"}
        if force:
            query["force"] = "true"
        if dry_run:
            query["dryRun"] = "All"
        path = kind.path(metadata.get("namespace", "default"), metadata["name"])
        return self._ask("PATCH", path, kind, query, body=dict(document))

    def get(self, kind: Kind, namespace: str, name: str) -> Document:
        """An object.

        Raises:
            NotFound: there is none of that name.
            KubeError: see `cluster.errors`.
        """
        return self._ask("GET", kind.path(namespace, name), kind)

    def get_or_none(self, kind: Kind, namespace: str, name: str) -> Document | None:
        """An object, or None if there is none of that name.

        Raises:
            KubeError: see `cluster.errors`.
        """
        try:
            return self.get(kind, namespace, name)
        except NotFound:
            return None

    def find(self, kind: Kind, namespace: str, selector: str = "") -> list[Document]:
        """Objects of a kind, those with the labels of `selector`."""
        found = self._ask("GET", kind.path(namespace), kind, {"labelSelector": selector} if selector else {})
        return list(found["items"])

    def crds(self) -> list[Document]:
        """Every CustomResourceDefinition of the cluster, for a strict check."""
        return self.find(CRD, "")

    def status(self, kind: Kind, namespace: str, name: str) -> Progress:
        """Where a Ray object stands."""
        return progress(self.get(kind, namespace, name))

    def delete(self, kind: Kind, namespace: str, name: str) -> None:
        """Delete an object and, in the background, what belongs to it.

        Raises:
            NotFound: there is none of that name.
        """
        self._ask("DELETE", kind.path(namespace, name), kind, {"propagationPolicy": "Background"})

    def wait(
        self, kind: Kind, namespace: str, name: str, *, timeout_s: float, tell: Callable[[str], None]
    ) -> Progress:
        """Wait until a Ray object is ready.

        Args:
            kind: RayService, RayCluster or RayJob; a job is ready when it has succeeded.
            namespace: of the object.
            name: of the object.
            timeout_s: in all.
            tell: told each new state and each new cause, one line.

        Raises:
            WaitFailed: it failed, went away, was not ready in time, or waiting cannot improve the cause; the
                message has its conditions, and ends with the causes.
            NotFound: it was never there.
            KubeError: see `cluster.errors`.
        """
        deadline = self._pace.now() + timeout_s
        told, next_look = "", self._pace.now()
        last = Progress("waiting", "nothing was heard of it")
        report = CauseReport(tell)
        for document in self._versions(kind, namespace, name, deadline):
            if document is None:
                raise WaitFailed(f"{kind.name} {namespace}/{name} was deleted while it was waited for")
            last = progress(document)
            if last.summary != told:
                tell(last.summary)
                told = last.summary
            if last.state == "ready":
                return last
            is_certain = False
            if last.state == "failed" or self._pace.now() >= next_look:
                is_certain = report.add(read_evidence(self, document), self._pace.now())
                next_look = self._pace.now() + self._pace.watch_s
            if last.state == "failed" or is_certain:
                ended = "failed" if last.state == "failed" else "cannot become ready"
                raise WaitFailed(_explain(f"{kind.name} {namespace}/{name} {ended}", last, report.lines))
        what = f"{kind.name} {namespace}/{name} was not ready in {timeout_s:g} s"
        raise WaitFailed(_explain(what, last, report.lines))

    def pods(self, cluster: str, namespace: str) -> list[Document]:
        """The pods of a RayCluster."""
        return self.find(POD, namespace, f"ray.io/cluster={cluster}")

    def clusters(self, kind: Kind, namespace: str, name: str) -> tuple[str, ...]:
        """Names of the RayClusters that an object runs on; a service has two while it upgrades."""
        return cluster_names(self.get(kind, namespace, name))

    def serves(self, api_version: str) -> bool:
        """Whether the API server has a group of kinds, such as "gateway.networking.k8s.io/v1"."""
        group = Kind(api_version, api_version, "", from_crd=True)
        try:
            self._ask("GET", f"/apis/{api_version}", group)
        except NoKind:
            return False
        return True

    def logs(self, namespace: str, pod: str, container: str, lines: int, *, previous: bool = False) -> str:
        """The last lines of a container's log; `previous`: of the run before its last restart."""
        query = {
            "container": container,
            "tailLines": str(lines),
            **({"previous": "true"} if previous else {}),
        }
        return self._text("GET", POD.path(namespace, pod) + "/log", POD, query)

    def page(self, namespace: str, pod: str, port: int, path: str) -> str:
        """What a pod answers to a GET, through the API server; asked once, for the next pod waits too."""
        way = f"{POD.path(namespace, f'{pod}:{port}')}/proxy/{path}"
        return self._text("GET", way, POD, {}, patience_s=0.0)

    def _versions(self, kind: Kind, namespace: str, name: str, deadline: float) -> Iterator[Document | None]:
        """An object as it is and each time it changes, until the deadline; None once it is gone.

        A watch that ends, breaks off or is too old is begun anew from a fresh read.
        """
        pause_s = _FIRST_PAUSE_S
        found = False
        while (left_s := deadline - self._pace.now()) > 0:
            try:
                document = self.get(kind, namespace, name)
            except NotFound:
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
            whole = self._pace.now() - began >= self._pace.watch_s / 2
            self._pace.pause(max(0.0, min(pause_s, deadline - self._pace.now())))
            pause_s = _FIRST_PAUSE_S if whole else min(2 * pause_s, _LONGEST_PAUSE_S)

    def _events(
        self, path: str, kind: Kind, query: Mapping[str, str], longest_s: float
    ) -> Iterator[Document]:
        """The events of one watch; it ends without a word where the wire does, or where it is too old."""
        try:
            answer = self._send("GET", path, query, None, read_s=longest_s)
            if answer.status in (429, _GONE) or answer.status >= 500:
                return
            if answer.status != 200:
                raise error_of(answer.status, answer.read(), kind, path)
            rest = b""
            for chunk in answer.response.stream(amt=None, decode_content=True):
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    event: Document = json.loads(line)
                    if event.get("type") == "ERROR":
                        return
                    yield event
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, json.JSONDecodeError):
            return

    def _ask(
        self, method: str, path: str, kind: Kind, query: Mapping[str, str] | None = None, body: Any = None
    ) -> Document:
        answer: Document = json.loads(self._text(method, path, kind, query or {}, body))
        return answer

    def _text(
        self,
        method: str,
        path: str,
        kind: Kind,
        query: Mapping[str, str],
        body: Any = None,
        patience_s: float | None = None,
    ) -> str:
        """One call, repeated while the server may get over what ails it.

        Each may be repeated safely: an apply says the whole wish again, a delete of what is gone answers 404.
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
                if not isinstance(failure, ServerFailed):
                    raise failure
            except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
                failure = NoCluster(f"{self.host} does not answer: {_root(error)}; is the cluster reachable?")
            if self._pace.now() + pause_s >= deadline:
                raise failure
            self._pace.pause(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _send(self, method: str, path: str, query: Mapping[str, str], body: Any, *, read_s: float) -> Any:
        """One request over the official client, which adds address and credentials; the raw answer."""
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
        except ApiException as error:  # the transport's own: TLS, or a login command that failed
            raise NoCluster(f"{self.host}: {error.reason}") from error


def _explain(what: str, last: Progress, causes: list[str]) -> str:
    """What happened, with everything the object last said, and why."""
    return "\n  ".join([f"{what}: {last.summary}", *map(str, last.conditions), *causes])


def _root(error: BaseException) -> str:
    """The innermost reason of a transport's error."""
    reason = getattr(error, "reason", None)
    return _root(reason) if isinstance(reason, BaseException) else str(error) or type(error).__name__
