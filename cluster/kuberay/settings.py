"""What an environment is: typed settings from a TOML file and `--set`; an unknown key is refused by name."""

import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cluster.autoscaling.aims import Aims
from cluster.errors import SettingsInvalid
from cluster.nodes import INSTANCE_TYPES, InstanceType, Share, share, smallest

FOLDER = Path(__file__).parent
Label = Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
NAME_MAX = 47
"""KubeRay appends 6 characters for a RayCluster's name, and that may have 53."""
_IMAGE = r"^[^\s@]+(@sha256:[0-9a-f]{64}|:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})$"


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServeSettings(_Frozen):
    """The application: what it serves, and between how many pods."""

    model: Annotated[
        str, Field(description="A concrete, immutable bundle: builtin:, s3://… or hf:…@revision.")
    ]
    min_pods: Annotated[int, Field(ge=1)] = 1
    max_pods: Annotated[int, Field(ge=1)] = 1
    scaling: Annotated[Aims, Field(description="What a pod is counted on for; see cluster/autoscaling.")] = (
        Aims()
    )

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> Self:
        if self.min_pods > self.max_pods:
            raise ValueError(f"min_pods {self.min_pods} is more than max_pods {self.max_pods}")
        return self


class WorkerSettings(_Frozen):
    """One group of like worker pods: a share of GPU instances, or plain CPUs and memory."""

    name: Label
    instance_type: Annotated[
        str | tuple[str, ...] | None,
        Field(
            description="GPU instances, each as good as the others: one pod a GPU. CPUs and memory are the "
            "smallest share, so that a pod fits whichever node there is."
        ),
    ] = None
    cpus: Annotated[int | None, Field(ge=1, description="Of a pod without a GPU.")] = None
    memory_gib: Annotated[int | None, Field(ge=1, description="Of a pod without a GPU.")] = None
    min_pods: Annotated[int, Field(ge=0)] = 0
    max_pods: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _one_way_of_sizing(self) -> Self:
        sized = self.cpus is not None and self.memory_gib is not None
        if not self.instance_types and not sized:
            raise ValueError("without instance_type, cpus and memory_gib are needed")
        if self.instance_types and (self.cpus is not None or self.memory_gib is not None):
            raise ValueError("cpus and memory_gib follow from instance_type; leave them out")
        for kind in self.instance_types:
            if kind not in INSTANCE_TYPES:
                raise ValueError(f"instance_type {kind!r} is none of {', '.join(INSTANCE_TYPES)}")
        if self.min_pods > self.max_pods:
            raise ValueError(f"min_pods {self.min_pods} is more than max_pods {self.max_pods}")
        return self

    @property
    def instance_types(self) -> tuple[str, ...]:
        """The GPU instances that its pods can be on; none without GPUs."""
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


class HeadSettings(_Frozen):
    """The head pod: the control plane of the Ray cluster; it serves nothing."""

    cpus: Annotated[int, Field(ge=1)] = 2
    memory_gib: Annotated[int, Field(ge=2)] = 8


class NodeSettings(_Frozen):
    """What Karpenter may start for GPU pods."""

    eks_cluster: Annotated[
        str, Field(description="Subnets and security groups are found by its discovery tag.")
    ]
    role: Annotated[str, Field(description="IAM role of the nodes.")]
    ami: Annotated[
        str, Field(description="AMI alias, family@version. Bottlerocket brings the NVIDIA device plugin.")
    ]
    capacity: Annotated[tuple[Literal["spot", "on-demand"], ...], Field(min_length=1)] = ("spot", "on-demand")
    zones: Annotated[tuple[str, ...], Field(description="Availability zones; none: any.")] = ()
    empty_s: Annotated[int, Field(ge=0, description="Seconds a node without pods is kept.")] = 300
    disk_gib: Annotated[int, Field(ge=50, description="For images: the CUDA image alone is several GiB.")] = (
        200
    )


class RedisSettings(_Frozen):
    """Where the head's state survives the head: a Redis in the namespace, or one of yours."""

    address: Annotated[
        str | None, Field(description="host:port, such as ElastiCache; none: one is rendered here.")
    ] = None
    secret: Annotated[Label, Field(description="A Secret of yours with the key `password`.")] = (
        "redis-password"
    )
    image: str = "redis:7.4-alpine"
    disk_gib: Annotated[int, Field(ge=1)] = 8


class UpgradeSettings(_Frozen):
    """How a changed image or cluster goes live. A changed model never does: it is `user_config`."""

    type: Literal["NewCluster", "NewClusterWithIncrementalUpgrade", "None"] = "NewCluster"
    gateway_class: Annotated[
        str | None, Field(description="Of the Gateway API; incremental upgrades only.")
    ] = None
    surge_percent: Annotated[int, Field(ge=0, le=100)] = 25
    step_percent: Annotated[int, Field(ge=1, le=100, description="Traffic moved at a time.")] = 10
    interval_s: Annotated[int, Field(ge=1, description="Seconds between two steps.")] = 60

    @model_validator(mode="after")
    def _incremental_is_whole(self) -> Self:
        if self.type != "NewClusterWithIncrementalUpgrade":
            return self
        if not self.gateway_class:
            raise ValueError("an incremental upgrade needs gateway_class")
        if self.step_percent > self.surge_percent:
            raise ValueError(
                f"step_percent {self.step_percent} is more than surge_percent {self.surge_percent}"
            )
        return self


class NetworkSettings(_Frozen):
    """Who may reach the pods, by namespace; everybody else is refused."""

    clients: Annotated[tuple[Label, ...], Field(description="Namespaces that may ask the service.")] = ()
    monitoring: Annotated[Label, Field(description="Namespace of Prometheus.")] = "monitoring"
    operator: Annotated[Label, Field(description="Namespace of the KubeRay operator.")] = "kuberay-system"


class TrainingSettings(_Frozen):
    """The RayJob that fine-tunes, or retrains the champion."""

    image: Annotated[str, Field(pattern=_IMAGE, description="The Dockerfile's target `train`.")]
    config: Annotated[str, Field(description="In the image.")] = "train/builtin.toml"
    claim: Annotated[
        Label | None,
        Field(description="PersistentVolumeClaim with the texts; the result goes there too. None: S3 alone."),
    ] = None
    data: Annotated[str, Field(description="Folder of the texts in it, or their address: s3://…")] = "texts"
    out: Annotated[str, Field(description="Folder that the run makes.")] = "runs/latest"
    checkpoints: Annotated[
        str | None,
        Field(description="s3://… of this run alone; it goes on from there. Needed without a claim."),
    ] = None
    name: Annotated[str | None, Field(description="Of the model; none: the config's.")] = None
    version: Annotated[
        str | None, Field(description="Of the model; none: the config's. Also names the job.")
    ] = None
    registry: Annotated[
        str | None, Field(description="MLflow's address, as the head sees it; none: nothing is registered.")
    ] = None
    artifacts: Annotated[str | None, Field(description="The registry's: s3://bucket/prefix.")] = None
    log: Annotated[
        str | None,
        Field(
            description="The prediction log. With it the job is `train retrain`, which goes on from "
            "the champion and needs no config; texts with feedback stay in the folder `feedback` of data."
        ),
    ] = None
    options: Annotated[str, Field(description="Further ones of the verb, as in a shell.")] = ""
    workers: WorkerSettings
    deadline_s: Annotated[int, Field(ge=60)] = 4 * 3600
    keep_s: Annotated[int, Field(ge=0, description="How long the finished cluster stays, for its logs.")] = (
        600
    )

    @model_validator(mode="after")
    def _pods_share_something(self) -> Self:
        if self.claim is None and not self.checkpoints:
            raise ValueError("without a claim, checkpoints is needed: the workers find the texts there")
        return self

    @model_validator(mode="after")
    def _what_is_retrained_is_registered(self) -> Self:
        if self.log and not (self.name and self.version and self.registry):
            raise ValueError(
                "with a log, name, version and registry are needed: a registered champion is retrained"
            )
        return self


class Environment(_Frozen):
    """One environment, all of it."""

    name: Annotated[Label, Field(max_length=NAME_MAX)] = "sentiment"
    namespace: Label = "sentiment"
    image: Annotated[
        str,
        Field(
            pattern=_IMAGE,
            description="With a tag that does not move, or a digest; `latest` is refused.",
        ),
    ]
    pull_secret: Label | None = None
    api_keys_secret: Annotated[
        Label | None,
        Field(
            description="A Secret of yours with the key `keys`: a line for each API key, as NAME: KEY. It is "
            "mounted, so that a change needs no restart. None: the service is open to all."
        ),
    ] = None
    serve: ServeSettings
    head: HeadSettings = HeadSettings()
    workers: Annotated[tuple[WorkerSettings, ...], Field(min_length=1)]
    nodes: NodeSettings | None = None
    redis: RedisSettings | None = None
    upgrade: UpgradeSettings = UpgradeSettings()
    auth: Annotated[
        Literal["token", "disabled"], Field(description="Of Ray's dashboard and job API, not of the service.")
    ] = "token"
    network: NetworkSettings = NetworkSettings()
    training: TrainingSettings | None = None
    environment: Annotated[
        dict[str, str],
        Field(description="More variables of every Ray pod, such as SENTIMENT_MAX_BATCH_TOKENS."),
    ] = {}

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.image.endswith(":latest"):
            raise ValueError(f"image {self.image!r}: `latest` moves; name a version or a digest")
        if "SENTIMENT_API_KEYS" in self.environment:
            raise ValueError(
                "environment.SENTIMENT_API_KEYS would write the keys into the manifest; put them into a "
                "Secret and name it in api_keys_secret"
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
            raise ValueError("GPU pods need [nodes], which says what Karpenter may start")
        return self

    @property
    def instance_types(self) -> tuple[str, ...]:
        """GPU instances of every group, the training's too."""
        return tuple(sorted({kind for group in self._groups for kind in group.instance_types}))

    def most(self, amount: Callable[[InstanceType], int]) -> int:
        """The most of something, such as GPUs, that the nodes have which all pods need, the training's too.

        Each group is on nodes of its own; of a group on several types, the type counts that has the most.
        """

        def of(name: str, pods: int) -> int:
            kind = INSTANCE_TYPES[name]
            return amount(kind) * -(-pods // kind.gpus)

        return sum(
            max((of(name, group.max_pods) for name in group.instance_types), default=0)
            for group in self._groups
        )

    @property
    def replica(self) -> Share:
        """CPUs and memory of one replica: the smallest pod's, so that any pod holds exactly one."""
        return smallest(group.size for group in self.workers)

    @property
    def _groups(self) -> tuple[WorkerSettings, ...]:
        return (*self.workers, *([self.training.workers] if self.training else []))


def environments() -> tuple[str, ...]:
    """Names of the environments that ship: each has a file here."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def read_environment(name: str, changes: Sequence[str] = ()) -> Environment:
    """Read an environment.

    Args:
        name: one of `environments()`, or the path of a TOML file.
        changes: `key=value` each; a dot goes deeper, a number counts in a list (`workers.0.max_pods=8`). The
            value is TOML where it parses, otherwise the text itself.

    Raises:
        SettingsInvalid: no such file, not TOML, an unknown key, or a value that does not fit; each is named.
    """
    path = FOLDER / f"{name}.toml" if name in environments() else Path(name)
    try:
        tree: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsInvalid(
            f"environment {name!r}: {error.strerror}; --env takes {', '.join(environments())} or a TOML file"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsInvalid(f"{path} is not TOML: {error}") from error
    for change in changes:
        _set(tree, change)
    try:
        return Environment.model_validate(tree)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'the file'}: {fault['msg']}"
            for fault in error.errors()
        )
        raise SettingsInvalid(f"{path}: {faults}; cluster/kuberay/settings.py explains every key") from error


def _set(tree: dict[str, Any], change: str) -> None:
    """Put one `key=value` into the tree."""
    key, equals, text = change.partition("=")
    if not key or not equals:
        raise SettingsInvalid(f"--set takes key=value, such as serve.max_pods=8, got {change!r}")
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
        raise SettingsInvalid(f"--set {change}: there is no such place in the settings") from error
