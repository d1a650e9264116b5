"""Pod: it runs the init containers in sequence, then its containers until they or the pod end."""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kubernetes.client import ApiException

from tests.operator.harness import network
from tests.operator.harness.kubelet import probes
from tests.operator.harness.kubelet.api import Api
from tests.operator.harness.kubelet.container import Container
from tests.operator.harness.kubelet.images import Images
from tests.operator.harness.kubelet.sandbox import Mount, Sandbox, root_script
from tests.operator.harness.kubelet.settings import KubeletSettings
from tests.operator.harness.kubelet.timestamps import now
from tests.operator.harness.kubelet.variables import expanded, field, variables
from tests.operator.harness.kubelet.volumes import Volumes

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SYNC_S = 0.5
_REFRESH_S = 3.0
_RETRY_S = 3.0
_LONGEST_BACKOFF_S = 30.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Machine:
    """Resources that all pods share: settings, API server, images and addresses."""

    settings: KubeletSettings
    api: Api
    images: Images
    addresses: network.Addresses


class Pod:
    """Lifecycle of one pod, in its own thread.

    Args:
        machine: shared resources.
        body: Kubernetes object of the pod.
        on_change: called when its state has changed.
    """

    def __init__(self, machine: Machine, body: dict[str, Any], on_change: Callable[[], None]) -> None:
        self.body = body
        self.spec, metadata = body["spec"], body["metadata"]
        self.name, self.namespace, self.uid = (metadata[key] for key in ("name", "namespace", "uid"))
        self.is_ending = False
        self.phase = "Pending"
        number, self.address = machine.addresses.take()
        body.setdefault("status", {}).update(podIP=self.address, hostIP=network.GATEWAY)
        self.folder = machine.settings.folder / self.uid
        self.folder.mkdir(parents=True)
        self.hosts = self.folder / "hosts"
        self.hosts.write_text("127.0.0.1 localhost\n")
        # There is no name server: gRPC would query one, and wait for it, before it reads the hosts file.
        self._resolver = self.folder / "resolv.conf"
        self._resolver.touch()
        self._machine = machine
        self._on_change = on_change
        self._sandbox = Sandbox(number, self.address, self.name)
        fields = lambda path: field(body, path)  # noqa: E731
        self._volumes = Volumes(
            machine.api, body, self.folder / "volumes", machine.settings.folder / "claims", fields
        )
        self._started_at = now()
        self._is_initialized = not self.spec.get("initContainers")
        self._transitions: dict[str, tuple[str, str]] = {}
        self._report_lock = threading.Lock()
        self._changed = threading.Event()
        self.init_containers = [self._container(spec) for spec in self.spec.get("initContainers") or []]
        self.containers = [self._container(spec) for spec in self.spec["containers"]]
        threading.Thread(target=self._live, daemon=True, name=self.name).start()

    @property
    def is_ready(self) -> bool:
        """Return whether the pod is in the endpoints of its Services."""
        return self.phase == "Running" and not self.is_ending and all(one.is_ready for one in self.containers)

    def end(self, grace_s: float) -> None:
        """End all containers, and then remove the pod from the API server."""
        self.is_ending = True
        began = time.monotonic()
        self._report()
        everything = self.containers + self.init_containers
        threads = [threading.Thread(target=one.end, args=(grace_s,)) for one in everything]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        _log.info("%s ended after %.1f s of %g", self.name, time.monotonic() - began, grace_s)
        self._sandbox.end()
        self._report()
        self._machine.api.remove(self.body)

    def _container(self, spec: dict[str, Any]) -> Container:
        def launch() -> tuple[dict[str, str], subprocess.Popen[bytes]]:
            return self._launch(spec)

        return Container(spec, self.folder / f"{spec['name']}.log", launch)

    def _launch(self, spec: dict[str, Any]) -> tuple[dict[str, str], subprocess.Popen[bytes]]:
        settings = self._machine.settings
        image = self._machine.images.image(spec["image"])
        port = str(settings.api_port)
        host = {
            "KUBERNETES_SERVICE_HOST": settings.api_host,
            "KUBERNETES_SERVICE_PORT": port,
            "KUBERNETES_SERVICE_PORT_HTTPS": port,
        }
        path = ":".join([*(str(folder / "bin") for folder in settings.programs), _PATH])
        values = {"PATH": path, "HOME": "/tmp", "HOSTNAME": self.name, "LANG": "C.UTF-8", **host}
        values |= image.variables
        values |= variables(self._machine.api, self.body, spec, lambda name: field(self.body, name))
        mounts = [Mount(folder, str(folder)) for folder in settings.programs]
        mounts += [Mount(self.hosts, "/etc/hosts"), Mount(self._resolver, "/etc/resolv.conf")]
        for one in sorted(spec.get("volumeMounts") or [], key=lambda one: str(one["mountPath"])):
            source = self._volumes.paths[one["name"]] / one.get("subPath", "")
            if not source.exists():
                source.mkdir(parents=True)
            mounts.append(Mount(source, one["mountPath"], bool(one.get("readOnly"))))
        folder = self.folder / spec["name"]
        folder.mkdir(exist_ok=True)
        script = folder / "start.sh"
        command = [*(spec.get("command") or []), *(spec.get("args") or [])]
        script.write_text(
            root_script(
                folder,
                layers=[image.layer] if image.layer else [],
                hidden=settings.checkout,
                mounts=mounts,
                read_only=bool((spec.get("securityContext") or {}).get("readOnlyRootFilesystem")),
                working_folder=spec.get("workingDir") or image.folder,
                command=[expanded(part, values) for part in command],
            )
        )
        return values, self._sandbox.start(script, values, self.folder / f"{spec['name']}.log")

    def _live(self) -> None:
        self._report()
        if not self._until_made("FailedMount", None, self._volumes.make):
            return
        for container in self.init_containers:
            if not self._run_init(container):
                return
        self._is_initialized = True
        for container in self.containers:
            if not self._until_made("Failed", container, container.start):
                return
            self._watch(container)
        self.phase = "Running"
        self._report()
        refreshed = time.monotonic()
        while not self.is_ending and self.phase == "Running":
            self._changed.wait(_SYNC_S)
            self._sync()
            if time.monotonic() - refreshed > _REFRESH_S:
                refreshed = time.monotonic()
                self._refresh()

    def _until_made(self, reason: str, container: Container | None, make: Callable[[], None]) -> bool:
        """Retry until it succeeds, with an event for each failure; return False if the pod ends before."""
        while not self.is_ending:
            try:
                make()
            except (ApiException, KeyError) as error:
                said = error.body if isinstance(error, ApiException) else f"no key {error}"
                self._machine.api.event(self.body, reason, str(said))
                if container is not None:
                    container.waiting, container.message = "CreateContainerConfigError", str(said)
                self._report()
                time.sleep(_RETRY_S)
            else:
                return True
        return False

    def _run_init(self, container: Container) -> bool:
        """Run an init container until it has succeeded; return False if the pod failed or ends."""
        while not self.is_ending:
            if not self._until_made("Failed", container, container.start):
                return False
            self._report()
            while (code := container.poll()) is None:
                if self.is_ending:
                    return False
                time.sleep(_SYNC_S)
            if code == 0:
                container.is_ready = True
                self._report()
                return True
            if self.spec.get("restartPolicy") == "Never":
                self.phase = "Failed"
                self._report()
                return False
            self._back_off(container)
        return False

    def _watch(self, container: Container) -> None:
        run = container.restarts

        def is_over() -> bool:
            return self.is_ending or container.restarts != run or container.poll() is not None

        def on_failure(kind: str, answer: str) -> None:
            _log.info("%s/%s: %s failed: %s", self.name, container.name, kind, answer)
            self._machine.api.event(self.body, "Unhealthy", f"{kind} of {container.name} failed: {answer}")

        grace_s = self.spec.get("terminationGracePeriodSeconds", 30)
        probes.watch(
            container,
            self.address,
            grace_s,
            is_over=is_over,
            on_change=self._changed.set,
            on_failure=on_failure,
        )

    def _sync(self) -> None:
        """Detect containers that have ended: restart them, or end the pod's phase."""
        is_changed = self._changed.is_set()
        self._changed.clear()
        policy = self.spec.get("restartPolicy", "Always")
        codes = []
        for container in self.containers:
            ran = container.is_ready, container.waiting
            code = container.poll()
            codes.append(code)
            is_changed |= ran != (container.is_ready, container.waiting)
            if code is None or container.waiting or self.is_ending:
                continue
            if policy == "Always" or (policy == "OnFailure" and code):
                _log.info("%s/%s ended with %s", self.name, container.name, code)
                threading.Thread(target=self._restart, args=(container,), daemon=True).start()
                container.waiting, container.message = "CrashLoopBackOff", f"exit code {code}"
                is_changed = True
        if policy != "Always" and all(code is not None for code in codes):
            if policy == "Never" or not any(codes):
                self.phase = "Failed" if any(codes) else "Succeeded"
                is_changed = True
        elif codes != getattr(self, "_codes", codes):
            is_changed = True
        self._codes = codes
        if is_changed:
            self._report()

    def _restart(self, container: Container) -> None:
        self._back_off(container)
        if not self.is_ending and self._until_made("Failed", container, container.start):
            self._watch(container)
            self._changed.set()

    def _back_off(self, container: Container) -> None:
        deadline = time.monotonic() + min(2.0**container.restarts, _LONGEST_BACKOFF_S)
        while not self.is_ending and time.monotonic() < deadline:
            time.sleep(_SYNC_S)

    def _refresh(self) -> None:
        try:
            self._volumes.refresh()
        except ApiException as error:
            _log.info("%s: volumes not refreshed: %s", self.name, error.reason)

    def _report(self) -> None:
        with self._report_lock:
            self._machine.api.set_status(self.body, self._status())
        self._on_change()

    def _status(self) -> dict[str, Any]:
        values = {
            "PodScheduled": True,
            "PodReadyToStartContainers": True,
            "Initialized": self._is_initialized,
            "ContainersReady": self.is_ready,
            "Ready": self.is_ready,
        }
        for kind, value in values.items():
            if self._transitions.get(kind, ("", ""))[0] != str(value):
                self._transitions[kind] = (str(value), now())
        return {
            "phase": self.phase,
            "conditions": [
                {"type": kind, "status": value, "lastTransitionTime": at}
                for kind, (value, at) in self._transitions.items()
            ],
            "hostIP": network.GATEWAY,
            "podIP": self.address,
            "podIPs": [{"ip": self.address}],
            "startTime": self._started_at,
            "containerStatuses": [one.status(one.spec["image"]) for one in self.containers],
            "initContainerStatuses": [one.status(one.spec["image"]) for one in self.init_containers],
        }
