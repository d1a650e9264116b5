"""How often the answers are right, from labels: of the audit sample, or bounds from feedback.

Feedback is no random sample: whether somebody gives it depends on whether the answer was right, which cannot
be corrected by what is known of the answer alone (label and score). So feedback gives bounds: the answers
without it may all be right, or all be wrong (Manski 1989, Anatomy of the Selection Problem, Journal of Human
Resources 24). Only the audit sample, drawn at random by request, gives an estimate.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow.compute as pc

from train.captured.joining import AUDITED, TRUTH, hashes
from train.drift.distinct import DistinctKeys

COLUMNS = ("request_id", "text_sha256", "label", "audit_fraction")
"""Of the predictions, what `count_feedback` needs beside the labels."""


@dataclass(frozen=True, slots=True)
class AuditSums:
    """Distinct texts of the audit sample, as sums over its requests.

    A request was drawn with the chance `audit_fraction`, so each of its texts has the weight 1 / fraction.
    The texts of a request were drawn together, so the request is the unit of the variance. Per request, w is
    the sum of the weights of its texts and y of those whose answer is right.
    """

    texts: int = 0
    requests: int = 0
    w: float = 0.0
    y: float = 0.0
    ww: float = 0.0
    wy: float = 0.0
    yy: float = 0.0

    def __add__(self, other: "AuditSums") -> "AuditSums":
        return AuditSums(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))

    @property
    def accuracy(self) -> float:
        """Weighted share of right answers (Hájek's estimator); needs one text."""
        return self.y / self.w

    @property
    def effective_texts(self) -> int:
        """Size of the simple random sample of texts that knows the share as well, at least 1.

        Its binomial variance is that of the ratio (Cochran 1977, Sampling Techniques, equation 6.13, without
        the corrections for finite populations and for small samples). Where all are right or all wrong, the
        size that the unequal weights alone leave (Kish 1965, Survey Sampling).
        """
        p = self.accuracy
        residuals = self.yy - 2 * p * self.wy + p**2 * self.ww
        variance = residuals / self.w**2
        found = p * (1 - p) / variance if 0 < p < 1 and variance > 0 else self.w**2 / self.ww
        return max(1, min(self.texts, round(found)))

    @property
    def counts(self) -> tuple[int, int]:
        """Right answers, and of how many, in that simple random sample."""
        return round(self.accuracy * self.effective_texts), self.effective_texts


@dataclass(frozen=True, slots=True)
class FeedbackCounts:
    """Labels of a window's distinct texts.

    Attributes:
        right: texts whose answer agrees with the label, whoever gave it.
        judged: texts with a label.
        audit: those of the audit sample.
    """

    right: int = 0
    judged: int = 0
    audit: AuditSums = field(default_factory=AuditSums)

    def bounds(self, texts: int) -> tuple[int, int]:
        """Right answers among so many texts: if all without a label are wrong, and if all are right."""
        return self.right, self.right + max(texts - self.judged, 0)


def count_feedback(batches: Iterable[Any]) -> FeedbackCounts:
    """Count labels, of each text one.

    Args:
        batches: Arrow record batches as `train.captured.joining.Join` gives them of `COLUMNS`.
    """
    seen, seen_in_audit = DistinctKeys(), DistinctKeys()
    right = judged = 0
    audit = AuditSums()
    for batch in batches:
        once = batch.filter(seen.add(hashes(batch["text_sha256"])))
        judged += once.num_rows
        right += int(pc.sum(pc.equal(once["label"], once[TRUTH])).as_py() or 0)
        marked = batch.filter(batch[AUDITED])
        audit += _sums(marked.filter(seen_in_audit.add(hashes(marked["text_sha256"]))))
    return FeedbackCounts(right, judged, audit)


def _sums(batch: Any) -> AuditSums:
    """Sums of a batch's requests."""
    if not batch.num_rows:
        return AuditSums()
    _, request = np.unique(hashes(batch["request_id"]), return_inverse=True)
    weight = 1 / batch["audit_fraction"].to_numpy(zero_copy_only=False)
    agrees = pc.equal(batch["label"], batch[TRUTH]).to_numpy(zero_copy_only=False)
    w, y = np.bincount(request, weight), np.bincount(request, weight * agrees)
    sums = (w.sum(), y.sum(), w @ w, w @ y, y @ y)
    return AuditSums(batch.num_rows, len(w), *(float(of) for of in sums))
