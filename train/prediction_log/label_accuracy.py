"""Accuracy from labels: an estimate from the audit sample, or bounds from feedback.

Feedback is not a random sample: whether a client gives it depends on whether the prediction was correct, and
the prediction alone (label and score) is not enough to correct this. So feedback gives bounds: the
predictions without it may all be correct, or all be wrong (Manski 1989, Anatomy of the Selection Problem,
Journal of Human Resources 24). Only the audit sample, which is drawn at random by request, gives an estimate.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow.compute as pc

from train.prediction_log.distinct import DistinctKeys
from train.prediction_log.join import AUDITED, TRUTH, hashes

COLUMNS = ("request_id", "text_sha256", "label", "audit_fraction")
"""Columns of the predictions that `count_feedback` needs in addition to the labels."""


@dataclass(frozen=True, slots=True)
class AuditSums:
    """Sums over the requests of the audit sample, of its distinct texts.

    A request is drawn with the probability `audit_fraction`, so each of its texts has the weight 1 /
    fraction. The texts of a request are drawn together, so the request is the unit of the variance. Per
    request, w is the sum of the weights of its texts, and y the sum of the weights of the texts with a
    correct prediction.
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
        """Return the weighted accuracy (Hájek's estimator); needs at least one text."""
        return self.y / self.w

    @property
    def effective_texts(self) -> int:
        """Return the size of the simple random sample of texts of equal precision, at least 1.

        Its binomial variance is the variance of the ratio (Cochran 1977, Sampling Techniques, equation 6.13,
        without the corrections for finite populations and for small samples). If all predictions are correct
        or all are wrong, the size follows from the unequal weights alone (Kish 1965, Survey Sampling).
        """
        p = self.accuracy
        residuals = self.yy - 2 * p * self.wy + p**2 * self.ww
        variance = residuals / self.w**2
        found = p * (1 - p) / variance if 0 < p < 1 and variance > 0 else self.w**2 / self.ww
        return max(1, min(self.texts, round(found)))

    @property
    def counts(self) -> tuple[int, int]:
        """Return the number of correct predictions and the size of that simple random sample."""
        return round(self.accuracy * self.effective_texts), self.effective_texts


@dataclass(frozen=True, slots=True)
class FeedbackCounts:
    """Numbers of labelled distinct texts of a window.

    Attributes:
        right: texts whose prediction agrees with the label, from any source.
        judged: texts with a label.
        audit: sums of the audit sample.
    """

    right: int = 0
    judged: int = 0
    audit: AuditSums = field(default_factory=AuditSums)

    def bounds(self, texts: int) -> tuple[int, int]:
        """Return the minimum and maximum number of correct predictions among `texts` texts.

        At the minimum, all predictions without a label are wrong; at the maximum, all are correct.
        """
        return self.right, self.right + max(texts - self.judged, 0)


def count_feedback(batches: Iterable[Any]) -> FeedbackCounts:
    """Count labels, one per text.

    Args:
        batches: Arrow record batches of `train.prediction_log.join.Join` with `COLUMNS`.
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
    """Return the sums of a batch's requests."""
    if not batch.num_rows:
        return AuditSums()
    _, request = np.unique(hashes(batch["request_id"]), return_inverse=True)
    weight = 1 / batch["audit_fraction"].to_numpy(zero_copy_only=False)
    agrees = pc.equal(batch["label"], batch[TRUTH]).to_numpy(zero_copy_only=False)
    w, y = np.bincount(request, weight), np.bincount(request, weight * agrees)
    sums = (w.sum(), y.sum(), w @ w, w @ y, y @ y)
    return AuditSums(batch.num_rows, len(w), *(float(of) for of in sums))
