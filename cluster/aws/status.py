"""Status of the installation: cluster, alarms and pipelines, from Terraform's outputs and the account."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cluster.aws.account import Account


@dataclass(frozen=True, slots=True)
class InstallationStatus:
    """Status of the installation; states are AWS's, by name of the resource."""

    cluster: Mapping[str, str]
    alarms: Mapping[str, str]
    pipelines: Mapping[str, str]
    places: Mapping[str, Any]

    @property
    def well(self) -> bool:
        """Whether the cluster is active, no alarm is in ALARM, and no pipeline's last run has failed."""
        states = [*self.alarms.values(), *self.pipelines.values()]
        active = bool(self.cluster) and set(self.cluster.values()) == {"ACTIVE"}
        return active and not {"ALARM", "Failed"} & set(states)

    @property
    def document(self) -> dict[str, Any]:
        """The status as a JSON object."""
        return {
            "well": self.well,
            "cluster": dict(self.cluster),
            "alarms": dict(self.alarms),
            "pipelines": dict(self.pipelines),
            "places": dict(self.places),
        }

    @property
    def table(self) -> str:
        """The status as a table."""
        if not self.cluster:
            return "nothing is installed; create it with `python -m cluster aws up`"
        parts = (("cluster", self.cluster), ("alarm", self.alarms), ("pipeline", self.pipelines))
        rows = [
            f"{what:<10}{name:<32}{state}" for what, found in parts for name, state in sorted(found.items())
        ]
        return "\n".join([*rows, *(f"{what:<10}{place}" for what, place in self.places.items())])


def standing(outputs: Mapping[str, Any], account: Account) -> InstallationStatus:
    """Query the status of the resources in Terraform's outputs."""
    if not outputs:
        return InstallationStatus({}, {}, {}, {})
    alarms = [outputs["alarms"]["promise"], *outputs["alarms"]["metrics"].values()]
    name = outputs["cluster"]["name"]
    places = {
        "images": outputs["images"],
        "source": outputs["repository"],
        **{what: f"s3://{bucket}" for what, bucket in outputs["buckets"].items()},
        "dashboard": f"{outputs['dashboard']} in CloudWatch, {outputs['region']}",
    }
    return InstallationStatus(
        cluster={name: account.cluster(name)},
        alarms=account.alarms(alarms),
        pipelines=account.pipelines(list(outputs["pipelines"].values())),
        places=places,
    )
