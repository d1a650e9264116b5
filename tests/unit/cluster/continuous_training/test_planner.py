"""Tests of the loop's next step: a table of known states, and properties that hold for any state."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.continuous_training.planner import (
    LastDriftCheck,
    LastRollout,
    LoopStep,
    ObservedState,
    next_step,
)
from cluster.rollout.state import RolloutState
from train.retraining.config import PaceBounds
from train.retraining.state import Retraining

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PACE = PaceBounds(look_hours=1, pause_hours=24)
LEAST = 100
LOOKED = LastDriftCheck("1", NOON - 24 * HOUR, NOON, "retrain", ("texts of another domain",))
FINE = replace(LOOKED, verdict="ok", reasons=())
MADE = Retraining(
    name="m",
    champion="1",
    version="v",
    since=LOOKED.since,
    until=LOOKED.until,
    status="registered",
    by_label={"NEGATIVE": 300, "POSITIVE": 300},
    uri="file:///v",
    changed_at=NOON,
)
REFUSED = MADE.model_copy(update={"status": "refused", "uri": None, "reasons": ("worse by a point",)})
BEGUN = MADE.model_copy(update={"status": "under way", "uri": None})
SHORT = MADE.model_copy(update={"status": "too few labels", "uri": None, "reasons": ("9 are NEGATIVE",)})
BACK = LastRollout(RolloutState.ROLLED_BACK, "errors", NOON)
KNOWN = ObservedState("m", "1")


@pytest.mark.parametrize(
    ("observed", "hours", "step", "said"),
    [
        (ObservedState("m", None), 0, LoopStep.BLOCKED, "train alias m@champion VERSION"),
        (KNOWN, 0, LoopStep.WAIT, "0 new predictions of 1; a drift check requires 100"),
        (replace(KNOWN, came_by_rollout=True), 0, LoopStep.DONE, "m/1 is on every pod"),
        (replace(KNOWN, rows=100), 0, LoopStep.DRIFT_CHECK, "no drift check yet"),
        (
            replace(KNOWN, rows=100, last_drift_check=FINE),
            1,
            LoopStep.DRIFT_CHECK,
            "the last drift check was 2026-11-26 12:00",
        ),
        (replace(KNOWN, rows=99, last_drift_check=FINE), 1, LoopStep.WAIT, "99 new predictions"),
        (replace(KNOWN, rows=100, last_drift_check=LOOKED), 0, LoopStep.RETRAIN, "texts of another domain"),
        # A loop that runs every hour would otherwise repeat the drift check instead of retraining.
        (replace(KNOWN, rows=100, last_drift_check=LOOKED), 5, LoopStep.RETRAIN, "texts of another domain"),
        (replace(KNOWN, last_drift_check=replace(LOOKED, verdict="drift")), 0, LoopStep.WAIT, "check: drift"),
        (replace(KNOWN, last_drift_check=FINE), 0, LoopStep.WAIT, "no change"),
        (
            replace(KNOWN, last_drift_check=LOOKED, missing_labels=("9 are NEGATIVE",)),
            0,
            LoopStep.WAIT,
            "9 are NEGATIVE",
        ),
        (replace(KNOWN, last_drift_check=LOOKED, retraining=BEGUN), 9, LoopStep.RETRAIN, "not finished"),
        (replace(KNOWN, last_drift_check=LOOKED, retraining=SHORT), 0, LoopStep.WAIT, "9 are NEGATIVE"),
        (
            replace(KNOWN, last_drift_check=LOOKED, retraining=MADE),
            9,
            LoopStep.ROLLOUT,
            "registry:m/v has passed the gate",
        ),
        (
            replace(KNOWN, last_drift_check=LOOKED, retraining=MADE, under_way="file:///v"),
            9,
            LoopStep.ROLLOUT,
            "under way",
        ),
        (
            replace(KNOWN, rows=100, retraining=MADE, last_rollout=BACK),
            23,
            LoopStep.BLOCKED,
            "rolled back: errors",
        ),
        (
            replace(KNOWN, rows=100, retraining=MADE, last_rollout=BACK),
            24,
            LoopStep.DRIFT_CHECK,
            "no drift check",
        ),
        (
            replace(KNOWN, rows=100, last_drift_check=LOOKED, retraining=REFUSED),
            23,
            LoopStep.BLOCKED,
            "worse by a point",
        ),
        (
            replace(KNOWN, rows=100, last_drift_check=LOOKED, retraining=REFUSED),
            24,
            LoopStep.DRIFT_CHECK,
            "last drift check",
        ),
    ],
)
def test_the_next_step(observed: ObservedState, hours: float, step: LoopStep, said: str) -> None:
    found = next_step(observed, PACE, min_rows=LEAST, now=NOON + hours * HOUR)

    assert found.step is step
    assert said in found.reason


def test_a_refused_window_is_not_retrained_on_again_however_short_the_pause() -> None:
    observed = replace(KNOWN, last_drift_check=LOOKED, retraining=REFUSED)
    soon = PaceBounds(look_hours=10, pause_hours=1)

    found = next_step(observed, soon, min_rows=LEAST, now=NOON + 2 * HOUR)

    assert found.step is LoopStep.WAIT and "already used for a retraining: worse by a point" in found.reason


times = st.integers(-48, 48).map(lambda hours: NOON + hours * HOUR)
looks = st.builds(
    LastDriftCheck,
    champion=st.just("1"),
    since=st.just(NOON - 72 * HOUR),
    until=times,
    verdict=st.sampled_from(["ok", "drift", "retrain"]),
    reasons=st.just(("why",)),
)
retrainings = st.builds(
    lambda made, until, changed: made.model_copy(update={"until": until, "changed_at": changed}),
    st.sampled_from([MADE, REFUSED, BEGUN, SHORT]),
    times,
    times,
)
known = st.builds(
    ObservedState,
    model=st.just("m"),
    champion=st.none() | st.just("1"),
    under_way=st.none() | st.just("file:///v"),
    came_by_rollout=st.booleans(),
    rows=st.integers(0, LEAST),
    last_drift_check=st.none() | looks,
    missing_labels=st.just(()) | st.just(("labels",)),
    retraining=st.none() | retrainings,
    last_rollout=st.none()
    | st.builds(LastRollout, st.sampled_from(list(RolloutState)), st.just("why"), times),
)


@given(known, times)
def test_whatever_is_known_there_is_one_step_it_has_a_reason_and_what_it_needs(
    observed: ObservedState, now: datetime
) -> None:
    found = next_step(observed, PACE, min_rows=LEAST, now=now)

    assert found.reason
    if observed.under_way:
        assert found.step is LoopStep.ROLLOUT, "nothing else begins beside a rollout"
    elif observed.champion is None:
        assert found.step is LoopStep.BLOCKED
    elif found.step is LoopStep.ROLLOUT:
        assert (
            observed.retraining
            and observed.retraining.status == "registered"
            and observed.last_rollout is None
        )
    elif found.step is LoopStep.DRIFT_CHECK:
        assert observed.rows >= LEAST
    elif found.step is LoopStep.RETRAIN and not (
        observed.retraining and observed.retraining.status == "under way"
    ):
        assert (
            observed.last_drift_check
            and observed.last_drift_check.verdict == "retrain"
            and not observed.missing_labels
        )
        assert observed.retraining is None or observed.retraining.until != observed.last_drift_check.until


@given(known, times, st.integers(0, 48))
def test_waiting_alone_unblocks_what_is_blocked_but_for_a_missing_champion(
    observed: ObservedState, now: datetime, hours: int
) -> None:
    later = next_step(observed, PACE, min_rows=LEAST, now=now + 200 * HOUR + hours * HOUR)

    assert (later.step is LoopStep.BLOCKED) == (observed.champion is None and observed.under_way is None)
