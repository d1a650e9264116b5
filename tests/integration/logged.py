"""A prediction log as the service writes it: a version's answers, and what people said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from serve_app.capture.parquet import feedback_files, prediction_files
from serve_app.capture.records import Answered, Truth
from serve_app.capture.stores import Store
from serve_app.service import Classified, Scored, Timing
from tests.contract.fake_replica import LIVE


def write_log(
    store: Store,
    texts: Sequence[str],
    truths: Sequence[str],
    *,
    model: tuple[str, str],
    labels: Sequence[str],
    until: datetime,
) -> None:
    """Unsure answers of a version, an hour before `until`, and feedback on the first of them."""
    at = round((until - timedelta(hours=1)).timestamp() * 1e6)
    live = replace(LIVE, name=model[0], version=model[1], labels=tuple(labels))
    answer = Classified(live, [Scored([0.5, 0.5], 9, False)], Timing(0.0, 0.0, 0.0))
    records = [Answered(f"r{i}", at, [text], None, answer, 5.0, "champion") for i, text in enumerate(texts)]
    said = [Truth(f"r{i}", 0, label, at + 1, "api") for i, label in enumerate(truths)]
    for file in [*prediction_files(records, "full"), *feedback_files(said)]:
        store.put(file.key, file.content)
