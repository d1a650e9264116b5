"""`render`: the manifests of an environment as YAML."""

import argparse
import sys

from cluster.verbs.environment import add_environment, chosen_environment

_EXAMPLE = """\
examples:
  python -m cluster render --env prod > service.yaml
  python -m cluster render --env prod --set serve.model=s3://models/senti/7 --set serve.max_pods=8
  python -m cluster render --env prod --training
"""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The verb's parser."""
    parser = verbs.add_parser(
        "render",
        help="print the manifests of an environment",
        description="Print the manifests of an environment: Karpenter's nodes, identity, disruption budget,\n"
        "network policies, Redis, and the RayService. Nothing is sent anywhere.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_environment(parser, required=True)
    parser.add_argument("--training", action="store_true", help="the RayJob that trains, instead")
    parser.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    from cluster.kuberay.render import service_documents, to_yaml, training_documents

    environment = chosen_environment(chosen)
    documents = training_documents(environment) if chosen.training else service_documents(environment)
    sys.stdout.write(to_yaml(documents))
    return 0
