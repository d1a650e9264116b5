"""What the loop does next: a table of what is known, and laws that hold for whatever is known."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.loop.step import Facts, Looked, Step, Tried, next_step
from cluster.rollout.states import State
from train.retraining.config import PaceBounds
from train.retraining.state import Retraining

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PACE = PaceBounds(look_hours=1, pause_hours=24)
LEAST = 100
LOOKED = Looked("1", NOON - 24 * HOUR, NOON, "retrain", ("texts of another domain",))
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
BACK = Tried(State.ROLLED_BACK, "errors", NOON)
KNOWN = Facts("m", "1")


@pytest.mark.parametrize(
    ("facts", "hours", "step", "said"),
    [
        (Facts("m", None), 0, Step.BLOCKED, "train alias m@champion VERSION"),
        (KNOWN, 0, Step.WAIT, "0 new answers of 1; a look for drift needs 100"),
        (replace(KNOWN, came_by_rollout=True), 0, Step.DONE, "m/1 is on every pod"),
        (replace(KNOWN, rows=100), 0, Step.DRIFT_CHECK, "no look was made yet"),
        (replace(KNOWN, rows=100, looked=FINE), 1, Step.DRIFT_CHECK, "the last look was 2026-11-26 12:00"),
        (replace(KNOWN, rows=99, looked=FINE), 1, Step.WAIT, "99 new answers"),
        (replace(KNOWN, rows=100, looked=LOOKED), 0, Step.RETRAIN, "texts of another domain"),
        # Called once an hour, the loop would else look, and look again.
        (replace(KNOWN, rows=100, looked=LOOKED), 5, Step.RETRAIN, "texts of another domain"),
        (replace(KNOWN, looked=replace(LOOKED, verdict="drift")), 0, Step.WAIT, "found drift"),
        (replace(KNOWN, looked=FINE), 0, Step.WAIT, "nothing has changed"),
        (replace(KNOWN, looked=LOOKED, lacking=("9 are NEGATIVE",)), 0, Step.WAIT, "9 are NEGATIVE"),
        (replace(KNOWN, looked=LOOKED, retraining=BEGUN), 9, Step.RETRAIN, "not finished"),
        (replace(KNOWN, looked=LOOKED, retraining=SHORT), 0, Step.WAIT, "9 are NEGATIVE"),
        (replace(KNOWN, looked=LOOKED, retraining=MADE), 9, Step.ROLLOUT, "registry:m/v has passed the gate"),
        (replace(KNOWN, looked=LOOKED, retraining=MADE, under_way="file:///v"), 9, Step.ROLLOUT, "under way"),
        (replace(KNOWN, rows=100, retraining=MADE, tried=BACK), 23, Step.BLOCKED, "rolled back: errors"),
        (replace(KNOWN, rows=100, retraining=MADE, tried=BACK), 24, Step.DRIFT_CHECK, "no look"),
        (replace(KNOWN, rows=100, looked=LOOKED, retraining=REFUSED), 23, Step.BLOCKED, "worse by a point"),
        (replace(KNOWN, rows=100, looked=LOOKED, retraining=REFUSED), 24, Step.DRIFT_CHECK, "last look"),
    ],
)
def test_the_next_step(facts: Facts, hours: float, step: Step, said: str) -> None:
    found = next_step(facts, PACE, least_rows=LEAST, now=NOON + hours * HOUR)

    assert found.step is step
    assert said in found.reason


def test_a_refused_window_is_not_retrained_on_again_however_short_the_pause() -> None:
    facts = replace(KNOWN, looked=LOOKED, retraining=REFUSED)
    soon = PaceBounds(look_hours=10, pause_hours=1)

    found = next_step(facts, soon, least_rows=LEAST, now=NOON + 2 * HOUR)

    assert found.step is Step.WAIT and "retrained on already: worse by a point" in found.reason


times = st.integers(-48, 48).map(lambda hours: NOON + hours * HOUR)
looks = st.builds(
    Looked,
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
    Facts,
    model=st.just("m"),
    champion=st.none() | st.just("1"),
    under_way=st.none() | st.just("file:///v"),
    came_by_rollout=st.booleans(),
    rows=st.integers(0, LEAST),
    looked=st.none() | looks,
    lacking=st.just(()) | st.just(("labels",)),
    retraining=st.none() | retrainings,
    tried=st.none() | st.builds(Tried, st.sampled_from(list(State)), st.just("why"), times),
)


@given(known, times)
def test_whatever_is_known_there_is_one_step_it_has_a_reason_and_what_it_needs(
    facts: Facts, now: datetime
) -> None:
    found = next_step(facts, PACE, least_rows=LEAST, now=now)

    assert found.reason
    if facts.under_way:
        assert found.step is Step.ROLLOUT, "nothing else begins beside a rollout"
    elif facts.champion is None:
        assert found.step is Step.BLOCKED
    elif found.step is Step.ROLLOUT:
        assert facts.retraining and facts.retraining.status == "registered" and facts.tried is None
    elif found.step is Step.DRIFT_CHECK:
        assert facts.rows >= LEAST
    elif found.step is Step.RETRAIN and not (facts.retraining and facts.retraining.status == "under way"):
        assert facts.looked and facts.looked.verdict == "retrain" and not facts.lacking
        assert facts.retraining is None or facts.retraining.until != facts.looked.until


@given(known, times, st.integers(0, 48))
def test_waiting_alone_unblocks_what_is_blocked_but_for_a_missing_champion(
    facts: Facts, now: datetime, hours: int
) -> None:
    later = next_step(facts, PACE, least_rows=LEAST, now=now + 200 * HOUR + hours * HOUR)

    assert (later.step is Step.BLOCKED) == (facts.champion is None and facts.under_way is None)
