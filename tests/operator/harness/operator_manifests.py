"""Released manifests of the operator, with a program instead of an image."""

from __future__ import annotations

from typing import Any

import yaml

NAMESPACE = "kuberay-system"


def operator_manifests(rendered: str, program: str) -> str:
    """Assign the operator's namespace, and set its container's command to a program of this machine.

    Args:
        rendered: output of `kubectl kustomize` for the release.
        program: path of the operator.

    Returns:
        YAML documents.
    """
    documents = list(yaml.load_all(rendered, Loader=yaml.CSafeLoader))
    for document in documents:
        metadata = document["metadata"]
        if "namespace" in metadata:
            metadata["namespace"] = NAMESPACE
        for subject in document.get("subjects") or []:
            if "namespace" in subject:
                subject["namespace"] = NAMESPACE
        if document["kind"] == "Deployment":
            [container] = _pod(document)["containers"]
            container["command"] = [program]
    return yaml.dump_all(documents, Dumper=yaml.CSafeDumper)


def _pod(deployment: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return pod
