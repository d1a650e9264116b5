"""`apply`, `status`, `wait`, `diff`, `logs`, `delete`: a family of verbs on objects in a cluster."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from cluster.kuberay.kinds import RAY_KINDS, kind_of
from cluster.verbs.environment import add_environment, add_training, chosen_documents

_GONE_S = 600.0
"""A pod's grace period is 240 s, the operator's patience with its own clean-up 300 s."""
_WAIT_S = 1800.0
"""A new GPU node, a large image and the model, one after the other."""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The verbs' parsers."""
    apply = _verb(verbs, "apply", _apply, "make or change everything of an environment (server-side apply)")
    apply.add_argument(
        "--force", action="store_true", help="take over what others own: a rollout's models too"
    )
    apply.add_argument(
        "--ray-only", action="store_true", help="the Ray object alone; the rest of the environment stands"
    )
    apply.add_argument(
        "--create-namespace", action="store_true", help="make the environment's namespace, if there is none"
    )
    apply.add_argument("--dry-run", action="store_true", help="the server checks and keeps nothing")
    _verb(verbs, "status", _status, "where an environment's Ray object stands, with its conditions")
    wait = _verb(verbs, "wait", _wait, "wait until it is ready; says each step, and why if it fails")
    wait.add_argument("--timeout", type=float, default=_WAIT_S, metavar="S", help="(%(default)g)")
    _verb(verbs, "diff", _diff, "what apply would change; exit code 1 if anything")
    logs = _verb(verbs, "logs", _logs, "the last lines of the logs of its pods")
    logs.add_argument("--lines", type=int, default=50, help="of each container (%(default)s)")
    delete = _verb(
        verbs, "delete", _delete, "delete the Ray object; with --all everything of the environment"
    )
    delete.add_argument(
        "--all",
        action="store_true",
        help="wait until the Ray objects are gone, trainings too; then nodes, Redis and guards",
    )
    delete.add_argument(
        "--timeout",
        type=float,
        default=_GONE_S,
        metavar="S",
        help="with --all: seconds to wait for the Ray objects (default: %(default)g)",
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


def _connect(chosen: argparse.Namespace) -> Any:
    from cluster.kuberay.client import connect

    return connect(chosen.context)


def _place(document: dict[str, Any]) -> tuple[str, str]:
    return document["metadata"].get("namespace", ""), document["metadata"]["name"]


def _apply(chosen: argparse.Namespace) -> int:
    from cluster.kuberay.initial_pods import starting_as_large
    from cluster.kuberay.serve_owner import apply

    documents, client = chosen_documents(chosen), _connect(chosen)
    if chosen.create_namespace:
        name, _ = _place(documents[-1])
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        documents = [namespace, *documents]
    for document in documents[-1:] if chosen.ray_only else documents:
        document = starting_as_large(client, document, keep_models=not chosen.force)
        applied = apply(
            client, document, force=chosen.force, dry_run=chosen.dry_run, keep_models=not chosen.force
        )
        done = "would be applied" if chosen.dry_run else "applied"
        note = f"; {applied.note}" if applied.note else ""
        print(f"{document['kind']} {document['metadata']['name']} {done}{note}", flush=True)
    return 0


def _status(chosen: argparse.Namespace) -> int:
    from cluster.kuberay.causes import causes, lines
    from cluster.kuberay.evidence import read_evidence
    from cluster.kuberay.progress import progress

    document, client = chosen_documents(chosen)[-1], _connect(chosen)
    document = client.get(kind_of(document), *_place(document))
    stands, evidence = progress(document), read_evidence(client, document)
    print(f"{document['kind']} {document['metadata']['name']}: {stands.state}: {stands.summary}")
    for line in [*stands.conditions, *lines(causes(evidence))]:
        print(f"  {line}")
    return 0 if stands.state == "ready" else 1


def _wait(chosen: argparse.Namespace) -> int:
    document = chosen_documents(chosen)[-1]
    client = _connect(chosen)
    client.wait(
        kind_of(document),
        *_place(document),
        timeout_s=chosen.timeout,
        tell=lambda line: print(line, flush=True),
    )
    return 0


def _diff(chosen: argparse.Namespace) -> int:
    from cluster.kuberay.difference import difference
    from cluster.kuberay.initial_pods import starting_as_large
    from cluster.kuberay.serve_owner import apply

    documents, client = chosen_documents(chosen), _connect(chosen)
    changed = False
    for document in documents:
        kind = kind_of(document)
        before = client.get_or_none(kind, *_place(document))
        document = starting_as_large(client, document)
        # Who owns a field is not asked here: a diff shows what a forced apply would do.
        lines = difference(before, apply(client, document, force=True, dry_run=True).document)
        if lines:
            changed = True
            print(f"{kind.name} {document['metadata']['name']}{'' if before else ' (new)'}")
            print("\n".join(f"  {line}" for line in lines))
    return 1 if changed else 0


def _logs(chosen: argparse.Namespace) -> int:
    document = chosen_documents(chosen)[-1]
    client = _connect(chosen)
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
                print(client.logs(namespace, pod["metadata"]["name"], container["name"], chosen.lines))
    return 0


def _delete(chosen: argparse.Namespace) -> int:
    from cluster.kuberay.deletion import delete_all, delete_one

    documents, client = chosen_documents(chosen), _connect(chosen)
    if not chosen.all:
        print(delete_one(client, documents[-1]))
        return 0
    for line in delete_all(client, documents, timeout_s=chosen.timeout):
        print(line, flush=True)
    return 0
