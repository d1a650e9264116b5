"""Drift check of a time window: reads the log and the bundle, and returns the report."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from serve_app.model.resolver import Bundle
from serve_app.prediction_log.records import FEEDBACK
from train.captured.joining import Join
from train.captured.reading import Log, Window
from train.drift.embedding import answered, embed_texts
from train.drift.feedback import COLUMNS as FEEDBACK_COLUMNS
from train.drift.feedback import count_feedback
from train.drift.findings import Report
from train.drift.judge import Samples, judge
from train.drift.reference import Reference, read_reference
from train.drift.segments import SegmentHistory
from train.drift.tally import COLUMNS, SEGMENT_COLUMNS, count, segment_history
from train.drift.thresholds import Thresholds
from train.drift.traffic import Traffic

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Look:
    """Result of a drift check, and its inputs."""

    report: Report
    reference: Reference
    traffic: Traffic


def look(
    log: Log,
    bundle: Bundle,
    thresholds: Thresholds,
    *,
    since: datetime,
    until: datetime,
    past_periods: int | None = None,
    tell: Tell = lambda _: None,
) -> Look:
    """Compare the predictions of a version from `since` until before `until` with the version's reference.

    The function reads the log once, batch by batch, with its feedback, and embeds at most 512 of the texts.

    Args:
        log: Prediction log of the service.
        bundle: Bundle of the version.
        thresholds: Limits.
        since: Start of the window; all times need a time zone.
        until: End of the window.
        past_periods: Number of periods before `since`, each as long as the window, that are the segments'
            history; None for the number in the thresholds.
        tell: Callback that receives progress messages.

    Raises:
        DataInvalid: The bundle has no reference, or the window too few rows.
        LogInvalid: The log cannot be read.
        BundleInvalid: The model cannot be loaded.
    """
    manifest = bundle.manifest
    reference = read_reference(manifest, bundle.folder)
    window = Window(since, until, manifest.version)
    traffic = _read(log, window, manifest.labels, tell)
    history: SegmentHistory = {}
    if traffic.segments:
        tell("reading the segments' past")
        history = _history(log, window, manifest.labels, past_periods or thresholds.segments.past_periods)
    samples = None
    if len(traffic.texts) >= thresholds.evidence.min_texts and traffic.rows >= thresholds.evidence.min_rows:
        tell(f"embedding {len(traffic.texts):,} texts")
        samples = _samples(bundle, reference, traffic)
    report = judge(reference, traffic, thresholds, samples=samples, history=history)
    return Look(report, reference, traffic)


def _read(log: Log, window: Window, labels: tuple[str, ...], tell: Tell) -> Traffic:
    traffic = count(_told(log.predictions(window, COLUMNS), tell), labels)
    # The join writes the entire window to the disk, so it is skipped if there is no feedback.
    if not log.files(FEEDBACK, replace(window, until=Window().until, version=None)):
        return traffic
    tell("joining feedback")
    return replace(traffic, feedback=count_feedback(Join(log, window, FEEDBACK_COLUMNS)))


def _history(log: Log, window: Window, labels: tuple[str, ...], periods: int) -> SegmentHistory:
    begin = window.since - periods * (window.until - window.since)
    past = replace(window, since=begin, until=window.since)
    return segment_history(log.predictions(past, SEGMENT_COLUMNS), labels, past, periods)


def _told(batches: Any, tell: Tell) -> Any:
    rows = 0
    for number, batch in enumerate(batches, start=1):
        rows += batch.num_rows
        if number % 16 == 0:
            tell(f"{rows:,} rows read")
        yield batch


def _samples(bundle: Bundle, reference: Reference, traffic: Traffic) -> Samples:
    from serve_app.model.classifier import Classifier

    classifier = Classifier(bundle)
    return Samples(answered(classifier, reference.embeddings), embed_texts(classifier, traffic.texts))
