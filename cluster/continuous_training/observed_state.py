"""Observed state for the decision: from prediction log, registry, retraining folder and rollout journal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cluster.continuous_training.errors import ContinuousTrainingError
from cluster.continuous_training.planner import LastDriftCheck, LastRollout, ObservedState
from cluster.rollout.journal.file import FileJournal
from cluster.rollout.state import Entry, Rollout, RolloutState, after
from serve_app.model.resolver import fetch
from train.errors import UnknownVersionError
from train.model_uri import CACHE
from train.prediction_log.distinct import distinct_texts
from train.prediction_log.reader import Window
from train.registry import Registry, Version
from train.registry.aliases import CHAMPION
from train.retraining.feedback_dataset import label_counts
from train.retraining.retrain import Retrainer
from train.retraining.state import retrainings

_LOOK = "look.json"


def observe(model: str, retrainer: Retrainer, journal: FileJournal, *, min_rows: int) -> ObservedState:
    """Read the entire state again.

    Args:
        model: The registered model.
        retrainer: Retrainer with log, registry and the folder of retrainings.
        journal: Journal of the rollouts.
        min_rows: Number at which the count of new distinct texts stops.
    """
    entries = journal.entries()
    rollout = journal.rollout()
    under_way = None if rollout.state.rests else rollout.canary.uri
    champion = _champion(retrainer.registry, model)
    if champion is None:
        return ObservedState(model, None, under_way)
    looked = read_last_drift_check(retrainer.work, champion.version)
    made = next(reversed(retrainings(retrainer.work, model, champion.version, retrainer.log.address)), None)
    return ObservedState(
        model,
        champion.version,
        under_way,
        came_by_rollout=rollout.state is RolloutState.PROMOTED and rollout.canary.uri == champion.uri,
        rows=_new_rows(retrainer, champion, looked, min_rows),
        last_drift_check=looked,
        missing_labels=_lacking(retrainer, champion, looked),
        retraining=made,
        last_rollout=last_rollout(entries, made.uri) if made and made.uri else None,
    )


def last_rollout(entries: Sequence[Entry], uri: str) -> LastRollout | None:
    """Return the last rollout of a bundle in a journal; None if there is none."""
    rollout, found = Rollout(), None
    for entry in entries:
        rollout = after(rollout, entry)
        if rollout.canary.uri == uri:
            found = LastRollout(rollout.state, rollout.reason, datetime.fromtimestamp(rollout.since, UTC))
    return found


def read_last_drift_check(work: Path, champion: str) -> LastDriftCheck | None:
    """Return the last drift check, if it was for this champion."""
    path = work / _LOOK
    try:
        found = json.loads(path.read_bytes())
        looked = LastDriftCheck(
            champion=str(found["champion"]),
            since=datetime.fromisoformat(found["since"]),
            until=datetime.fromisoformat(found["until"]),
            verdict=found["verdict"],
            reasons=tuple(found["reasons"]),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ContinuousTrainingError(
            f"{path} is not the record of a drift check ({error}); remove it, and the next step checks again"
        ) from error
    return looked if looked.champion == champion else None


def write_last_drift_check(work: Path, looked: LastDriftCheck) -> None:
    """Replace the stored result of the last drift check atomically."""
    work.mkdir(parents=True, exist_ok=True)
    draft = work / f".{_LOOK}"
    draft.write_text(json.dumps(asdict(looked), indent=2, default=datetime.isoformat) + "\n")
    draft.replace(work / _LOOK)


def _champion(registry: Registry, model: str) -> Version | None:
    try:
        return registry.get(f"{model}@{CHAMPION}")
    except UnknownVersionError:
        return None


def _new_rows(retrainer: Retrainer, champion: Version, looked: LastDriftCheck | None, most: int) -> int:
    hours = timedelta(hours=retrainer.bounds.window.hours)
    since = looked.until if looked else retrainer.now() - hours
    return distinct_texts(retrainer.log, Window(since, version=champion.version), most)


def _lacking(retrainer: Retrainer, champion: Version, looked: LastDriftCheck | None) -> tuple[str, ...]:
    if looked is None or looked.verdict != "retrain":
        return ()
    window = Window(looked.since, looked.until, champion.version)
    labels = fetch(champion.uri, cache_dir=CACHE).manifest.labels
    return retrainer.bounds.labels.lacking(label_counts(retrainer.log, window), labels)
