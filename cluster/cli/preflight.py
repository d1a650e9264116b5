"""Preflight check of the selected environment, for the commands `check` and `apply`."""

import argparse
import sys

from cluster.cli.environment import selected_environment
from cluster.errors import ClusterNotReadyError
from cluster.kuberay.client.client import KubeRay


def print_findings(client: KubeRay, args: argparse.Namespace) -> int:
    """Print what the cluster lacks for the environment, and return the number of blocking findings."""
    from cluster.aws.addons import addon_versions
    from cluster.kuberay.validation.preflight import preflight

    findings = preflight(client, selected_environment(args), addon_versions())
    for finding in findings:
        print(finding, file=sys.stderr, flush=True)
    return sum(finding.is_blocking for finding in findings)


def require(client: KubeRay, args: argparse.Namespace) -> None:
    """Raise ClusterNotReadyError if the cluster lacks something without which the service cannot start."""
    if missing := print_findings(client, args):
        raise ClusterNotReadyError(
            f"nothing was applied: the cluster lacks {missing} of the requirements above; --no-preflight "
            "applies without this check"
        )
