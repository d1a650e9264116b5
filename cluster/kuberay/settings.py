"""Settings of an environment, from a TOML file and `--set`; unknown keys are rejected by name."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cluster.autoscaling.config import PolicyConfig
from cluster.errors import EnvironmentSettingsError
from cluster.kuberay.ingress_settings import Cidr, IngressSettings
from cluster.nodes import INSTANCE_TYPES, Share, share, smallest

FOLDER = Path(__file__).with_name("environments")
Label = Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
NAME_MAX = 47
"""The name of a RayCluster has at most 53 characters, of which KubeRay appends 6."""
INCREMENTAL = "NewClusterWithIncrementalUpgrade"
"""Upgrade strategy that moves the traffic in steps, through a Gateway."""
_REQUEST_TIMEOUT_MS = 30_000
"""Default of SENTIMENT_DEFAULT_TIMEOUT_MS."""
Capacity = Literal["spot", "on-demand"]
_IMAGE = r"^[^\s@]+(@sha256:[0-9a-f]{64}|:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})$"


class _SettingsModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServeSettings(_SettingsModel):
    """Application: model, and bounds of the number of pods."""

    model: Annotated[str, Field(description="URI of an immutable bundle: builtin:, s3://… or hf:…@revision.")]
    min_pods: Annotated[int, Field(ge=1)] = 1
    max_pods: Annotated[int, Field(ge=1)] = 1
    scaling: Annotated[PolicyConfig, Field(description="Autoscaling policy; see cluster/autoscaling.")] = (
        PolicyConfig()
    )

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> Self:
        if self.min_pods > self.max_pods:
            raise ValueError(f"min_pods {self.min_pods} is more than max_pods {self.max_pods}")
        return self


class WorkerSettings(_SettingsModel):
    """Group of equal worker pods: a share of GPU instances, or CPUs and memory."""

    name: Label
    instance_type: Annotated[
        str | tuple[str, ...] | None,
        Field(
            description="GPU instance types, with one pod per GPU. CPUs and memory are the smallest share, "
            "so that a pod fits a node of any of them; Karpenter starts the cheapest available one."
        ),
    ] = None
    capacity: Annotated[
        tuple[Capacity, ...] | None,
        Field(min_length=1, description="Capacity types of the group's nodes; default: nodes.capacity."),
    ] = None
    priority: Annotated[
        int,
        Field(
            ge=0,
            le=2**31 - 1,
            description="Ray's autoscaler starts pods of the group with the highest number first, and of "
            "the next one when that group has `max_pods`, or its pods did not start in time "
            "(nodes.start_timeout_s).",
        ),
    ] = 0
    cpus: Annotated[int | None, Field(ge=1, description="CPUs of a pod without a GPU.")] = None
    memory_gib: Annotated[int | None, Field(ge=1, description="Memory of a pod without a GPU.")] = None
    min_pods: Annotated[
        int,
        Field(
            ge=0,
            description="Pods that always run. Serve places replicas on the groups with such pods first, and "
            "stops the replicas of the other groups first.",
        ),
    ] = 0
    max_pods: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _one_way_of_sizing(self) -> Self:
        sized = self.cpus is not None and self.memory_gib is not None
        if not self.instance_types and not sized:
            raise ValueError("cpus and memory_gib are missing; set them, or instance_type")
        if self.instance_types and (self.cpus is not None or self.memory_gib is not None):
            raise ValueError("cpus and memory_gib are derived from instance_type; omit them")
        if self.capacity and not self.instance_types:
            raise ValueError("capacity is of nodes that Karpenter starts: set instance_type, or omit it")
        for kind in self.instance_types:
            if kind not in INSTANCE_TYPES:
                raise ValueError(
                    f"instance_type {kind!r} is not known; expected one of {', '.join(INSTANCE_TYPES)}"
                )
        if self.min_pods > self.max_pods:
            raise ValueError(f"min_pods {self.min_pods} is more than max_pods {self.max_pods}")
        return self

    @property
    def instance_types(self) -> tuple[str, ...]:
        """GPU instance types of the pods; none without GPUs."""
        if isinstance(self.instance_type, str):
            return (self.instance_type,)
        return self.instance_type or ()

    @property
    def size(self) -> Share:
        """CPUs and memory of one pod."""
        if self.instance_types:
            return smallest(share(INSTANCE_TYPES[kind]) for kind in self.instance_types)
        assert self.cpus is not None and self.memory_gib is not None
        return Share(self.cpus, self.memory_gib)

    @property
    def gpus(self) -> int:
        """GPUs of one pod."""
        return 1 if self.instance_types else 0

    @property
    def pods_per_node(self) -> int:
        """Maximum number of pods on one node: as many as the smallest instance type holds."""
        return min((INSTANCE_TYPES[kind].gpus for kind in self.instance_types), default=1)


class HeadSettings(_SettingsModel):
    """Head pod: the control plane of the Ray cluster, which serves no requests."""

    cpus: Annotated[int, Field(ge=1)] = 2
    memory_gib: Annotated[int, Field(ge=2)] = 8


class NodeSettings(_SettingsModel):
    """Nodes that Karpenter may start for GPU pods."""

    eks_cluster: Annotated[
        str, Field(description="EKS cluster, whose discovery tag selects subnets and security groups.")
    ]
    role: Annotated[str, Field(description="IAM role of the nodes.")]
    ami: Annotated[
        str, Field(description="AMI alias, family@version. Bottlerocket includes the NVIDIA device plugin.")
    ]
    capacity: Annotated[
        tuple[Capacity, ...], Field(min_length=1, description="Capacity types of groups without their own.")
    ] = ("spot", "on-demand")
    zones: Annotated[tuple[str, ...], Field(description="Availability zones; default: any.")] = ()
    empty_s: Annotated[int, Field(ge=0, description="Seconds until a node without pods is removed.")] = 300
    start_timeout_s: Annotated[
        int,
        Field(
            ge=300,
            description="Seconds for a node to start and to pull the image. A pod that takes longer is "
            "replaced by one of the group with the next priority; not used with one group.",
        ),
    ] = 900
    instance_store: Annotated[
        bool,
        Field(
            description="Whether images, logs and emptyDir volumes are on the NVMe disks of the instance. "
            "Every supported GPU type has such disks; Bottlerocket needs 1.22 or later."
        ),
    ] = True
    disk_gib: Annotated[
        int, Field(ge=50, description="EBS disk; without instance_store for images, of several GiB each.")
    ] = 50


class RedisSettings(_SettingsModel):
    """Redis that stores the head's state: rendered in the namespace, or an existing one."""

    address: Annotated[
        str | None,
        Field(
            pattern=r"^(rediss?://)?[A-Za-z0-9][-A-Za-z0-9.]*:\d{1,5}$",
            description="Address of an existing Redis or Valkey, such as ElastiCache: host:port, or "
            "rediss://host:port with TLS; default: rendered.",
        ),
    ] = None
    secret: Annotated[Label, Field(description="Existing Secret with the key `password`.")] = "redis-password"
    image: str = "redis:7.4-alpine"
    storage_class: Annotated[
        str | None,
        Field(
            pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
            description="StorageClass of the rendered Redis' disk; default: the cluster's default, which EKS "
            "does not have.",
        ),
    ] = None
    disk_gib: Annotated[int, Field(ge=1)] = 8


class UpgradeSettings(_SettingsModel):
    """Upgrade strategy of a changed image or cluster. A model changes without one, by `user_config`."""

    type: Literal["NewCluster", "NewClusterWithIncrementalUpgrade", "None"] = "NewCluster"
    gateway_class: Annotated[
        str | None, Field(description="Class of the Gateway API; for incremental upgrades only.")
    ] = None
    surge_percent: Annotated[int, Field(ge=0, le=100)] = 25
    step_percent: Annotated[
        int, Field(ge=1, le=100, description="Percentage of the traffic moved per step.")
    ] = 10
    interval_s: Annotated[int, Field(ge=1, description="Seconds between two steps.")] = 60

    @model_validator(mode="after")
    def _incremental_is_whole(self) -> Self:
        if self.type != INCREMENTAL:
            return self
        if not self.gateway_class:
            raise ValueError("an incremental upgrade needs gateway_class")
        if self.step_percent > self.surge_percent:
            raise ValueError(
                f"step_percent {self.step_percent} is more than surge_percent {self.surge_percent}"
            )
        return self


class NetworkSettings(_SettingsModel):
    """Namespaces and addresses that may reach the pods; all others are denied."""

    clients: Annotated[tuple[Label, ...], Field(description="Namespaces of the service's clients.")] = ()
    client_cidrs: Annotated[
        tuple[Cidr, ...],
        Field(description="Addresses of clients outside the cluster: load balancers, the probe."),
    ] = ()
    control_plane_cidrs: Annotated[
        tuple[Cidr, ...],
        Field(description="Addresses of the API server, through which a rollout reads the pods' metrics."),
    ] = ()
    monitoring: Annotated[Label, Field(description="Namespace of Prometheus.")] = "monitoring"
    operator: Annotated[Label, Field(description="Namespace of the KubeRay operator.")] = "kuberay-system"


class PodMonitorSettings(_SettingsModel):
    """PodMonitor of the Prometheus operator, whose Prometheus runs in the namespace `network.monitoring`."""

    labels: Annotated[
        dict[str, str],
        Field(description="Labels by which Prometheus selects PodMonitors, such as release=prometheus."),
    ] = {}
    interval_s: Annotated[int, Field(ge=1, description="Seconds between two scrapes of a pod.")] = 15


class TrainingSettings(_SettingsModel):
    """RayJob that fine-tunes a model, or retrains the champion."""

    image: Annotated[str, Field(pattern=_IMAGE, description="Image of the Dockerfile's target `train`.")]
    config: Annotated[str, Field(description="Path of the training configuration in the image.")] = (
        "train/builtin.toml"
    )
    claim: Annotated[
        Label | None,
        Field(description="PersistentVolumeClaim of the texts and the result; default: only S3 is used."),
    ] = None
    data: Annotated[str, Field(description="Folder of the texts in the claim, or their URI: s3://…")] = (
        "texts"
    )
    out: Annotated[str, Field(description="Folder that the run creates.")] = "runs/latest"
    checkpoints: Annotated[
        str | None,
        Field(description="s3://… of this run only, from which it resumes. Required without a claim."),
    ] = None
    name: Annotated[str | None, Field(description="Name of the model; default: the config's.")] = None
    version: Annotated[
        str | None,
        Field(description="Version of the model, also part of the job's name; default: the config's."),
    ] = None
    registry: Annotated[
        str | None, Field(description="URL of MLflow for the head; default: the version is not registered.")
    ] = None
    artifacts: Annotated[
        str | None, Field(description="Artifact store of the registry: s3://bucket/prefix.")
    ] = None
    log: Annotated[
        str | None,
        Field(
            description="Prediction log. With it the job is `train retrain`, which continues the training of "
            "the champion and needs no config; texts with feedback are stored in the folder `feedback` of "
            "data."
        ),
    ] = None
    options: Annotated[str, Field(description="Further options of the command, as in a shell.")] = ""
    workers: WorkerSettings
    deadline_s: Annotated[int, Field(ge=60)] = 4 * 3600
    keep_s: Annotated[
        int, Field(ge=0, description="Seconds that the finished cluster is kept, for its logs.")
    ] = 600

    @model_validator(mode="after")
    def _pods_share_something(self) -> Self:
        if self.claim is None and not self.checkpoints:
            raise ValueError(
                "without a claim, checkpoints is required: the workers read the texts from there"
            )
        return self

    @model_validator(mode="after")
    def _what_is_retrained_is_registered(self) -> Self:
        if self.log and not (self.name and self.version and self.registry):
            raise ValueError(
                "with a log, name, version and registry are required: a registered champion is retrained"
            )
        return self


class Environment(_SettingsModel):
    """All settings of an environment."""

    name: Annotated[Label, Field(max_length=NAME_MAX)] = "sentiment"
    namespace: Label = "sentiment"
    image: Annotated[
        str,
        Field(
            pattern=_IMAGE,
            description="Image with a fixed tag or a digest; `latest` is rejected.",
        ),
    ]
    pull_secret: Label | None = None
    api_keys_secret: Annotated[
        Label | None,
        Field(
            description="Existing Secret with the key `keys`: one line per API key, as NAME: KEY. It is "
            "mounted, so that a change needs no restart. Default: no key is required."
        ),
    ] = None
    serve: ServeSettings
    head: HeadSettings = HeadSettings()
    workers: Annotated[tuple[WorkerSettings, ...], Field(min_length=1)]
    nodes: NodeSettings | None = None
    redis: RedisSettings | None = None
    upgrade: UpgradeSettings = UpgradeSettings()
    auth: Annotated[
        Literal["token", "disabled"],
        Field(description="Authentication of Ray's dashboard and job API, not of the service."),
    ] = "token"
    network: NetworkSettings = NetworkSettings()
    ingress: Annotated[
        IngressSettings | None, Field(description="Load balancer with TLS; default: none.")
    ] = None
    pod_monitor: Annotated[
        PodMonitorSettings | None,
        Field(description="Scraping by the Prometheus operator; default: no PodMonitor."),
    ] = None
    initializing_timeout_s: Annotated[
        int,
        Field(
            ge=900,
            description="Seconds after which the operator gives up a new service that was never ready, and "
            "deletes its Ray cluster; it must then be deleted and applied again. Upgrades are not limited.",
        ),
    ] = 3600
    training: TrainingSettings | None = None
    environment: Annotated[
        dict[str, str],
        Field(description="Further variables of every Ray pod, such as SENTIMENT_MAX_BATCH_TOKENS."),
    ] = {}

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.image.endswith(":latest"):
            raise ValueError(f"image {self.image!r}: `latest` is not a fixed tag; use a version or a digest")
        if "SENTIMENT_API_KEYS" in self.environment:
            raise ValueError(
                "environment.SENTIMENT_API_KEYS would write the keys into the manifest; put them into a "
                "Secret and name it in api_keys_secret"
            )
        if self.network.control_plane_cidrs and self.auth == "disabled":
            raise ValueError(
                "network.control_plane_cidrs lets these addresses, on EKS those of all pods, reach Ray's "
                "dashboard, which runs jobs; set auth=token, or omit control_plane_cidrs"
            )
        names = [group.name for group in self.workers]
        if len(set(names)) != len(names):
            raise ValueError("two worker groups have the same name")
        if len({group.gpus for group in self.workers}) > 1:
            raise ValueError(
                "worker groups with and without GPUs: every pod must be able to hold any replica"
            )
        room = sum(group.max_pods for group in self.workers)
        if self.serve.max_pods > room:
            raise ValueError(
                f"serve.max_pods {self.serve.max_pods} is more than the {room} of all worker groups"
            )
        if self.instance_types and self.nodes is None:
            raise ValueError("GPU pods need the section [nodes] for Karpenter")
        return self

    @model_validator(mode="after")
    def _ingress_fits(self) -> Self:
        if self.ingress is None:
            return self
        if self.upgrade.type == INCREMENTAL:
            raise ValueError(
                f"ingress does not go with upgrade.type {INCREMENTAL}, which has a Gateway; "
                "set upgrade.type=NewCluster, or omit ingress"
            )
        if self.ingress.scheme == "internet-facing" and self.api_keys_secret is None:
            raise ValueError(
                "ingress.scheme internet-facing needs API keys: put them into a Secret and name it in "
                "api_keys_secret"
            )
        if not self.network.client_cidrs:
            raise ValueError(
                "ingress needs network.client_cidrs: the addresses of the load balancer, such as the VPC's"
            )
        timeout_s = int(self.environment.get("SENTIMENT_DEFAULT_TIMEOUT_MS", _REQUEST_TIMEOUT_MS)) / 1000
        if self.ingress.idle_timeout_s < timeout_s:
            raise ValueError(
                f"ingress.idle_timeout_s {self.ingress.idle_timeout_s} is less than the request timeout of "
                f"{timeout_s:g} s: the load balancer would answer 504 before the service"
            )
        return self

    @property
    def instance_types(self) -> tuple[str, ...]:
        """GPU instance types of all groups, including the training's."""
        return tuple(sorted({kind for group in self._groups for kind in group.instance_types}))

    @property
    def serving_types(self) -> tuple[str, ...]:
        """GPU instance types of the worker groups; none without GPUs."""
        return tuple(sorted({kind for group in self.workers for kind in group.instance_types}))

    @property
    def capacity(self) -> tuple[Capacity, ...]:
        """Capacity types of all groups, including the training's."""
        return tuple(sorted({kind for group in self._groups for kind in self.capacity_of(group)}))

    def capacity_of(self, group: WorkerSettings) -> tuple[Capacity, ...]:
        """Return the capacity types of a group; none without GPUs."""
        if self.nodes is None or not group.instance_types:
            return ()
        return group.capacity or self.nodes.capacity

    @property
    def start_order(self) -> tuple[WorkerSettings, ...]:
        """Worker groups in the order in which Ray's autoscaler starts their pods."""
        return tuple(sorted(self.workers, key=lambda group: (group not in self.floor, -group.priority)))

    @property
    def floor(self) -> tuple[WorkerSettings, ...]:
        """Worker groups with pods that always run; none if that does not distinguish groups."""
        groups = tuple(group for group in self.workers if group.min_pods)
        return groups if len(groups) < len(self.workers) else ()

    @property
    def replica(self) -> Share:
        """CPUs and memory of one replica: those of the smallest pod, so that every pod holds exactly one."""
        return smallest(group.size for group in self.workers)

    @property
    def _groups(self) -> tuple[WorkerSettings, ...]:
        return (*self.workers, *([self.training.workers] if self.training else []))


def environments() -> tuple[str, ...]:
    """Return the names of the included environments, each with a file in this folder."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def read_environment(name: str, changes: Sequence[str] = ()) -> Environment:
    """Read an environment.

    Args:
        name: One of `environments()`, or the path of a TOML file.
        changes: Changes as `key=value`, with dots between nested keys and numbers for list items
            (`workers.0.max_pods=8`). The value is TOML if it can be parsed, otherwise text.

    Raises:
        EnvironmentSettingsError: The file does not exist or is not TOML, or it has an unknown key or an
            invalid value.
    """
    path = FOLDER / f"{name}.toml" if name in environments() else Path(name)
    try:
        tree: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EnvironmentSettingsError(
            f"environment {name!r}: {error.strerror}; --env takes {', '.join(environments())} or a TOML file"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise EnvironmentSettingsError(f"{path} is not TOML: {error}") from error
    for change in changes:
        _set(tree, change)
    try:
        return Environment.model_validate(tree)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'the file'}: {fault['msg']}"
            for fault in error.errors()
        )
        raise EnvironmentSettingsError(
            f"{path}: {faults}; see cluster/kuberay/settings.py for every key"
        ) from error


def _set(tree: dict[str, Any], change: str) -> None:
    """Apply one `key=value` change to the settings."""
    key, equals, text = change.partition("=")
    if not key or not equals:
        raise EnvironmentSettingsError(f"--set takes key=value, such as serve.max_pods=8, got {change!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *way, last = key.split(".")
    place: Any = tree
    try:
        for part in way:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        if isinstance(place, list):
            place[int(last)] = value
        else:
            place[last] = value
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        raise EnvironmentSettingsError(f"--set {change}: the settings have no such key") from error
