"""One look for drift: a log, a bundle and a window of time in, a report out."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from serve_app.capture.records import FEEDBACK
from serve_app.model.store import Bundle
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
    """What a look found, and what it was found from."""

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
    """Hold what a version answered from `since` until before `until` against its own reference.

    Reads the log once, a batch at a time, and the feedback to it; embeds at most 512 of the texts.

    Args:
        log: Of the service.
        bundle: The version's.
        thresholds: The bounds.
        since: With a time zone, as the others.
        until: The window's end.
        past_periods: How many periods before `since`, each as long as the window, are the segments' own past;
            None: as many as the bounds say.
        tell: Told what is done.

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
    # The join deals the whole window out to the disk: not without cause.
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
