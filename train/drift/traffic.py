"""What came in and what was answered in a window of time: counts of the distinct texts, and a sample."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from train.drift.feedback import FeedbackCounts
from train.drift.rates import TokenSums
from train.drift.shift import Counts


@dataclass(frozen=True, slots=True)
class Traffic:
    """Texts that one version answered, each counted once."""

    labels: tuple[str, ...]
    answers: Counts
    """Texts by answered label: int64 (labels,)."""
    lengths: Counts
    """Texts by tokens: int64, in the bins of `train.profile.LENGTH_EDGES`."""
    top_scores: Counts
    """Texts by the score of their answer: int64, in the bins of `train.profile.score_histogram`."""
    tokens: TokenSums
    segments: Mapping[str, Counts]
    """By the segment's name, texts by answered label: int64 (labels,)."""
    texts: tuple[str, ...] = ()
    """Drawn at random from the rows that have their text; none where the log keeps no texts."""
    feedback: FeedbackCounts = field(default_factory=FeedbackCounts)
    repeated: int = 0
    """Further answers to the same texts, which no count has."""
    begin: datetime | None = None
    """Of the first row."""
    end: datetime | None = None
    """Of the last one."""

    @property
    def rows(self) -> int:
        """Distinct texts."""
        return int(self.answers.sum())
