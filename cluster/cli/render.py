"""Command `render`: prints the manifests of an environment as YAML."""

import argparse
import sys

from cluster.cli.environment import add_environment, add_training, selected_documents

_EXAMPLE = """\
examples:
  python -m cluster render --env prod > service.yaml
  python -m cluster render --env prod --set serve.model=s3://models/senti/7 --set serve.max_pods=8
  python -m cluster render --env prod --training
"""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    parser = verbs.add_parser(
        "render",
        help="print the manifests of an environment",
        description="Print the manifests of an environment: Karpenter's nodes, identity, disruption budget,\n"
        "network policies, Redis, and the RayService. The command does not access a cluster.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_environment(parser, required=True)
    add_training(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from cluster.kuberay.manifests.render import to_yaml

    sys.stdout.write(to_yaml(selected_documents(args)))
    return 0
