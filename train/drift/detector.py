"""Drift detector: compares a time window of the log with a version's reference, with verdict and reasons."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from serve_app.model.resolver import Bundle
from serve_app.prediction_log.records import FEEDBACK
from train.drift import checks
from train.drift.mmd import Embedded, answered, embed_texts
from train.drift.reference import DriftReference, read_reference
from train.drift.results import LEVELS, AccuracyFigures, CheckResult, Level, Measure, Report, Unmeasured
from train.drift.segments import segments
from train.drift.statistics import by_mean_score, by_threshold
from train.drift.thresholds import DriftThresholds
from train.drift.window import (
    COLUMNS,
    SEGMENT_COLUMNS,
    SegmentHistory,
    WindowStatistics,
    count,
    segment_history,
)
from train.errors import DataError
from train.evaluation.compare import holm, wilson
from train.prediction_log.join import Join
from train.prediction_log.label_accuracy import COLUMNS as FEEDBACK_COLUMNS
from train.prediction_log.label_accuracy import count_feedback
from train.prediction_log.reader import Log, Window

OnProgress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DriftCheck:
    """Result of a drift check, and its inputs."""

    report: Report
    reference: DriftReference
    traffic: WindowStatistics


@dataclass(frozen=True, slots=True)
class Samples:
    """Embedded texts of the reference and of the window."""

    reference: Embedded
    current: Embedded


def check_drift(
    log: Log,
    bundle: Bundle,
    thresholds: DriftThresholds,
    *,
    since: datetime,
    until: datetime,
    past_periods: int | None = None,
    on_progress: OnProgress = lambda _: None,
) -> DriftCheck:
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
        on_progress: Callback that receives progress messages.

    Raises:
        DataError: The bundle has no reference, or the window too few rows.
        LogError: The log cannot be read.
        InvalidBundleError: The model cannot be loaded.
    """
    manifest = bundle.manifest
    reference = read_reference(manifest, bundle.folder)
    window = Window(since, until, manifest.version)
    traffic = _read(log, window, manifest.labels, on_progress)
    history: SegmentHistory = {}
    if traffic.segments:
        on_progress("reading the history of the segments")
        history = _history(log, window, manifest.labels, past_periods or thresholds.segments.past_periods)
    samples = None
    if len(traffic.texts) >= thresholds.evidence.min_texts and traffic.rows >= thresholds.evidence.min_rows:
        on_progress(f"embedding {len(traffic.texts):,} texts")
        samples = _samples(bundle, reference, traffic)
    report = judge(reference, traffic, thresholds, samples=samples, history=history)
    return DriftCheck(report, reference, traffic)


def _read(log: Log, window: Window, labels: tuple[str, ...], on_progress: OnProgress) -> WindowStatistics:
    traffic = count(_counted(log.predictions(window, COLUMNS), on_progress), labels)
    # The join writes the entire window to the disk, so it is skipped if there is no feedback.
    if not log.files(FEEDBACK, replace(window, until=Window().until, version=None)):
        return traffic
    on_progress("joining feedback")
    return replace(traffic, feedback=count_feedback(Join(log, window, FEEDBACK_COLUMNS)))


def _history(log: Log, window: Window, labels: tuple[str, ...], periods: int) -> SegmentHistory:
    begin = window.since - periods * (window.until - window.since)
    past = replace(window, since=begin, until=window.since)
    return segment_history(log.predictions(past, SEGMENT_COLUMNS), labels, past, periods)


def _counted(batches: Any, on_progress: OnProgress) -> Any:
    rows = 0
    for number, batch in enumerate(batches, start=1):
        rows += batch.num_rows
        if number % 16 == 0:
            on_progress(f"{rows:,} rows read")
        yield batch


def _samples(bundle: Bundle, reference: DriftReference, traffic: WindowStatistics) -> Samples:
    from serve_app.model.classifier import Classifier

    classifier = Classifier(bundle)
    return Samples(answered(classifier, reference.embeddings), embed_texts(classifier, traffic.texts))


def judge(
    reference: DriftReference,
    traffic: WindowStatistics,
    thresholds: DriftThresholds,
    *,
    samples: Samples | None = None,
    history: SegmentHistory | None = None,
) -> Report:
    """Compare a window with its version's reference; the same arguments give the same report.

    `retrain` means changes that retraining can correct: lower accuracy, or texts of another domain. `drift`
    means any other change, such as a product with worse reviews, which the model may predict correctly.

    Args:
        reference: Reference of the version.
        traffic: Traffic of the window.
        thresholds: Limits.
        samples: Embedded texts; None if the log has no texts.
        history: History of the segments, of the same version; without it no segment is checked.

    Raises:
        DataError: The window has too few texts, or other labels than the reference.
    """
    min_rows = thresholds.evidence.min_rows
    if traffic.rows < min_rows:
        raise DataError(
            f"the window has {traffic.rows:,} distinct texts of {reference.name} {reference.version}; "
            f"expected at least {min_rows:,}; choose a longer window"
        )
    if traffic.labels != reference.profile.labels:
        raise DataError(
            f"the window has the labels {list(traffic.labels)}; expected those of the reference, "
            f"{list(reference.profile.labels)}; set --bundle to the version that made the predictions"
        )
    measures, unmeasured = _measured(reference, traffic, thresholds, samples)
    held = _accuracy_held(reference, traffic, thresholds)
    findings = [
        _finding(measure, p, thresholds.significance, suppressed=held and measure.check != "accuracy")
        for measure, p in _corrected(measures)
    ]
    of_segments = segments(traffic, history or {}, thresholds)
    drifted = [
        finding
        for measure, p in _corrected(of_segments.measures)
        if (finding := _finding(measure, p, thresholds.segments.significance)).level != "ok"
    ]
    return Report(
        name=reference.name,
        version=reference.version,
        begin=traffic.begin,
        end=traffic.end,
        rows=traffic.rows,
        repeated=traffic.repeated,
        verdict=max((finding.level for finding in (*findings, *drifted)), key=LEVELS.index),
        findings=tuple(findings),
        segments=tuple(sorted(drifted, key=lambda finding: -finding.effect)),
        segments_judged=len(of_segments.measures),
        segments_not_yet=of_segments.not_yet,
        unmeasured=tuple(unmeasured),
        accuracy=_figures(reference, traffic),
    )


def _measured(
    reference: DriftReference, traffic: WindowStatistics, thresholds: DriftThresholds, samples: Samples | None
) -> tuple[list[Measure], list[Unmeasured]]:
    """Return the results of all checks of the entire window, and the checks that were not possible."""
    arguments = (reference, traffic, thresholds)
    measures: list[Measure] = []
    unmeasured: list[Unmeasured] = []
    texts = len(samples.current.answers) if samples else 0
    if samples is None or texts < thresholds.evidence.min_texts:
        lack = (
            f"the log has {texts:,} texts of the window; expected {thresholds.evidence.min_texts:,} or more"
        )
        unmeasured.append(Unmeasured("embeddings", lack))
    elif shift := checks.embeddings(samples.reference, samples.current, thresholds):
        measures.append(shift)
    else:
        unmeasured.append(
            Unmeasured("embeddings", "no label has enough predictions in both reference and window")
        )
    measures += [checks.lengths(*arguments), checks.unknown_tokens(*arguments)]
    measures += [checks.label_shares(*arguments), checks.scores(*arguments)]
    of_accuracy = _accuracy(reference, traffic, thresholds)
    if isinstance(of_accuracy, Measure):
        measures.append(of_accuracy)
    else:
        unmeasured.append(of_accuracy)
    return [*measures, checks.estimated_accuracy(*arguments)], unmeasured


def _accuracy(
    reference: DriftReference, traffic: WindowStatistics, thresholds: DriftThresholds
) -> Measure | Unmeasured:
    """Measure the accuracy by the audit sample; without one by feedback, if its upper bound is a fall."""
    feedback, min_feedback = traffic.feedback, thresholds.evidence.min_feedback
    if not reference.judged:
        return Unmeasured("accuracy", "the reference has no held-out texts with labels")
    if feedback.audit.texts >= min_feedback:
        what = f"on {feedback.audit.texts:,} labels of the audit sample"
        return checks.accuracy(reference, feedback.audit.accuracy, *feedback.audit.counts, what, thresholds)
    if feedback.judged < min_feedback:
        lack = f"{feedback.judged:,} texts have feedback; expected {min_feedback:,} or more"
        return Unmeasured("accuracy", lack)
    _, high = feedback.bounds(traffic.rows)
    without = traffic.rows - feedback.judged
    what = f"by feedback on {feedback.judged:,} texts"
    if without:
        what = f"at most: {what}, with all other {without:,} predictions taken as correct"
    measure = checks.accuracy(reference, high / traffic.rows, high, traffic.rows, what, thresholds)
    if measure.effect >= measure.bound:
        return measure
    return (
        Unmeasured(
            "accuracy",
            f"the accuracy cannot be estimated from feedback: {feedback.judged:,} of {traffic.rows:,} texts "
            "have feedback, and whether a user gives it depends on the prediction; label an audit sample of "
            f"at least {min_feedback:,} texts (SENTIMENT_AUDIT_FRACTION, `python -m train feedback sample`)",
        )
        if without
        else measure
    )


def _corrected(measures: Sequence[Measure]) -> list[tuple[Measure, float]]:
    return list(zip(measures, holm([measure.p for measure in measures]), strict=True))


def _finding(measure: Measure, p: float, significance: float, *, suppressed: bool = False) -> CheckResult:
    """Return the finding with the level that effect and significance imply.

    `suppressed` marks a change that, by the labels, has not lowered the accuracy.
    """
    level: Level = "ok"
    reason = measure.measured
    if p <= significance and measure.effect >= measure.bound:
        retrain = measure.retrain_bound is not None and measure.effect >= measure.retrain_bound
        level = "retrain" if retrain and not suppressed else "drift"
        reason = f"{measure.claim}: {measure.measured}"
        if retrain and suppressed:
            reason += "; the labels show no fall of the accuracy, so retraining is not needed"
    return CheckResult(measure.check, measure.kind, level, measure.effect, measure.bound, p, reason)


def _accuracy_held(reference: DriftReference, traffic: WindowStatistics, thresholds: DriftThresholds) -> bool:
    """Return whether labels show, with 95 % confidence, that the accuracy fell by less than the limit."""
    feedback, min_feedback = traffic.feedback, thresholds.evidence.min_feedback
    if reference.accuracy is None:
        return False
    if feedback.audit.texts >= min_feedback:
        low = wilson(*feedback.audit.counts).low
    elif feedback.judged >= min_feedback:
        low = wilson(feedback.bounds(traffic.rows)[0], traffic.rows).low
    else:
        return False
    return low >= reference.accuracy - thresholds.accuracy.fall


def _figures(reference: DriftReference, traffic: WindowStatistics) -> AccuracyFigures:
    feedback = traffic.feedback
    by_audit = wilson(*feedback.audit.counts) if feedback.audit.texts else None
    low, high = (right / traffic.rows for right in feedback.bounds(traffic.rows))
    known, scores = reference.accuracy, reference.profile.top_scores
    return AccuracyFigures(
        reference=known,
        measured=feedback.audit.accuracy if by_audit else None,
        low=by_audit.low if by_audit else None,
        high=by_audit.high if by_audit else None,
        audited=feedback.audit.texts,
        judged=feedback.judged,
        feedback_low=low if feedback.judged else None,
        feedback_high=high if feedback.judged else None,
        by_mean_score=None if known is None else by_mean_score(scores, known, traffic.top_scores),
        by_threshold=None if known is None else by_threshold(scores, known, traffic.top_scores),
    )
