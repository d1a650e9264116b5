"""Check that a retrained version is more accurate on the traffic than the champion."""

from train.evaluation.gate import Check, in_points, interval_of, mean_draws, more_texts, paired_sample
from train.evaluation.results import Evaluation
from train.evaluation.thresholds import Overall
from train.retraining.config import GateBounds
from train.retraining.run_spec import AUDIT, FEEDBACK

_AUDIT_TEXTS = 400
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
    minimum = required.gain
    names = (f"{AUDIT}{version}", f"{FEEDBACK}{version}")
    sets = [of_set for of_set in evaluation.sets if of_set.name in names]
    groups = [group for of_set in sets if (group := paired_sample(evaluation, of_set))]
    if not groups:
        return _check(
            -1.0,
            minimum,
            "-",
            "not enough evidence of a gain: feedback is not a random sample, because whether a user gives it "
            f"depends on the prediction; label an audit sample of about {_AUDIT_TEXTS} texts "
            "(SENTIMENT_AUDIT_FRACTION, `python -m train feedback sample`)",
            undecided=True,
        )
    drawn = mean_draws(groups, evaluation)
    interval = interval_of(drawn, required.gain_confidence)
    shown = in_points(interval)
    texts = sum(group.texts for group in groups)
    what = (
        f"on {texts:,} texts of the traffic with feedback, the balanced accuracy changed by {shown} points, "
        "which is not significant"
    )
    undecided = interval.estimate > minimum
    if undecided:
        bounds = overall.model_copy(update={"confidence": required.gain_confidence})
        what += f"; about {more_texts(texts, drawn, minimum, bounds):,} more labelled texts are necessary"
    else:
        what += "; the feedback does not improve the model; check its labels"
    return _check(interval.low, minimum, shown, what, undecided=undecided)


def _check(low: float, minimum: float, shown: str, reason: str, *, undecided: bool) -> Check:
    passed = low > minimum
    return Check(
        name="gain on the traffic: lower end, points",
        value=low,
        relation=">",
        limit=minimum,
        passed=passed,
        measured=shown,
        bound=f"above {100 * minimum:+.1f}",
        reason=reason,
        undecided=undecided and not passed,
    )
