"""Command `train`: fine-tunes on a cluster, and registers the version."""

import argparse
import sys
from typing import TYPE_CHECKING

from cluster.cli.environment import add_environment, selected_environment

if TYPE_CHECKING:
    from cluster.kuberay.settings import Environment, TrainingSettings

_HELP = """\
Run the environment's [training] and wait until it has ended: as a RayJob, which creates and deletes its own
cluster, or, with --dashboard, as a job of a running Ray cluster.

The RayJob's service account and network policy are applied too.

The command can be repeated with the same training.version: it waits for the job if it is running, does
nothing if it has succeeded or the version is registered, and starts it again if it has failed. A different
training with the same name is an error while the job exists.
"""
_EXAMPLE = """\
examples:
  python -m cluster train --env prod --set training.data=s3://data/texts --set training.version=run-7 \\
      --set training.checkpoints=s3://data/runs/run-7 --set training.name=sentiment \\
      --set training.registry=http://mlflow:5000 --set training.artifacts=s3://models/registry
  python -m cluster train --env dev --dashboard http://127.0.0.1:8265 --set training.version=run-7 …
exit codes: 0 trained (and registered, if training.registry is set), 1 error
"""
_TIMEOUT_S = 30.0


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    parser = verbs.add_parser(
        "train",
        help="fine-tune on a cluster, and register the version",
        description=_HELP,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_environment(parser, required=True)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--context", metavar="NAME", help="kubectl context (default: the current one)")
    where.add_argument("--dashboard", metavar="URL", help="URL of the dashboard of a running Ray cluster")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from cluster.errors import EnvironmentSettingsError

    environment = selected_environment(args)
    training = environment.training
    if training is None:
        raise EnvironmentSettingsError(f"environment {args.env!r} has no section [training]; add one")
    if _is_registered(training):
        print(f"{training.name}/{training.version} is registered already")
        return 0
    if args.dashboard:
        _on_ray(args.dashboard, environment, training)
    else:
        _on_kubernetes(args.context, environment, training)
    return 0


def _is_registered(training: "TrainingSettings") -> bool:
    if not (training.registry and training.name and training.version):
        return False
    from cluster.errors import RayJobError
    from train.errors import TrainError
    from train.registry import open_registry

    try:
        versions = open_registry(training.registry, training.artifacts).versions(training.name)
    except TrainError as error:
        raise RayJobError(f"the registry cannot be read: {error}") from error
    return training.version in [version.version for version in versions]


def _on_ray(dashboard: str, environment: "Environment", training: "TrainingSettings") -> None:
    import httpx

    from cluster.kuberay.manifests.training_job import entrypoint, job_name, variables
    from cluster.ray_jobs import RayJobs

    with httpx.Client(timeout=_TIMEOUT_S) as client:
        RayJobs(dashboard, client=client).run(
            job_name(environment.name, training),
            entrypoint(training),
            variables=variables(training),
            timeout_s=training.deadline_s,
            on_progress=_on_progress,
        )


def _on_kubernetes(context: str | None, environment: "Environment", training: "TrainingSettings") -> None:
    from cluster.kuberay.client.client import connect
    from cluster.kuberay.client.job_submission import start
    from cluster.kuberay.client.resources import RAY_JOB
    from cluster.kuberay.manifests.render import training_documents

    client = connect(context)
    *guards, job = training_documents(environment)
    for guard in guards:
        client.apply(guard)
    _on_progress(start(client, job))
    place = (job["metadata"]["namespace"], job["metadata"]["name"])
    client.wait(RAY_JOB, *place, timeout_s=training.deadline_s, on_progress=_on_progress)


def _on_progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
