"""Stages of `retrain`, from feedback and old texts to a registered version; each stage runs once.

    window ──▶ labelled texts ──▶ fit ──▶ gate ──▶ registered
                     └▶ too few labels      └▶ refused

An interrupted retraining continues with its current stage, and `fit` with its last checkpoint.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serve_app.model.resolver import Bundle, fetch
from train.datasets.files import absolute, join
from train.errors import RetrainingError
from train.evaluation.evaluate import LocalModel, read_sets
from train.evaluation.gate import Verdict, decide
from train.evaluation.measure import measure
from train.evaluation.report import write_report
from train.evaluation.thresholds import GateThresholds
from train.model_uri import CACHE
from train.prediction_log.reader import Log, Window
from train.ray_session import ray_for_a_while
from train.registry import Registry, Version
from train.registry.aliases import CHAMPION
from train.retraining.config import Bounds
from train.retraining.feedback_dataset import AUDIT_FILE, FILE, keep, write_labelled
from train.retraining.gain import gain
from train.retraining.replay import champion_run, located, old_sets, with_replay
from train.retraining.run_spec import roles_of, settings_for, version_name
from train.retraining.state import Retraining, held, read_retraining, retrainings, write_retraining
from train.retraining.traffic_sample import FILE as TRAFFIC
from train.retraining.traffic_sample import write_traffic
from train.settings import FitSettings
from train.training.trainer import Resources, fit

_DATA = "data"
_EVALUATION = "evaluation"


@dataclass(frozen=True, slots=True)
class Retrainer:
    """Configuration for all retrainings of a model."""

    registry: Registry
    log: Log
    work: Path
    """Folder of one folder per retraining. Without `texts`, later ones read earlier texts here."""
    bounds: Bounds
    gate: GateThresholds
    texts: str | None = None
    """Folder or s3:// URI of the labelled texts for later retrainings; by default in `work`."""
    checkpoints: str | None = None
    """Folder or s3:// URI that every worker can access; by default in `work`."""
    old: tuple[FitSettings, str] | None = None
    """Settings that name the old texts, and the root of these; by default from the registry."""
    forget: bool = False
    """Whether to train on the feedback alone."""
    resources: Resources = field(default_factory=Resources)
    on_progress: Callable[[str], None] = lambda _: None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def retrain(
        self, name: str, since: datetime, until: datetime, version: str | None = None
    ) -> tuple[Retraining, bool]:
        """Retrain the champion on feedback to its predictions from `since` until before `until`.

        Args:
            name: Name of the registered model.
            since: Start of the window; both times need a time zone.
            until: End of the window; its feedback may be later.
            version: Name of the new version; by default derived from window and champion. An existing
                retraining keeps its window.

        Returns:
            The finished retraining, and whether this call did any work: a window that the champion was
                retrained on, or refused for, is not repeated.

        Raises:
            RetrainingError: Another process runs it, or it was started from another champion or log.
            TrainError: A stage failed; the same call repeats that stage.
        """
        champion = self.registry.get(f"{name}@{CHAMPION}")
        window = Window(since, until, champion.version)
        version = version or version_name(champion, window, self.log.address)
        folder = self.work / version
        with held(folder):
            retraining = read_retraining(folder) or Retraining(
                name=name,
                champion=champion.version,
                version=version,
                since=since,
                until=until,
                log=self.log.address,
                changed_at=self.now(),
            )
            if retraining.log != self.log.address:
                raise RetrainingError(
                    f"version {version} was started from the log {retraining.log or 'of an older release'}, "
                    f"not from {self.log.address}; choose another --version, or set --log to that log"
                )
            if retraining.champion != champion.version:
                raise RetrainingError(
                    f"version {version} was started from champion {retraining.champion}, but the champion is "
                    f"now {champion}; choose another --version"
                )
            if retraining.status in ("refused", "registered"):
                return retraining, False
            return _Work(self, champion, folder).carry_on(retraining), True

    def unfinished(self, name: str) -> Retraining | None:
        """Return the latest unfinished retraining of the current champion on this log."""
        champion = self.registry.get(f"{name}@{CHAMPION}")
        earlier = retrainings(self.work, name, champion.version, self.log.address)
        return next((one for one in reversed(earlier) if one.status == "under way"), None)


class _Work:
    """Stages of one retraining, with a lock on its folder."""

    def __init__(self, retrainer: Retrainer, champion: Version, folder: Path) -> None:
        self._with, self._champion, self._folder = retrainer, champion, folder
        self._bundle: Bundle = fetch(champion.uri, cache_dir=CACHE)

    def carry_on(self, retraining: Retraining) -> Retraining:
        if retraining.status == "too few labels" or not retraining.by_label:
            retraining = self._label(retraining)
        if retraining.status == "too few labels":
            return retraining
        settings = self._settings(retraining)
        if not retraining.fitted:
            self._with.on_progress("training")
            with ray_for_a_while():
                fit(
                    settings,
                    "",
                    self._folder,
                    resources=self._with.resources,
                    checkpoints=self._with.checkpoints and join(self._with.checkpoints, retraining.version),
                    resume=True,
                )
            retraining = self._note(retraining, fitted=True)
        if retraining.passed is None:
            verdict = self._judge(settings, retraining)
            status = "under way" if verdict.passed else "refused"
            retraining = self._note(retraining, passed=verdict.passed, reasons=verdict.reasons, status=status)
        if not retraining.passed:
            return retraining
        self._with.on_progress("registering")
        made = self._with.registry.register(self._folder)
        return self._note(retraining, status="registered", uri=made.uri)

    def _note(self, retraining: Retraining, **changes: Any) -> Retraining:
        changed = retraining.model_copy(update={**changes, "changed_at": self._with.now()})
        write_retraining(self._folder, changed)
        return changed

    def _label(self, retraining: Retraining) -> Retraining:
        self._with.on_progress("joining feedback")
        bounds, labels = self._with.bounds.labels, self._bundle.manifest.labels
        found = write_labelled(
            self._with.log,
            retraining.window,
            labels,
            self._folder / _DATA,
            max_texts=bounds.max_texts,
        )
        held_out = self._with.bounds.mix.held_out
        write_traffic(self._with.log, retraining.window, self._folder / _DATA, held_out=held_out)
        lacking = bounds.lacking(found.by_label, labels)
        if self._with.texts and not lacking:
            keep(self._folder / _DATA / FILE, self._kept(retraining, FILE))
            if found.audited:
                keep(self._folder / _DATA / AUDIT_FILE, self._kept(retraining, AUDIT_FILE))
        if lacking and found.without_text:
            lacking += (f"{found.without_text:,} predictions with feedback have no text in the log",)
        return self._note(
            retraining,
            by_label=dict(found.by_label),
            without_text=found.without_text,
            audited=found.audited,
            complete=found.complete,
            status="too few labels" if lacking else "under way",
            reasons=lacking,
        )

    def _settings(self, retraining: Retraining) -> FitSettings:
        """Return settings that are the same for each attempt: `fit` resumes only with equal settings."""
        mix, manifest = self._with.bounds.mix, self._bundle.manifest
        old, root = self._old()
        traffic = self._folder / _DATA / TRAFFIC
        settings = settings_for(
            self._champion,
            manifest,
            retraining.version,
            feedback=self._kept(retraining, FILE),
            old=old_sets(old.data, root) if old else (),
            held_back=[
                source.model_copy(update={"file": located(source, root)})
                for source in ((*old.validation, *old.test) if old else ())
            ],
            traffic=str(traffic.resolve()) if traffic.exists() else None,
            audit=self._kept(retraining, AUDIT_FILE) if retraining.audited else None,
            complete=retraining.complete,
            mix=mix,
        )
        return with_replay(settings, mix.replay, most_passes=mix.passes)

    def _kept(self, retraining: Retraining, file: str) -> str:
        """Return the path of its labelled texts, which every worker and every later retraining can read."""
        kept = self._with.texts and join(self._with.texts, retraining.version)
        return absolute(join(kept or str(self._folder / _DATA), file))

    def _old(self) -> tuple[FitSettings | None, str]:
        if self._with.forget:
            return None, ""
        return self._with.old or champion_run(self._with.registry, self._champion)

    def _judge(self, settings: FitSettings, retraining: Retraining) -> Verdict:
        self._with.on_progress("comparing it with the champion")
        most = self._with.bounds.gate.max_set_texts
        sets = {name: examples[:most] for name, examples in read_sets(settings, "").items()}
        evaluation = measure(
            LocalModel(str((self._folder / "bundle").absolute())),
            LocalModel(self._champion.uri, settings.labels),
            sets,
            roles=roles_of(settings, complete=retraining.complete),
            on_progress=self._with.on_progress,
        )
        verdict = decide(evaluation, self._with.gate)
        enough = gain(evaluation, settings.version, self._with.bounds.gate, self._with.gate.overall)
        verdict = Verdict((*verdict.checks, enough))
        write_report(evaluation, self._folder / _EVALUATION, verdict)
        return verdict
