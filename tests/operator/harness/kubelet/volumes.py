"""Volumes of a pod: one folder each, whose contents follow Secrets and ConfigMaps."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.operator.harness.kubelet.api import Api

Contents = dict[str, bytes]


class Volumes:
    """Volumes of one pod.

    Args:
        api: API server with their contents.
        pod: Kubernetes object of the pod.
        folder: folder of the volumes; PersistentVolumeClaims have theirs in `claims`.
        claims: folder of all claims.
        fields: returns the value of a field of the pod, such as metadata.name.
    """

    def __init__(
        self, api: Api, pod: dict[str, Any], folder: Path, claims: Path, fields: Callable[[str], str]
    ) -> None:
        self._api = api
        self._pod = pod
        self._namespace = pod["metadata"]["namespace"]
        self._folder = folder
        self._claims = claims
        self._fields = fields
        self._written: dict[str, Contents] = {}
        self.paths: dict[str, Path] = {}

    def make(self) -> None:
        """Create every volume.

        Raises:
            kubernetes.client.ApiException: a Secret, ConfigMap or service account is missing.
        """
        for volume in self._pod["spec"].get("volumes") or []:
            name = volume["name"]
            if "persistentVolumeClaim" in volume:
                claim = volume["persistentVolumeClaim"]["claimName"]
                self.paths[name] = self._claims / f"{self._namespace}_{claim}"
            elif "hostPath" in volume:
                self.paths[name] = Path(volume["hostPath"]["path"])
            else:
                self.paths[name] = self._folder / name
            self.paths[name].mkdir(parents=True, exist_ok=True)
            if contents := self._contents(volume, first=True):
                self._write(name, contents)

    def refresh(self) -> None:
        """Update Secrets and ConfigMaps; a token stays unchanged."""
        for volume in self._pod["spec"].get("volumes") or []:
            if "secret" in volume or "configMap" in volume:
                self._write(volume["name"], self._contents(volume, first=False))

    def _contents(self, volume: dict[str, Any], *, first: bool) -> Contents:
        found: Contents = {}
        sources = volume["projected"].get("sources", []) if "projected" in volume else [volume]
        for source in sources:
            if "secret" in source:
                about = source["secret"]
                found |= _chosen(
                    about, self._api.secret(self._namespace, about.get("secretName") or about["name"])
                )
            elif "configMap" in source:
                about = source["configMap"]
                found |= _chosen(about, self._api.config_map(self._namespace, about["name"]))
            elif "downwardAPI" in source:
                for item in source["downwardAPI"]["items"]:
                    found[item["path"]] = self._fields(item["fieldRef"]["fieldPath"]).encode()
            elif "serviceAccountToken" in source and first:
                account = self._pod["spec"].get("serviceAccountName", "default")
                found[source["serviceAccountToken"]["path"]] = self._api.token(self._namespace, account)
        return found

    def _write(self, name: str, contents: Contents) -> None:
        """Replace all files atomically, as the kubelet does: they are links through the link `..data`."""
        if self._written.get(name) == contents:
            return
        folder = self.paths[name]
        version = folder / f"..{len(list(folder.iterdir()))}_{os.urandom(4).hex()}"
        version.mkdir()
        for key, value in contents.items():
            (version / key).write_bytes(value)
        data, former = folder / "..data", None
        if data.is_symlink():
            former = folder / data.readlink()
        link = folder / "..data_new"
        link.symlink_to(version.name)
        link.rename(data)
        for key in contents:
            if not (folder / key).is_symlink():
                (folder / key).symlink_to(f"..data/{key}")
        for key in self._written.get(name, {}).keys() - contents.keys():
            (folder / key).unlink()
        if former:
            shutil.rmtree(former)
        self._written[name] = contents


def _chosen(source: dict[str, Any], values: Contents) -> Contents:
    """Return the keys that `items` selects, at the paths that it assigns; all keys without `items`."""
    if items := source.get("items"):
        return {item["path"]: values[item["key"]] for item in items}
    return values
