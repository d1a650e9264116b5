"""Tests of the drift detector: thresholds, levels, and the list of checks that could not be made."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.feedback_bias import FeedbackWorld, judge_feedback
from benchmarks.segment_power import SegmentScenario, alarms, found
from tests.unit.train.drift.builders import LABELS, reference, traffic
from train.drift.detector import Samples, judge
from train.drift.mmd import Embedded
from train.drift.report import summary
from train.drift.results import CheckResult, Report
from train.drift.thresholds import read_thresholds
from train.errors import DataError

BOUNDS = read_thresholds()


def level(report: Report, check: str) -> str:
    [found] = [finding for finding in report.findings if finding.check == check]
    return found.level


def embedded(seed: int, moved: float = 0.0) -> Embedded:
    rng = np.random.default_rng(seed)
    return Embedded(rng.normal(size=(200, 6)) + moved, rng.integers(0, 2, 200))


def test_a_window_like_the_reference_is_ok() -> None:
    report = judge(reference(), traffic(), BOUNDS, samples=Samples(embedded(0), embedded(1)))

    assert report.verdict == "ok"
    assert report.reasons == ()
    assert [finding.check for finding in report.findings] == [
        "embeddings",
        "lengths",
        "unknown tokens",
        "label shares",
        "scores",
        "estimated accuracy",
    ]


def test_more_complaints_are_drift_and_no_cause_to_retrain() -> None:
    report = judge(reference(), traffic(negative=400), BOUNDS)

    assert report.verdict == "drift"
    [reason] = report.reasons
    assert reason.endswith(": 66.7% of the predictions are NEGATIVE (50.0% in the reference)")


def test_a_large_effect_that_chance_explains_is_ok() -> None:
    report = judge(reference(), traffic(102, negative=58), BOUNDS)  # seven points on about a hundred texts

    assert level(report, "label shares") == "ok"


def test_a_trifle_beyond_doubt_is_ok() -> None:
    # The difference is three points, with almost a million texts.
    report = judge(reference(texts=900_000), traffic(900_000, negative=477_000), BOUNDS)
    [found] = [finding for finding in report.findings if finding.check == "label shares"]

    assert found.p < 1e-6
    assert report.verdict == "ok"


@pytest.mark.parametrize(
    ("window", "check", "expected"),
    [
        (traffic(lengths={9: 600}), "lengths", "drift"),
        (traffic(scores={15: 300, 19: 300}), "scores", "drift"),
        (traffic(unknown=300), "unknown tokens", "drift"),
        (traffic(scores={12: 300, 19: 300}), "estimated accuracy", "retrain"),
        (traffic(audit=(160, 200)), "accuracy", "retrain"),
        (traffic(right=480, judged=600), "accuracy", "retrain"),
    ],
)
def test_every_check_speaks_up(window: object, check: str, expected: str) -> None:
    assert level(judge(reference(), window, BOUNDS), check) == expected  # type: ignore[arg-type]


def test_another_domain_asks_for_retraining_unless_feedback_shows_that_the_model_holds() -> None:
    samples = Samples(embedded(0), embedded(1, moved=1.0))

    assert judge(reference(), traffic(), BOUNDS, samples=samples).verdict == "retrain"
    held = judge(reference(), traffic(audit=(560, 600)), BOUNDS, samples=samples)
    assert held.verdict == "drift"
    assert level(held, "embeddings") == "drift"


def test_the_gravest_reason_comes_first() -> None:
    report = judge(reference(), traffic(negative=400, audit=(100, 200)), BOUNDS)

    assert report.verdict == "retrain"
    assert [reason.partition(": ")[2].split()[:4] for reason in report.reasons] == [
        ["the", "accuracy", "is", "50.0%"],
        ["66.7%", "of", "the", "predictions"],
    ]


def test_what_cannot_be_measured_is_said() -> None:
    report = judge(reference(right=0, judged=0), traffic(audit=(3, 4)), BOUNDS)

    said = {unmeasured.check: unmeasured.why for unmeasured in report.unmeasured}
    assert said["embeddings"] == "the log has 0 texts of the window; expected 50 or more"
    assert "no held-out texts" in said["accuracy"]
    assert report.accuracy.measured == 0.75
    assert report.accuracy.by_mean_score is None


def test_feedback_alone_gives_bounds_and_an_estimate_only_of_all_texts() -> None:
    """90 % of 600 answers were right before; 70 complaints are no evidence that the share has changed."""
    some = judge(reference(), traffic(right=0, judged=70), BOUNDS)
    said = {unmeasured.check: unmeasured.why for unmeasured in some.unmeasured}["accuracy"]
    assert some.verdict == "ok"
    assert said.startswith("the accuracy cannot be estimated from feedback: 70 of 600 texts")
    assert (some.accuracy.feedback_low, some.accuracy.feedback_high) == (0, pytest.approx(530 / 600))

    assert judge(reference(), traffic(right=0, judged=170), BOUNDS).verdict == "retrain", "71.7 % at most"


@pytest.mark.parametrize("ratio", [1.0, 0.5, 0.2, 0.1, 0.0])
@pytest.mark.parametrize("audit_texts", [0, 400])
def test_feedback_of_complainers_asks_for_no_retraining(ratio: float, audit_texts: int) -> None:
    """In 40 unchanged windows at 5 %, six or more false verdicts have a probability of 1 in 70."""
    verdicts = [judge_feedback(FeedbackWorld(ratio, audit_texts), seed) for seed in range(40)]
    assert verdicts.count("retrain") <= 5


def test_the_audit_sample_shows_a_fall_whoever_complains() -> None:
    verdicts = [judge_feedback(FeedbackWorld(0.1, 400, fall=0.1), seed) for seed in range(20)]
    assert verdicts.count("retrain") >= 18


def test_few_rows_are_not_judged() -> None:
    with pytest.raises(DataError, match="the window has 99 distinct texts of made 1; expected at least 100"):
        judge(reference(), traffic(99), BOUNDS)


# --- segments


def turned(report: Report) -> list[str]:
    return [finding.check for finding in report.segments]


def products(first: tuple[int, int], count: int = 20) -> dict[str, tuple[int, int]]:
    """Return counts of products: the first has its own, each of the others has 2 NEGATIVE of 40."""
    return {"cream": first} | {f"product {i}": (2, 38) for i in range(count - 1)}


def past(first: tuple[int, int], periods: int = 14) -> dict[str, np.ndarray]:
    """Return the counts of the same products in several periods."""
    return {name: np.tile(np.array(counts), (periods, 1)) for name, counts in products(first).items()}


def test_a_product_that_turned_is_named() -> None:
    report = judge(reference(), traffic(segments=products((14, 26))), BOUNDS, history=past((2, 38)))

    assert report.verdict == "drift"
    assert turned(report) == ["cream"]
    [reason] = report.reasons
    assert (
        reason == "the segment 'cream' drifted: 35% of 40 predictions are NEGATIVE (5% of 560 in the history)"
    )
    assert (report.segments_judged, report.segments_not_yet) == (20, 0)


def test_a_product_that_was_always_disliked_is_quiet() -> None:
    now, before = traffic(segments=products((14, 26))), past((15, 25))

    assert turned(judge(reference(), now, BOUNDS, history=before)) == []


def test_a_new_product_is_not_yet_judged() -> None:
    history = past((2, 38))
    history["cream"] = history["cream"][:2]

    report = judge(reference(), traffic(segments=products((30, 10))), BOUNDS, history=_padded(history))
    assert (turned(report), report.segments_judged, report.segments_not_yet) == ([], 19, 1)
    assert "1 without enough history" in summary(report)
    alone = judge(reference(), traffic(segments=products((30, 10))), BOUNDS)
    assert (turned(alone), alone.segments_judged, alone.segments_not_yet) == ([], 0, 20)


def _padded(history: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Extend every history to 14 periods; missing periods have no texts."""
    return {name: np.pad(counts, ((14 - len(counts), 0), (0, 0))) for name, counts in history.items()}


def test_small_segments_are_not_judged() -> None:
    report = judge(reference(), traffic(segments={"a": (9, 0)}), BOUNDS, history={"a": np.full((14, 2), 4)})
    assert (report.segments_judged, report.segments_not_yet) == (0, 0)


@pytest.mark.parametrize("segments", [20, 200])
def test_unchanged_segments_that_vary_from_day_to_day_are_quiet(segments: int) -> None:
    """At most 5 % of windows may alarm; at 5 %, 11 or more of 100 windows have a probability of 1 in 90."""
    world = SegmentScenario("", own=0.5, common=0.2)
    assert alarms(world, segments, windows=100, seed=3) <= 0.10


def test_segments_that_turn_are_found_although_they_vary() -> None:
    """NEGATIVE rises from 5 % to 35 %; with 50 texts per period, about 19 of 20 segments are found."""
    assert found(SegmentScenario("", own=0.3, share=0.05, sizes=(50, 50)), 20, windows=60) >= 0.9
    assert found(SegmentScenario("", own=0.3, share=0.05, sizes=(500, 500)), 20, windows=20) >= 19 / 20


def test_p_values_are_corrected_for_their_number() -> None:
    def least(window: object) -> CheckResult:
        return min(judge(reference(), window, BOUNDS).findings, key=lambda found: found.p)  # type: ignore[arg-type]

    one = least(traffic(102, negative=70))
    # chi2 of 70 : 32 against 500 : 500 is 12.8, p = 0.00035; this is the minimum of five p-values.
    assert one.check == "label shares"
    assert one.p == pytest.approx(5 * 0.00035, rel=0.05)
    assert LABELS[0] in one.reason
