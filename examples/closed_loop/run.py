"""Sequence of the demonstration: texts of a new domain arrive, and the loop detects, retrains, rolls out."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import httpx

from cluster.continuous_training.executor import Loop
from cluster.continuous_training.planner import LoopStep, PlannedStep
from cluster.rollout.analysis import Decision
from cluster.rollout.controller import Controller
from cluster.rollout.journal.file import FileJournal
from cluster.rollout.metric_sources import Endpoints
from cluster.rollout.registry import RegistryAliases, find
from cluster.rollout.state import Rollout
from cluster.rollout.targets.serve_api import ServeTarget
from examples.canary_rollout.harness import QUICK
from examples.closed_loop.champion import MODEL, first_champion
from examples.closed_loop.texts import LABELS, Domains, Row
from examples.closed_loop.traffic import Clients, Say, truth
from serve_app.dev_server.launcher import Plan, free_port, serving
from train.datasets.examples import Example
from train.drift.thresholds import read_thresholds as drift_thresholds
from train.evaluation.evaluate import LocalModel, evaluate_sets
from train.evaluation.thresholds import read_thresholds as gate_thresholds
from train.prediction_log.reader import Log
from train.registry import Registry, open_registry
from train.retraining.config import PaceBounds, read_retrain_bounds
from train.retraining.retrain import Retrainer

OLD, NEW = "old domain", "new domain"
CHAMPION = "champion"
"""Folder of the first champion."""
_REPLICAS = 2
_FLUSH_S = "2"
_AUDIT_FRACTION = 0.2
_MAX_STEPS = 6
_TIMEOUT_S = 30.0

# The new version should answer the new domain differently: that is its purpose.
PLAN = QUICK.model_copy(
    update={"tolerances": QUICK.tolerances.model_copy(update={"label_share": 0.3, "score_share": 0.4})}
)
# A drift check runs as soon as there are texts to check.
_PACE = PaceBounds(look_hours=1e-4, pause_hours=24)
# Half of the default, so that the demonstration takes minutes.
_REPLAY = 1.0

OnProgress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class LoopResults:
    """Result of the demonstration.

    Attributes:
        source: description of the texts.
        poisoned: whether the feedback was random.
        steps: steps that the loop executed, in order, with their reasons.
        champion: version on every pod at the end; the first one is 1.
        accuracy: by domain, accuracy of the version that served at the beginning, and at the end.
        requests: number of answered requests.
        failed: faults of the other requests.
        lost: number of answered requests that are not in the prediction log.
        feedback: number of labels that were sent as feedback.
        reports: reports of the drift checks and of the gate.
    """

    source: str
    poisoned: bool
    steps: Sequence[PlannedStep]
    champion: str
    accuracy: Mapping[str, tuple[float, float]]
    requests: int
    failed: Sequence[str]
    lost: int
    feedback: int
    reports: Sequence[Path]

    @property
    def faults(self) -> list[str]:
        """Return a message for each result that differs from the expected one."""
        last, (before, after) = self.steps[-1].step, self.accuracy[NEW]
        expected = LoopStep.BLOCKED if self.poisoned else LoopStep.ROLLOUT
        reason = self.steps[-1].reason
        faults = [f"the last step is {last}, expected {expected}: {reason}"] * (last is not expected)
        faults += [f"{len(self.failed)} requests failed: {self.failed[0]}"] if self.failed else []
        faults += [f"{self.lost} answers are not in the log"] * bool(self.lost)
        if self.poisoned:
            return faults + [f"the champion is {self.champion}, expected 1"] * (self.champion != "1")
        faults += ["the champion is 1, expected the new version"] * (self.champion == "1")
        return faults + [
            f"the accuracy on the new domain is {after:.3f}, expected more than {before:.3f}"
        ] * (after <= before)


def demonstrate(
    domains: Domains, out: Path, *, poison: bool, seed: int, on_progress: OnProgress
) -> LoopResults:
    """Run the demonstration.

    Args:
        domains: Texts of both domains.
        out: Folder that contains nothing except the first champion, if that; it receives registry, log,
            retrainings and reports.
        poison: Whether the feedback labels are random.
        seed: Seed of the random feedback.
        on_progress: Progress callback, called with one line for each step.

    Raises:
        LocalError: The service could not be started.
        ContinuousTrainingError: A step could not be executed.
        TrainError: The first champion could not be trained.
    """
    out.mkdir(parents=True, exist_ok=True)
    registry = open_registry(f"sqlite:///{out.absolute()}/registry/registry.db")
    on_progress(
        f"{domains.source}; training the first champion on {len(domains.train):,} texts of the old domain"
    )
    first = first_champion(domains.train, out / CHAMPION, registry)
    log = Log(str((out / "log").absolute()))
    service = Plan(
        model=first.uri,
        port=free_port(),
        dashboard_port=free_port(),
        replicas=_REPLICAS,
        environment={
            "SENTIMENT_LOG_URI": log.uri,
            "SENTIMENT_LOG_FLUSH_S": _FLUSH_S,
            "SENTIMENT_AUDIT_FRACTION": str(_AUDIT_FRACTION),
            "SENTIMENT_MAX_QUEUE_WAIT_S": "30",
            "RAY_metrics_report_interval_ms": "1000",
        },
    )
    say = _random_labels(seed) if poison else truth
    with serving(service, on_progress), httpx.Client(timeout=_TIMEOUT_S) as client:
        target = ServeTarget(service.dashboard, client=client)
        clients = Clients(service.url)
        loop = _loop(registry, log, out, service, target, client, on_progress)
        on_progress(f"sending {len(domains.old):,} texts of the old domain")
        clients.send(domains.old)
        clients.lost(log)
        steps = _steps(loop, on_progress, max_steps=1)
        on_progress(f"sending {len(domains.new):,} texts of the new domain, with feedback")
        clients.send(domains.new, say)
        clients.lost(log)
        on_progress(f"labelling the audit sample: {clients.audit(log, out, say):,} texts")
        steps += _steps(
            loop,
            on_progress,
            max_steps=_MAX_STEPS,
            during=clients,
            rows=(*domains.old, *domains.new),
            say=say,
        )
        lost = len(clients.lost(log))
        live = target.read().split.champion
    on_progress("evaluating both versions on texts that neither was trained on")
    versions = {version.uri: version.version for version in registry.versions(MODEL)}
    before, after = (_accuracy(uri, domains) for uri in (first.uri, live))
    return LoopResults(
        domains.source,
        poison,
        steps,
        versions[live],
        {name: (before[name], after[name]) for name in before},
        len(clients.answered),
        clients.failed,
        lost,
        clients.said,
        sorted((out / "retraining").rglob("report.html")),
    )


def _steps(
    loop: Loop,
    on_progress: OnProgress,
    *,
    max_steps: int,
    during: Clients | None = None,
    rows: Sequence[Row] = (),
    say: Say = truth,
) -> list[PlannedStep]:
    """Execute steps until there is nothing to do, or until a rollout, which runs under load, has ended."""
    done: list[PlannedStep] = []
    while len(done) < max_steps:
        observed, planned = loop.decide()
        on_progress(f"next step: {planned.step}: {planned.reason}")
        done.append(planned)
        if not planned.step.works:
            break
        loaded = planned.step is LoopStep.ROLLOUT and during is not None
        mixed = random.Random(0).sample(rows, len(rows))
        with during.steadily(mixed, say) if loaded and during else nullcontext():
            loop.execute(observed, planned.step)
        if planned.step is LoopStep.ROLLOUT:
            break
    return done


def _loop(
    registry: Registry,
    log: Log,
    out: Path,
    service: Plan,
    target: ServeTarget,
    client: httpx.Client,
    on_progress: OnProgress,
) -> Loop:
    bounds = read_retrain_bounds()
    mix = bounds.mix.model_copy(update={"replay": _REPLAY})
    bounds = bounds.model_copy(update={"pace": _PACE, "mix": mix})
    retrainer = Retrainer(
        registry, log, out / "retraining", bounds, gate_thresholds(), on_progress=on_progress
    )
    journal = FileJournal(out / "rollout")

    def report_progress(rollout: Rollout, line: str, decision: Decision | None) -> None:
        on_progress(f"rollout: {rollout.state}: {line}")

    controller = Controller(
        journal,
        target,
        Endpoints(service.dashboard, [service.metrics], client=client),
        aliases=RegistryAliases(lambda: registry),
        on_progress=report_progress,
    )

    def roll_out(reference: str) -> None:
        found = find(reference, lambda: registry)
        assert found is not None  # the reference is a registry address
        serves = found.champion_version(target.read().split.champion)
        controller.start(found.canary, PLAN, champion_version=serves, model=found.model)

    def go_on() -> None:
        controller.resume()

    return Loop(MODEL, retrainer, drift_thresholds(), journal, roll_out, go_on)


def _random_labels(seed: int) -> Say:
    draw = random.Random(seed)
    return lambda row: draw.choice(LABELS)


def _accuracy(uri: str, domains: Domains) -> dict[str, float]:
    """Return the share of correct answers, by domain."""
    sets = {
        name: [Example(text, label) for text, label in rows]
        for name, rows in ((NEW, domains.new_test), (OLD, domains.old_test))
    }
    found, _ = evaluate_sets(LocalModel(uri, LABELS), sets, LABELS)
    return {name: of_set.accuracy for name, of_set in found.items()}
