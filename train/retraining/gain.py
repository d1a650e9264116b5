"""Check that a retrained version is more accurate on the traffic than the champion."""

from train.evaluation.gate import Check, in_points, interval_of, mean_draws, more_texts, paired_sample
from train.evaluation.results import Evaluation
from train.evaluation.thresholds import Overall
from train.retraining.config import GateBounds
from train.retraining.run_spec import AUDIT, FEEDBACK

_LEAST_AUDIT = 400
"""Requested number of texts of an audit sample if there is none; `python -m benchmarks.gate_power
--feedback` shows the power of that number."""


def gain(evaluation: Evaluation, version: str, required: GateBounds, overall: Overall) -> Check:
    """Check that the candidate is more accurate on the traffic, by the audit sample and held-out feedback.

    Feedback alone is not a random sample, so it is sufficient only if every text has it. With an audit sample
    it is weighted (`train.evaluation.compare.difference_draws`).

    Args:
        evaluation: Evaluation of both; its sets include the version's feedback and audit sample.
        version: Version of the candidate.
        required: Minimum gain in balanced accuracy, and the confidence with which it must be exceeded.
        overall: Power for the number of additional texts.
    """
    least = required.gain
    names = (f"{AUDIT}{version}", f"{FEEDBACK}{version}")
    sets = [of_set for of_set in evaluation.sets if of_set.name in names]
    found = [group for of_set in sets if (group := paired_sample(evaluation, of_set))]
    if not found:
        return _check(
            -1.0,
            least,
            "-",
            "not enough evidence of a gain: feedback is no random sample, and who gives it depends on the "
            f"answer; label an audit sample of about {_LEAST_AUDIT} texts (SENTIMENT_AUDIT_FRACTION, "
            "`python -m train feedback sample`)",
            undecided=True,
        )
    drawn = mean_draws(found, evaluation)
    interval = interval_of(drawn, required.gain_confidence)
    shown = in_points(interval)
    texts = sum(group.texts for group in found)
    what = (
        f"on {texts:,} texts of the traffic and the feedback on it, the improvement is not significant: "
        f"{shown} points of balanced accuracy"
    )
    undecided = interval.estimate > least
    if undecided:
        bounds = overall.model_copy(update={"confidence": required.gain_confidence})
        what += f"; about {more_texts(texts, drawn, least, bounds):,} more labelled texts are needed"
    else:
        what += "; the feedback teaches nothing new, or is wrong"
    return _check(interval.low, least, shown, what, undecided=undecided)


def _check(low: float, least: float, shown: str, reason: str, *, undecided: bool) -> Check:
    passed = low > least
    return Check(
        name="gain on the traffic, lower end, points",
        value=low,
        relation=">",
        limit=least,
        passed=passed,
        measured=shown,
        bound=f"above {100 * least:+.1f}",
        reason=reason,
        undecided=undecided and not passed,
    )
