"""Command `check`: strict validation of manifests."""

import argparse
import sys
from pathlib import Path

from cluster.cli.environment import add_environment, selected_environment

_HELP = """\
Check manifests strictly for unknown keys, values of the wrong type, missing fields, and settings that
KubeRay's operator rejects, also within serveConfigV2. Without this check, the API server silently drops
unknown keys, and Ray silently ignores them.

The CRDs are read from --crds (a folder of YAML files), or else from the cluster of the current kubectl
context. There, --env also checks that the cluster has what the environment needs: KubeRay, Karpenter, the
StorageClass, the load balancer controller or the Gateway API. Each miss names the command that installs it.
"""
_EXAMPLE = """\
examples:
  python -m cluster check --env prod --crds ../shared/crds
  python -m cluster check service.yaml job.yaml
"""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    parser = verbs.add_parser(
        "check",
        help="check manifests strictly",
        description=_HELP,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="manifest files, instead of --env"
    )
    add_environment(parser, required=False)
    parser.add_argument(
        "--crds", type=Path, metavar="DIR", help="folder of CRDs (default: those of the cluster)"
    )
    parser.add_argument("--context", metavar="NAME", help="kubectl context (default: the current one)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from cluster.cli.preflight import print_findings
    from cluster.errors import EnvironmentSettingsError
    from cluster.kuberay.client.client import connect
    from cluster.kuberay.manifests.render import service_documents, training_documents
    from cluster.kuberay.validation.check import Checker, read_documents
    from cluster.kuberay.validation.crd_schemas import read_crds, schemas_of

    if bool(args.files) == bool(args.env):
        raise EnvironmentSettingsError("expected either manifest files or --env")
    if args.env:
        environment = selected_environment(args)
        documents = [*service_documents(environment), *training_documents(environment)[-1:]]
    else:
        documents = []
        for path in args.files:
            try:
                documents += read_documents(path.read_text(encoding="utf-8"), str(path))
            except OSError as error:
                raise EnvironmentSettingsError(f"{path}: {error.strerror}") from error
    client = None if args.crds else connect(args.context)
    missing = print_findings(client, args) if client and args.env else 0
    schemas = schemas_of(client.crds() if client else read_crds(args.crds))
    faults = Checker(schemas).check(documents)
    for fault in faults:
        print(fault, file=sys.stderr)
    kinds = {(document.get("apiVersion"), document.get("kind")) for document in documents}
    unread = sum(schema.unread_rules for key, schema in schemas.items() if key in kinds)
    print(
        f"{len(documents)} documents, {len(faults)} faults"
        + (f"; {unread} CEL rules of the CRDs are checked by the API server only" if unread else "")
    )
    return 1 if faults or missing else 0
