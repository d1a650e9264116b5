"""Simulated world for the controller: a clock, pods that follow the controller, and the resulting metrics.

The behaviour of each model is known, so that the observations show which model served. The controller can be
configured to die after any effect (`SimulatedCrashError`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cluster.rollout.aliases import Aliases
from cluster.rollout.controller import Clock, Controller, OnProgress
from cluster.rollout.errors import MetricSourceError, TargetError
from cluster.rollout.journal.base import Journal
from cluster.rollout.journal.file import FileJournal
from cluster.rollout.metric_sources import Key, Reading
from cluster.rollout.plan import RolloutPlan
from cluster.rollout.targets.base import DeploymentState, SplitGuard, TrafficSplit

RATE = 10.0
"""Requests per second and pod."""
QUICK = RolloutPlan(
    window_s=10, settle_s=5, min_requests=200, min_windows=2, max_stage_s=600, apply_timeout_s=60
)


class SimulatedCrashError(BaseException):
    """End of the controller's process."""


@dataclass(frozen=True)
class Model:
    """Behaviour of a model.

    Attributes:
        version: version that the model reports.
        errors: share of its requests that are answered 5xx.
        ms: latency of every answer in milliseconds, an upper bound of a histogram bucket.
        positive: share of its texts labelled POSITIVE.
        loads: False if no pod can load it.
        dtype: data type in which the pods serve it.
    """

    version: str
    errors: float = 0.0
    ms: int = 50
    positive: float = 0.5
    loads: bool = True
    dtype: str = "float32"


MODELS = {
    "old": Model("1"),
    "good": Model("2", positive=0.52),
    "broken": Model("3", loads=False),
    "failing": Model("4", errors=0.2),
    "dead": Model("7", errors=1.0),
    "flaky": Model("8", errors=0.04),
    "slow": Model("5", ms=300),
    "stuck": Model("6", positive=1.0),
    "twin": Model("1"),
    "reduced": Model("9", dtype="bfloat16"),
}


@dataclass
class World:
    """Target, metric source, registry and clock in one object."""

    folder: Path
    replicas: int = 4
    split: TrafficSplit = field(default_factory=lambda: TrafficSplit("old"))
    now: float = 1000.0
    live: list[str] = field(default_factory=lambda: ["old"])
    totals: Counter[Key] = field(default_factory=Counter)
    aliases: dict[str, str] = field(default_factory=lambda: {"champion": "1"})
    undo: list[dict[str, str]] = field(default_factory=list)
    """Aliases before each move of the champion, which also moves `previous`."""
    counted_at: float = 1000.0
    effects: int = 0
    dies_after: int | None = None
    splits: list[TrafficSplit] = field(default_factory=list)
    down: bool = False
    blind: bool = False
    away: frozenset[int] = frozenset()
    """Ranks of the pods whose metrics endpoint does not answer."""
    rate: float = RATE
    quiet: frozenset[str] = frozenset()
    """Models whose pods receive no requests."""
    unreported: frozenset[int] = frozenset()
    """Ranks of the pods that do not report which model they serve."""
    on_sleep: Callable[[], None] = lambda: None
    on_entry: Callable[[str], None] = lambda event: None
    """Function that is called after an entry is written and before its effect."""
    before_apply: Callable[[], None] = lambda: None
    """Function that is called between a controller's last check and its change of the pods."""
    fence: int = 0

    def controller(
        self,
        aliases: Aliases | None = None,
        journal: Journal | None = None,
        clock: Clock | None = None,
        on_progress: OnProgress = lambda rollout, line, decision: None,
    ) -> Controller:
        return Controller(
            journal or _Journal(self),
            _Target(self),
            _Source(self),
            aliases=aliases or self,
            clock=clock or (lambda: self.now),
            sleep=self.sleep,
            on_progress=on_progress,
        )

    def journal(self) -> FileJournal:
        return FileJournal(self.folder)

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.on_sleep()
        self.now += seconds

    def effect(self) -> None:
        """Count a change outside the controller's memory; crash beyond the configured number."""
        self.effects += 1
        if self.dies_after is not None and self.effects > self.dies_after:
            raise SimulatedCrashError

    # Aliases

    def move(self, model: str, alias: str, version: str | None) -> None:
        assert model == "sentiment"
        if alias == "champion" and version != self.aliases["champion"]:
            self.undo.append(dict(self.aliases))
            self.aliases["previous"] = self.aliases["champion"]
        if version is None:
            self.aliases.pop(alias, None)
        else:
            self.aliases[alias] = version
        self.effect()

    def restore(self, model: str, alias: str, version: str | None) -> None:
        assert (model, alias) == ("sentiment", "champion")
        if self.aliases["champion"] != version:
            before = self.undo.pop()
            assert before["champion"] == version
            canary = {"canary": self.aliases["canary"]} if "canary" in self.aliases else {}
            self.aliases = {k: v for k, v in before.items() if k != "canary"} | canary
        self.effect()

    # Source

    def pods(self) -> Counter[str]:
        """Count the pods by served model: the assigned one or, if it does not load, the previous one."""
        split = self.split
        del self.live[self.replicas :]
        for rank in range(self.replicas):
            canary = split.canary and split.step and rank < split.step.pods and not split.step.shadow
            wanted = (split.canary if canary else None) or split.champion
            if rank == len(self.live):
                self.live.append(split.champion if MODELS[split.champion].loads else self.live[0])
            if MODELS[wanted].loads:
                self.live[rank] = wanted
        return Counter(self.live)

    def count(self) -> None:
        """Add the requests since the last call, with the pods' models in that time."""
        seconds, self.counted_at = self.now - self.counted_at, self.now
        self.pods()
        for rank, uri in enumerate(self.live):
            model, requests = MODELS[uri], 0 if uri in self.quiet else self.rate * seconds
            self.add(rank, "requests_total", requests * (1 - model.errors), model, status="200")
            self.add(rank, "requests_total", requests * model.errors, model, status="500")
            for end in ("50.0", "300.0", "+Inf"):
                if float(end) >= model.ms:
                    self.add(rank, "request_ms_bucket", requests, model, le=end)
            answered = requests * (1 - model.errors)
            for label, share in (("POSITIVE", model.positive), ("NEGATIVE", 1 - model.positive)):
                self.add(rank, "request_labels_total", answered * share, model, label=label)
            self.add(rank, "request_scores_total", answered, model, tenth="0.9")
            if self._shadows(rank):
                model = MODELS[self.split.canary or ""]
                differ = abs(model.positive - MODELS[self.split.champion].positive)
                self.add(rank, "shadow_requests_total", requests * differ, model, outcome="disagree")
                self.add(rank, "shadow_requests_total", requests * (1 - differ), model, outcome="agree")

    def reading(self) -> Reading:
        if self.blind:
            raise MetricSourceError("no endpoint answers")
        self.count()
        series = dict(self.totals)
        for rank, uri in enumerate(self.live):
            for model in (uri, self.split.canary if self._shadows(rank) else None):
                if model is not None and rank not in self.unreported:
                    tags = {"version": MODELS[model].version, "dtype": MODELS[model].dtype}
                    series[self._key(rank, "model_info", uri=model, **tags)] = 1.0
        for uri in {self.split.champion, self.split.canary} - {None}:
            if not MODELS[uri or ""].loads:
                series[self._key(0, "failed_load", uri=uri or "", reason="digest-mismatch")] = 1.0
        away = {(("NodeAddress", f"pod-{rank}")) for rank in self.away}
        answered = {key: value for key, value in series.items() if not key[1] & away}
        return Reading(answered, frozenset(f"pod-{rank}" for rank in self.away if rank < len(self.live)))

    def add(self, rank: int, name: str, count: float, model: Model, **tags: str) -> None:
        """Add to a counter of a pod."""
        if name in ("requests_total", "request_ms_bucket"):
            tags["route"] = "/v1/classify"
        self.totals[self._key(rank, name, version=model.version, **tags)] += count  # type: ignore[assignment]

    def _shadows(self, rank: int) -> bool:
        step = self.split.step
        return bool(self.split.canary and step and step.shadow and rank < step.pods)

    @staticmethod
    def _key(rank: int, name: str, **tags: str) -> Key:
        labels = {"NodeAddress": f"pod-{rank}", "WorkerId": f"process-{rank}", **tags}
        return f"ray_sentiment_{name}", frozenset(labels.items())


@dataclass
class _Target:
    """Pods as the controller configures and reads them."""

    world: World

    def read(self) -> DeploymentState:
        world = self.world
        if world.down:
            raise TargetError("nobody answers")
        return DeploymentState(world.split, world.replicas, world.replicas, settled=True, fence=world.fence)

    def apply(self, split: TrafficSplit, guard: SplitGuard | None = None) -> None:
        self.read()
        self.world.before_apply()
        if guard is not None:
            guard.check(self.world.split, self.world.fence)
            self.world.fence = guard.fence
        self.world.count()
        self.world.split = split
        self.world.splits.append(split)
        self.world.effect()

    def scale(self, replicas: int) -> None:
        self.world.count()
        self.world.replicas = replicas
        self.world.effect()


@dataclass
class _Source:
    """Metric source of the pods."""

    world: World

    def read(self) -> Reading:
        return self.world.reading()


class _Journal(FileJournal):
    """Journal in which every entry is an effect."""

    def __init__(self, world: World) -> None:
        super().__init__(world.folder)
        self._world = world

    def write(self, entry: object) -> None:
        super().write(entry)  # type: ignore[arg-type]
        self._world.effect()
        self._world.on_entry(entry["event"])  # type: ignore[index]
