"""Tests of the replica's metrics: a request counts once, whatever its number of texts."""

from __future__ import annotations

from collections import Counter as Counts

import pytest
from ray.util.metrics import Counter

from serve_app.metrics import Metrics


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counts[tuple[str, ...]]:
    """Record totals by metric and tags, as Ray receives them."""
    totals: Counts[tuple[str, ...]] = Counts()

    def inc(self: Counter, value: float = 1.0, tags: dict[str, str] | None = None) -> None:
        totals[self.info["name"], *(tags or {}).values()] += value  # type: ignore[assignment]

    monkeypatch.setattr(Counter, "inc", inc)
    return totals


@pytest.mark.parametrize("texts", [1, 16, 64])
def test_a_request_counts_once_divided_by_the_shares_of_its_texts(
    counted: Counts[tuple[str, ...]], texts: int
) -> None:
    metrics = Metrics()
    metrics.predictions(["POSITIVE"] * texts, [0.97] * texts, version="1")
    metrics.predictions(
        ["POSITIVE", "NEGATIVE", "NEGATIVE", "NEGATIVE"], [0.97, 0.5, 0.55, 0.97], version="1"
    )
    metrics.shadow({"agree": texts, "disagree": 0}, version="2")
    metrics.shadow({"agree": 1, "disagree": 3}, version="2")
    metrics.request_feedback(1, 1, version="1")
    metrics.flush()
    shares = {key: value for key, value in counted.items() if "_request" in key[0] and "sentiment" in key[0]}
    assert counted["sentiment_predictions", "POSITIVE", "1"] == texts + 1
    assert shares["sentiment_request_labels", "POSITIVE", "1"] == pytest.approx(1.25)
    assert shares["sentiment_request_labels", "NEGATIVE", "1"] == pytest.approx(0.75)
    assert shares["sentiment_request_scores", "0.9", "1"] == pytest.approx(1.5)
    assert shares["sentiment_request_scores", "0.5", "1"] == pytest.approx(0.5)
    assert shares["sentiment_shadow_requests", "agree", "2"] == pytest.approx(1.25)
    assert shares["sentiment_shadow_requests", "disagree", "2"] == pytest.approx(0.75)
    assert shares["sentiment_feedback_requests", "wrong", "1"] == pytest.approx(0.5)
