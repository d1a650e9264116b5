"""Tests of the store of recent predictions, which has a maximum size."""

from serve_app.prediction_log.recent_predictions import RecentPredictions


def test_the_oldest_is_forgotten_first() -> None:
    recent = RecentPredictions(max_requests=2)
    recent.remember("a", ["POSITIVE", "NEGATIVE"], "7")
    recent.remember("b", ["POSITIVE"], "8")
    assert recent.recall("a", 1) == ("NEGATIVE", "7") and recent.recall("a", 2) is None
    recent.remember("c", ["POSITIVE"], "8")
    assert recent.recall("a", 0) is None and recent.recall("b", 0) == ("POSITIVE", "8")
