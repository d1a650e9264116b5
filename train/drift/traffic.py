"""Traffic of a time window: counts of the distinct texts and of their predictions, and a sample of texts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from train.drift.rates import TokenSums
from train.drift.statistics import Counts
from train.prediction_log.label_accuracy import FeedbackCounts


@dataclass(frozen=True, slots=True)
class Traffic:
    """Texts that one version predicted, each counted once."""

    labels: tuple[str, ...]
    answers: Counts
    """Texts by predicted label: int64 (labels,)."""
    lengths: Counts
    """Texts by number of tokens: int64, in the bins of `train.profile.LENGTH_EDGES`."""
    top_scores: Counts
    """Texts by score of the prediction: int64, in the bins of `train.profile.score_histogram`."""
    tokens: TokenSums
    segments: Mapping[str, Counts]
    """Texts by predicted label, by name of the segment: int64 (labels,)."""
    texts: tuple[str, ...] = ()
    """Random sample of the rows that store their text; empty if the log stores no texts."""
    feedback: FeedbackCounts = field(default_factory=FeedbackCounts)
    repeated: int = 0
    """Further predictions of the same texts, which are not in the counts."""
    begin: datetime | None = None
    """Time of the first row."""
    end: datetime | None = None
    """Time of the last row."""

    @property
    def rows(self) -> int:
        """Return the number of distinct texts."""
        return int(self.answers.sum())
