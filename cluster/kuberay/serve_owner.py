"""Who owns a Ray object's fields: the cluster's apply, a rollout, KubeRay's operator, or others.

`serveConfigV2` is the apply's, or a rollout's that took it over for the model.

To Kubernetes it is one string with one owner. In it are two things: the models, which are the rollout's once
there was one, and all else, which is the settings'. So an apply carries the models over into its own wish.

The operator adds its finalizer by an Update of the entire object, and so owns what its own serialisation
changes. What is rendered leaves it nothing to change; what an older version of this project rendered may.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import yaml

from cluster.errors import Conflict, Outdated
from cluster.kuberay.client import Document, KubeRay
from cluster.kuberay.kinds import RAY_KINDS, RAY_SERVICE, kind_of
from cluster.kuberay.serve_config import deployments, without_initial

ROLLOUT_MANAGER = "sentiment-rollout"
"""Owns serveConfigV2 from the first rollout on, until an apply with --force takes it back."""
SERVE_CONFIG = "serveConfigV2"
_ATTEMPTS = 10
"""At changing exactly what was read: every status that the operator writes makes a new version of it."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply came to: the object as it is, or would be, and a line for people where there is one."""

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
    """Server-side apply of a manifest; of a service that a rollout has the say over, all but its models.

    Fields of a Ray object that only the operator's serialisation owns are taken over.

    Args:
        client: of the cluster.
        document: a manifest of any kind.
        force: take over fields that others own.
        dry_run: only answer what would be.
        keep_models: False puts the manifest's models there, whatever a rollout did.

    Raises:
        Conflict: another manager owns a field.
        Outdated: the object changed each time that it was tried.
        KubeError: see `cluster.errors`.
    """
    kind = kind_of(document)
    if kind not in RAY_KINDS.values():
        return Applied(client.apply(document, force=force, dry_run=dry_run))

    def attempt() -> Applied:
        live = client.get_or_none(kind, document["metadata"]["namespace"], document["metadata"]["name"])
        if live is None:
            return Applied(client.apply(document, force=force, dry_run=dry_run))

        def whole(note: str = "") -> Applied:
            return Applied(_apply_to(client, live, document, force=force, dry_run=dry_run), note)

        if kind != RAY_SERVICE or ROLLOUT_MANAGER not in holders(live):
            return whole()
        if not keep_models:
            return whole(f"its models are those of the settings again; a rollout had put {_models(live)}")
        wish = document["spec"][SERVE_CONFIG]
        rest = {key: value for key, value in document["spec"].items() if key != SERVE_CONFIG}
        after = _apply_to(client, live, {**document, "spec": rest}, force=force, dry_run=dry_run)
        text = _with_models(wish, after["spec"][SERVE_CONFIG])
        if dry_run:
            after = {**after, "spec": {**after["spec"], SERVE_CONFIG: text}}
        else:
            after = _put(client, after, text, force=force)
        return Applied(after, f"keeps the models of a rollout, {_models(after)}; --force puts the settings'")

    return _while_outdated(attempt)


def edit(client: KubeRay, namespace: str, name: str, change: Callable[[Document], str]) -> None:
    """Change serveConfigV2 as the rollout, from what was just read, and own it alone.

    Nothing that others do meanwhile is lost.

    Args:
        client: of the cluster.
        namespace: of the service.
        name: of the service.
        change: from the service to the new text; called again where the service changed in between.

    Raises:
        NotFound: there is no such service.
        Outdated: it changed each time that it was tried.
        KubeError: see `cluster.errors`.
    """

    def attempt() -> Document:
        live = client.get(RAY_SERVICE, namespace, name)
        text = change(live)
        if text != live["spec"].get(SERVE_CONFIG):
            # To Serve the deployment is changed, and it would go back to the number it started with.
            text = yaml.safe_dump(without_initial(yaml.safe_load(text)), sort_keys=False)
        return _put(client, live, text, force=True)

    _while_outdated(attempt)


def holders(service: Document) -> frozenset[str]:
    """The field managers that own its serveConfigV2."""
    return frozenset(
        entry["manager"]
        for entry in service["metadata"].get("managedFields") or []
        if f"f:{SERVE_CONFIG}" in entry.get("fieldsV1", {}).get("f:spec", {})
    )


def _apply_to(client: KubeRay, live: Document, document: Document, *, force: bool, dry_run: bool) -> Document:
    """Apply to exactly the version that was read: what is decided from it holds for no other.

    Had a rollout let go since, what is left out would be deleted; had somebody changed a field that the
    operator owned, it would be overwritten.
    """
    metadata = {**document["metadata"], "resourceVersion": live["metadata"]["resourceVersion"]}
    wish = {**document, "metadata": metadata}
    try:
        return client.apply(wish, force=force, dry_run=dry_run)
    except Conflict as conflict:
        if not conflict.managers or not conflict.managers <= _operators(live):
            raise
    return client.apply(wish, force=True, dry_run=dry_run)


def _operators(live: Document) -> frozenset[str]:
    """The field managers that added KubeRay's finalizer: the operator, whatever its name.

    By that Update alone it changes the spec, and only through its serialisation. Whoever changes the spec
    later is another manager, and owns what they change.
    """
    return frozenset(
        entry["manager"]
        for entry in live["metadata"].get("managedFields") or []
        if any("ray.io/" in name for name in entry["fieldsV1"].get("f:metadata", {}).get("f:finalizers", {}))
    )


def _put(client: KubeRay, live: Document, text: str, *, force: bool) -> Document:
    """Set the text in exactly this version of the service, and own it."""
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
        except Outdated:
            left -= 1
            if not left:
                raise


def _with_models(wish: str, live: str) -> str:
    """The wanted configuration with each `user_config` as it is now; the live text where that is the same."""
    config, now = yaml.safe_load(wish), yaml.safe_load(live)
    there = dict(deployments(now))
    for place, deployment in deployments(config):
        if "user_config" in there.get(place, {}):
            deployment["user_config"] = there[place]["user_config"]
    return live if config == now else yaml.safe_dump(config, sort_keys=False)


def _models(service: Document) -> str:
    """Every deployment's `user_config`, for people."""
    config = yaml.safe_load(service["spec"][SERVE_CONFIG])
    return ", ".join(
        json.dumps(deployment["user_config"])
        for _, deployment in deployments(config)
        if "user_config" in deployment
    )
