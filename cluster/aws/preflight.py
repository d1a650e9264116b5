"""Preflight check of the AWS account: instance types of the region, and quotas of vCPUs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cluster.aws.account import Account, Quota, most_vcpus
from cluster.kuberay.settings import Environment

_REQUEST = "in Service Quotas, EC2, request more running on-demand or spot G and VT instances"


@dataclass(frozen=True, slots=True)
class PreflightResult:
    """Result of the preflight check.

    Attributes:
        missing: Instance types that the region does not offer.
        quotas: Quotas of the capacity types that the environment may use.
        reserved: vCPUs of the pods that need this capacity type.
    """

    missing: Sequence[str]
    quotas: Sequence[Quota]
    reserved: Mapping[str, int] = field(default_factory=dict)

    @property
    def faults(self) -> Sequence[str]:
        """Descriptions of unmet requirements.

        One capacity type with a sufficient quota is enough for the pods that may use both.
        """
        found = [f"the region does not offer {kind}" for kind in self.missing]
        if self.quotas and not any(quota.enough for quota in self.quotas):
            allowed = ", ".join(f"{_number(quota.allowed)} {quota.capacity}" for quota in self.quotas)
            found.append(
                f"all pods need {self.quotas[0].needed} vCPUs of G instances; the quota is {allowed} "
                f"({_REQUEST})"
            )
        for quota in self.quotas:
            if (needed := self.reserved.get(quota.capacity, 0)) > (quota.allowed or 0):
                found.append(
                    f"pods that run {quota.capacity} only need {needed} vCPUs of G instances; the quota is "
                    f"{_number(quota.allowed)} ({_REQUEST})"
                )
        return found

    @property
    def complete(self) -> bool:
        """Whether all requirements are met."""
        return not self.faults

    @property
    def table(self) -> str:
        """The result as a table."""
        rows = [
            f"  {quota.capacity:<10}{quota.needed:>8}{_number(quota.allowed):>10}"
            f"  {'enough' if quota.enough else 'too few'}"
            for quota in self.quotas
        ]
        header = f"{'vCPUs of G':<12}{'needed':>8}{'allowed':>10}"
        return "\n".join([header, *rows, *(f"  {fault}" for fault in self.faults)])


def look(account: Account, environment: Environment) -> PreflightResult:
    """Run the preflight check."""
    if environment.nodes is None or not environment.instance_types:
        return PreflightResult((), ())
    offered = account.offered(environment.instance_types)
    quotas = account.quotas(most_vcpus(environment))
    return PreflightResult(
        missing=[kind for kind in environment.instance_types if kind not in offered],
        quotas=[quota for quota in quotas if quota.capacity in environment.capacity],
        reserved={capacity: most_vcpus(environment, capacity) for capacity in environment.capacity},
    )


def _number(vcpus: int | None) -> str:
    return "unknown" if vcpus is None else str(vcpus)
