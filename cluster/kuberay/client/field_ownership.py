"""Field ownership of Ray objects: the cluster's apply, a rollout, KubeRay's operator, or others.

`serveConfigV2` is owned by the apply, or by a rollout that took it over to change the model.

For Kubernetes it is one string with one owner. It holds the models, which a rollout owns from the first
rollout on, and everything else, which the settings own. Therefore an apply copies the live models into the
configuration that it applies.

The operator adds its finalizer by an Update of the entire object, and thereby owns fields that its
serialisation changes. It changes no field of a rendered manifest, except of manifests from an older version
of this project.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import yaml

from cluster.errors import ConflictError, StaleObjectError
from cluster.kuberay.client.client import Document, KubeRay
from cluster.kuberay.client.resources import RAY_KINDS, RAY_SERVICE, kind_of
from cluster.kuberay.manifests.serve_config import deployments, without_initial

ROLLOUT_MANAGER = "sentiment-rollout"
"""Field manager of serveConfigV2 from the first rollout on, until an apply with --force takes it over."""
SERVE_CONFIG = "serveConfigV2"
_ATTEMPTS = 10
"""Maximum number of attempts of a change: each status update by the operator makes the version that was read
outdated."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Applied:
    """Result of an apply: the resulting object, and an optional note for the user."""

    document: Document
    note: str = ""


def apply(
    client: KubeRay,
    document: Document,
    *,
    force: bool = False,
    dry_run: bool = False,
    keep_models: bool = True,
) -> Applied:
    """Apply a manifest by server-side apply, without the models of a service that a rollout owns.

    Fields of a Ray object that only the operator's serialisation owns are taken over.

    Args:
        client: Client of the cluster.
        document: Manifest of any kind.
        force: Whether to take over fields of other managers.
        dry_run: Whether to compute the result without changing the object.
        keep_models: Whether to keep the models of a rollout; False applies the manifest's.

    Raises:
        ConflictError: Another manager owns a field.
        StaleObjectError: The object changed during every attempt.
        KubeError: See `cluster.errors`.
    """
    kind = kind_of(document)
    if kind not in RAY_KINDS.values():
        return Applied(client.apply(document, force=force, dry_run=dry_run))

    def attempt() -> Applied:
        live = client.get_or_none(kind, document["metadata"]["namespace"], document["metadata"]["name"])
        if live is None:
            return Applied(client.apply(document, force=force, dry_run=dry_run))

        def apply_entirely(note: str = "") -> Applied:
            return Applied(_apply_to(client, live, document, force=force, dry_run=dry_run), note)

        if kind != RAY_SERVICE or ROLLOUT_MANAGER not in holders(live):
            return apply_entirely()
        if not keep_models:
            return apply_entirely(
                f"replaces the models of a rollout, {_models(live)}, by those of the settings"
            )
        wish = document["spec"][SERVE_CONFIG]
        rest = {key: value for key, value in document["spec"].items() if key != SERVE_CONFIG}
        after = _apply_to(client, live, {**document, "spec": rest}, force=force, dry_run=dry_run)
        text = _with_models(wish, after["spec"][SERVE_CONFIG])
        if dry_run:
            after = {**after, "spec": {**after["spec"], SERVE_CONFIG: text}}
        else:
            after = _put(client, after, text, force=force)
        return Applied(
            after,
            f"keeps the models of a rollout, {_models(after)}; use --force to apply those of the settings",
        )

    return _while_outdated(attempt)


def edit(client: KubeRay, namespace: str, name: str, change: Callable[[Document], str]) -> None:
    """Change serveConfigV2 as the rollout's field manager, which then is its only owner.

    Concurrent changes by others are not lost.

    Args:
        client: Client of the cluster.
        namespace: Namespace of the service.
        name: Name of the service.
        change: Computes the new text from the service; called again if the service has changed meanwhile.

    Raises:
        ObjectNotFoundError: The service does not exist.
        StaleObjectError: The service changed during every attempt.
        KubeError: See `cluster.errors`.
    """

    def attempt() -> Document:
        live = client.get(RAY_SERVICE, namespace, name)
        text = change(live)
        if text != live["spec"].get(SERVE_CONFIG):
            # Serve would apply the initial number of replicas again, because the deployment has changed.
            text = yaml.safe_dump(without_initial(yaml.safe_load(text)), sort_keys=False)
        return _put(client, live, text, force=True)

    _while_outdated(attempt)


def holders(service: Document) -> frozenset[str]:
    """Return the field managers that own serveConfigV2."""
    return frozenset(
        entry["manager"]
        for entry in service["metadata"].get("managedFields") or []
        if f"f:{SERVE_CONFIG}" in entry.get("fieldsV1", {}).get("f:spec", {})
    )


def _apply_to(client: KubeRay, live: Document, document: Document, *, force: bool, dry_run: bool) -> Document:
    """Apply to exactly the version that was read, for which the decision was made.

    In a later version a rollout may have released serveConfigV2, so that omitting it would delete it; or a
    user may have changed a field that the operator owned, which would be overwritten.
    """
    metadata = {**document["metadata"], "resourceVersion": live["metadata"]["resourceVersion"]}
    wish = {**document, "metadata": metadata}
    try:
        return client.apply(wish, force=force, dry_run=dry_run)
    except ConflictError as conflict:
        if not conflict.managers or not conflict.managers <= _operators(live):
            raise
    return client.apply(wish, force=True, dry_run=dry_run)


def _operators(live: Document) -> frozenset[str]:
    """Return the field managers that added KubeRay's finalizer: the operator, whose name may vary.

    The operator changes the spec only with that Update, by its serialisation. A later change of the spec is
    by another manager, who then owns the changed fields.
    """
    return frozenset(
        entry["manager"]
        for entry in live["metadata"].get("managedFields") or []
        if any("ray.io/" in name for name in entry["fieldsV1"].get("f:metadata", {}).get("f:finalizers", {}))
    )


def _put(client: KubeRay, live: Document, text: str, *, force: bool) -> Document:
    """Set serveConfigV2 in exactly this version of the service, and own it."""
    if text == live["spec"].get(SERVE_CONFIG):
        return live
    wish = {
        "apiVersion": RAY_SERVICE.api_version,
        "kind": RAY_SERVICE.name,
        "metadata": {key: live["metadata"][key] for key in ("name", "namespace", "resourceVersion")},
        "spec": {SERVE_CONFIG: text},
    }
    return client.apply(wish, manager=ROLLOUT_MANAGER, force=force)


def _while_outdated(attempt: Callable[[], Result]) -> Result:
    left = _ATTEMPTS
    while True:
        try:
            return attempt()
        except StaleObjectError:
            left -= 1
            if not left:
                raise


def _with_models(wish: str, live: str) -> str:
    """Return the desired configuration with the live `user_config`s, or the live text if both are equal."""
    config, now = yaml.safe_load(wish), yaml.safe_load(live)
    there = dict(deployments(now))
    for place, deployment in deployments(config):
        if "user_config" in there.get(place, {}):
            deployment["user_config"] = there[place]["user_config"]
    return live if config == now else yaml.safe_dump(config, sort_keys=False)


def _models(service: Document) -> str:
    """Return every deployment's `user_config` as text."""
    config = yaml.safe_load(service["spec"][SERVE_CONFIG])
    return ", ".join(
        json.dumps(deployment["user_config"])
        for _, deployment in deployments(config)
        if "user_config" in deployment
    )
