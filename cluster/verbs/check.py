"""`check`: are manifests what the API server, the operator and Ray take as they are?"""

import argparse
import sys
from pathlib import Path

from cluster.verbs.environment import add_environment, chosen_environment

_HELP = """\
Check manifests strictly: an unknown key anywhere, a value of the wrong type, a missing field, what KubeRay's
operator refuses by itself, and all of that inside serveConfigV2 too. The API server would drop an unknown
key, and Ray would ignore it, without a word.

The CRDs come from --crds (a folder of YAML files), or else from the cluster of the current kubectl context.
"""
_EXAMPLE = """\
examples:
  python -m cluster check --env prod --crds ../shared/crds
  python -m cluster check service.yaml job.yaml
"""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The verb's parser."""
    parser = verbs.add_parser(
        "check",
        help="check manifests strictly",
        description=_HELP,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="manifests, instead of --env")
    add_environment(parser, required=False)
    parser.add_argument(
        "--crds", type=Path, metavar="DIR", help="folder of CRDs (default: the live cluster's)"
    )
    parser.add_argument("--context", metavar="NAME", help="kubectl context (default: the current one)")
    parser.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    from cluster.errors import SettingsInvalid
    from cluster.kuberay.check import Checker, read_documents
    from cluster.kuberay.client import connect
    from cluster.kuberay.render import service_documents, training_documents
    from cluster.kuberay.schemas import read_crds, schemas_of

    if bool(chosen.files) == bool(chosen.env):
        raise SettingsInvalid("check takes files or --env, one of them")
    if chosen.env:
        environment = chosen_environment(chosen)
        documents = [*service_documents(environment), *training_documents(environment)[-1:]]
    else:
        documents = []
        for path in chosen.files:
            try:
                documents += read_documents(path.read_text(encoding="utf-8"), str(path))
            except OSError as error:
                raise SettingsInvalid(f"{path}: {error.strerror}") from error
    schemas = schemas_of(read_crds(chosen.crds) if chosen.crds else connect(chosen.context).crds())
    faults = Checker(schemas).check(documents)
    for fault in faults:
        print(fault, file=sys.stderr)
    kinds = {(document.get("apiVersion"), document.get("kind")) for document in documents}
    unread = sum(schema.unread_rules for key, schema in schemas.items() if key in kinds)
    print(
        f"{len(documents)} documents, {len(faults)} faults"
        + (f"; {unread} CEL rules of the CRDs are left to the API server" if unread else "")
    )
    return 1 if faults else 0
