"""Commands `apply`, `status`, `wait`, `diff`, `logs` and `delete` for the objects of an environment."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from cluster.cli.environment import add_environment, add_training, selected_documents
from cluster.kuberay.client.resources import RAY_KINDS, kind_of

_GONE_S = 600.0
"""A pod's termination grace period is 240 s; the operator's timeout of its clean-up is 300 s."""
_WAIT_S = 1800.0
"""Enough for a new GPU node, a large image and the model, one after the other."""
_API_KEYS = "SENTIMENT_API_KEYS_FILE"


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands' parsers."""
    apply = _verb(
        verbs, "apply", _apply, "create or update the objects of an environment (server-side apply)"
    )
    apply.add_argument(
        "--force", action="store_true", help="take over fields of other owners, including a rollout's models"
    )
    apply.add_argument(
        "--ray-only", action="store_true", help="apply only the Ray object, not the rest of the environment"
    )
    apply.add_argument(
        "--create-namespace",
        action="store_true",
        help="create the environment's namespace if it does not exist",
    )
    apply.add_argument(
        "--no-preflight",
        action="store_true",
        help="apply without the check of the cluster's operator, add-ons and classes",
    )
    apply.add_argument(
        "--dry-run", action="store_true", help="let the API server check the change without applying it"
    )
    _verb(verbs, "status", _status, "show the status and conditions of an environment's Ray object")
    wait = _verb(
        verbs,
        "wait",
        _wait,
        "wait until the Ray object is ready; report each step, or the cause of a failure",
    )
    wait.add_argument(
        "--timeout", type=float, default=_WAIT_S, metavar="S", help="maximum wait in s (default: %(default)g)"
    )
    _verb(verbs, "diff", _diff, "show what apply would change; exit code 1 if there are changes")
    logs = _verb(verbs, "logs", _logs, "show the last log lines of the pods")
    logs.add_argument(
        "--lines", type=int, default=50, help="number of lines per container (default: %(default)s)"
    )
    delete = _verb(
        verbs, "delete", _delete, "delete the Ray object, or with --all every object of the environment"
    )
    delete.add_argument(
        "--all",
        action="store_true",
        help="delete the Ray objects including trainings, wait for that, then delete nodes, Redis and "
        "policies",
    )
    delete.add_argument(
        "--timeout",
        type=float,
        default=_GONE_S,
        metavar="S",
        help="with --all: maximum wait for the Ray objects in s (default: %(default)g)",
    )


def _verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[argparse.Namespace], int],
    about: str,
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".")
    add_environment(parser, required=True)
    add_training(parser)
    parser.add_argument("--context", metavar="NAME", help="kubectl context (default: the current one)")
    parser.set_defaults(run=run)
    return parser


def _connect(args: argparse.Namespace) -> Any:
    from cluster.kuberay.client.client import connect

    return connect(args.context)


def _place(document: dict[str, Any]) -> tuple[str, str]:
    return document["metadata"].get("namespace", ""), document["metadata"]["name"]


def _apply(args: argparse.Namespace) -> int:
    from cluster.cli.preflight import require
    from cluster.kuberay.client.field_ownership import apply
    from cluster.kuberay.client.initial_pods import starting_as_large

    documents, client = selected_documents(args), _connect(args)
    if not (args.no_preflight or args.ray_only or args.training):
        require(client, args)
    if args.create_namespace:
        name, _ = _place(documents[-1])
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        documents = [namespace, *documents]
    for document in documents[-1:] if args.ray_only else documents:
        if document["kind"] == "RayService" and not args.force:
            _require_api_keys(client, document)
        document = starting_as_large(client, document, keep_models=not args.force)
        applied = apply(client, document, force=args.force, dry_run=args.dry_run, keep_models=not args.force)
        done = "would be applied" if args.dry_run else "applied"
        note = f"; {applied.note}" if applied.note else ""
        print(f"{document['kind']} {document['metadata']['name']} {done}{note}", flush=True)
    return 0


def _require_api_keys(client: Any, document: dict[str, Any]) -> None:
    """Raise ClusterNotReadyError if the service requires API keys and its new manifest does not."""
    from cluster.errors import ClusterNotReadyError

    live = client.get_or_none(kind_of(document), *_place(document))
    if live and _API_KEYS in str(live["spec"]) and _API_KEYS not in str(document["spec"]):
        raise ClusterNotReadyError(
            f"RayService {'/'.join(_place(document))} was not applied: the running service requires API keys "
            "and these settings name no Secret with keys; set api_keys_secret, in the environment's file or "
            "with --set, or open the service to everybody who reaches it with --force"
        )


def _status(args: argparse.Namespace) -> int:
    from cluster.kuberay.client.status import progress
    from cluster.kuberay.diagnosis.causes import causes, lines
    from cluster.kuberay.diagnosis.related_objects import read_related_objects

    document, client = selected_documents(args)[-1], _connect(args)
    document = client.get(kind_of(document), *_place(document))
    stands, evidence = progress(document), read_related_objects(client, document)
    print(f"{document['kind']} {document['metadata']['name']}: {stands.state}: {stands.summary}")
    for line in [*stands.conditions, *lines(causes(evidence))]:
        print(f"  {line}")
    return 0 if stands.state == "ready" else 1


def _wait(args: argparse.Namespace) -> int:
    document = selected_documents(args)[-1]
    client = _connect(args)
    client.wait(
        kind_of(document),
        *_place(document),
        timeout_s=args.timeout,
        on_progress=lambda line: print(line, flush=True),
    )
    return 0


def _diff(args: argparse.Namespace) -> int:
    from cluster.kuberay.client.diff import difference
    from cluster.kuberay.client.field_ownership import apply
    from cluster.kuberay.client.initial_pods import starting_as_large

    documents, client = selected_documents(args), _connect(args)
    changed = False
    for document in documents:
        kind = kind_of(document)
        before = client.get_or_none(kind, *_place(document))
        document = starting_as_large(client, document)
        # Forced, so that the diff does not depend on field ownership.
        lines = difference(before, apply(client, document, force=True, dry_run=True).document)
        if lines:
            changed = True
            print(f"{kind.name} {document['metadata']['name']}{'' if before else ' (new)'}")
            print("\n".join(f"  {line}" for line in lines))
    return 1 if changed else 0


def _logs(args: argparse.Namespace) -> int:
    document = selected_documents(args)[-1]
    client = _connect(args)
    namespace, name = _place(document)
    clusters = client.clusters(RAY_KINDS[document["kind"].lower()], namespace, name)
    if not clusters:
        print(f"{document['kind']} {namespace}/{name} has no Ray cluster yet", file=sys.stderr)
        return 1
    for cluster in clusters:
        for pod in client.pods(cluster, namespace):
            for container in pod["spec"]["containers"]:
                title = f"{pod['metadata']['name']} {container['name']}"
                print(f"==> {title} <==")
                print(client.logs(namespace, pod["metadata"]["name"], container["name"], args.lines))
    return 0


def _delete(args: argparse.Namespace) -> int:
    from cluster.kuberay.client.deletion import delete_all, delete_one

    documents, client = selected_documents(args), _connect(args)
    if not args.all:
        print(delete_one(client, documents[-1]))
        return 0
    for line in delete_all(client, documents, timeout_s=args.timeout):
        print(line, flush=True)
    return 0
