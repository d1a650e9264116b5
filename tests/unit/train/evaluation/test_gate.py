"""Tests of the gate's decisions: worse candidates are refused for the right reason; an equal one passes."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.gate_power import Candidate, gate, retrained
from tests.unit.train.evaluation.synthetic import LABELS, FakeModel, evaluated, texts
from train.errors import SettingsFileError
from train.evaluation.compare import Interval, bootstrap, interval
from train.evaluation.gate import Answer, Verdict, decide, same_labels
from train.evaluation.results import Difference, Evaluation, Headline, SliceResult, to_json
from train.evaluation.thresholds import DEFAULT, GateThresholds, read_thresholds

THRESHOLDS = read_thresholds()
FEW = 1_000
"""Number of bootstrap resamples in tests that make many decisions."""


def judged(evaluation: Evaluation, thresholds: GateThresholds = THRESHOLDS) -> Verdict:
    return decide(evaluation, thresholds)


def failed(verdict: Verdict) -> list[str]:
    return [check.name for check in verdict.checks if not check.passed]


def test_the_champion_itself_passes() -> None:
    verdict = judged(evaluated(FakeModel(), FakeModel()))

    assert verdict.passed
    assert verdict.reasons == ()
    assert len(verdict.checks) > 15


def test_a_better_one_passes() -> None:
    assert judged(evaluated(FakeModel(), FakeModel(noise=3.0))).passed


def test_one_label_to_everything_is_refused_as_worse_everywhere() -> None:
    verdict = judged(evaluated(FakeModel(constant=2.0), FakeModel()))

    assert verdict.reasons[0].startswith("significantly worse overall: ")
    assert "significantly worse on even (600 texts)" in "\n".join(verdict.reasons)
    assert "significantly worse on rare (1,500 texts)" in "\n".join(verdict.reasons)


def test_one_trained_on_shuffled_labels_is_refused_as_worse() -> None:
    verdict = judged(evaluated(FakeModel(shuffled=True), FakeModel()))

    assert not verdict.passed
    assert verdict.reasons[0].startswith("significantly worse overall: ")


def test_an_uncalibrated_one_is_refused_for_that_alone() -> None:
    verdict = judged(evaluated(FakeModel(sharpness=0.1), FakeModel()))

    assert failed(verdict) == [
        "calibration error, mean of the sets",
        "calibration error above the champion's",
    ]
    assert "fit the temperature again" in verdict.reasons[0]
    assert "above the champion's" in verdict.reasons[1]


def test_scores_that_mean_less_than_the_champions_are_refused_within_the_bound_too() -> None:
    evaluation = evaluated(FakeModel(sharpness=2.5), FakeModel())
    assert evaluation.average.candidate.calibration_error < THRESHOLDS.calibration.max_error

    assert failed(judged(evaluation)) == ["calibration error above the champion's"]


def test_one_bad_slice_is_enough_and_is_named() -> None:
    departments = [f"d{i}" for i in range(12)]
    examples = texts("shop", 2400, seed=4, department=departments)
    one = [e.text for e in examples if e.columns["department"] == "d7"][:60]
    sets = {"shop": examples, "even": texts("even", 600, seed=1)}
    lax = THRESHOLDS.model_copy(update={"overall": THRESHOLDS.overall.model_copy(update={"margin": 0.1})})

    verdict = judged(evaluated(FakeModel(confused=one), FakeModel(), sets, ["department"]), lax)

    assert "shop department=d7: p-value of no loss" in failed(verdict)
    assert not any("d3" in reason for reason in verdict.reasons)
    assert "corrected for 14 sets and slices (Holm)" in "\n".join(verdict.reasons)


def test_slices_of_an_equally_good_one_seldom_refuse_it() -> None:
    """Forty slices have random differences; without the correction most candidates would be refused."""
    rng = np.random.default_rng(11)
    base = evaluated(FakeModel(), FakeModel(), {"even": texts("even", 500, seed=1)})
    base = base.model_copy(update={"resamples": 2000})
    zero = THRESHOLDS.model_copy(update={"parts": THRESHOLDS.parts.model_copy(update={"margin": 0.0})})
    refused = uncorrected = 0
    for _ in range(20):
        slices = [_chance_slice(str(i), rng) for i in range(40)]
        verdict = judged(base.model_copy(update={"slices": tuple(slices)}), zero)
        refused += not verdict.passed
        uncorrected += any(
            interval(of.measured_balanced_accuracy, of.balanced_accuracy, 0.95).high < 0
            for part in slices
            if part.difference
            for of in [bootstrap([np.array(list(part.difference.paired.values()))], resamples=500)]
        )

    assert refused <= 1
    assert uncorrected >= 8


def _chance_slice(value: str, rng: np.random.Generator) -> SliceResult:
    """Return a slice of 200 texts, on which two equally good models differ in one text of eight."""
    paired = {
        label: tuple(int(n) for n in rng.multinomial(100, [0.8, 0.0625, 0.0625, 0.075])) for label in LABELS
    }
    same = Headline(accuracy=0.86, balanced_accuracy=0.86)
    level = Interval(0.0, 0.0, 0.0)
    return SliceResult(
        set="even",
        column="group",
        value=value,
        texts=200,
        candidate=same,
        against=same,
        difference=Difference.model_validate(
            {"accuracy": level, "balanced_accuracy": level, "mcnemar_p": 1.0, "paired": paired}
        ),
    )


def test_small_sets_and_slices_are_not_judged() -> None:
    few = texts("few", 99, seed=5)
    sets = {"few": few, "even": texts("even", 600, seed=1)}

    verdict = judged(evaluated(FakeModel(confused=[e.text for e in few]), FakeModel(), sets))

    assert not any(check.name.startswith("few") for check in verdict.checks)
    # The small set still counts in the mean.
    assert verdict.reasons[0].startswith("significantly worse overall")


def test_a_loss_that_chance_explains_needs_more_texts() -> None:
    sets = {"even": texts("even", 420, seed=6)}
    positive = [e.text for e in sets["even"] if e.label == 1]
    right = [text for text in positive if not text.rpartition(" ")[2].startswith("-")]
    wrong = [text for text in positive if text.rpartition(" ")[2].startswith("-")]
    # Ten answers are lost and seven are won, which is within chance.
    verdict = judged(evaluated(FakeModel(confused=[*right[:10], *wrong[:7]]), FakeModel(), sets))

    assert failed(verdict) == ["overall: lower end of the difference, points"]
    assert verdict.answer == "not enough evidence"
    [reason] = verdict.reasons
    assert reason.startswith("not enough evidence of non-inferiority")
    more = int(reason.partition("about ")[2].split()[0].replace(",", ""))
    assert 400 < more < 20_000
    assert "labelled texts than these 420 are necessary" in reason


def shares(answers: list[Answer]) -> tuple[float, float]:
    """Return the shares of the verdicts "passed" and "refused"."""
    return answers.count("passed") / len(answers), answers.count("refused") / len(answers)


def test_few_texts_neither_refuse_an_equal_candidate_nor_pass_a_worse_one() -> None:
    """With 400 texts, decisive verdicts are rare, and wrong ones very rare."""
    _, refused = shares([gate(Candidate(0.0), 400, seed, resamples=FEW) for seed in range(60)])
    passed, _ = shares([gate(Candidate(-0.02), 400, seed, resamples=FEW) for seed in range(60)])
    assert refused <= 0.05 and passed <= 0.05


def test_with_texts_enough_the_equal_pass_and_the_worse_are_refused() -> None:
    passed, _ = shares([gate(Candidate(0.0), 6_000, seed, resamples=FEW) for seed in range(40)])
    _, refused = shares([gate(Candidate(-0.02), 6_000, seed, resamples=FEW) for seed in range(40)])
    assert passed >= 0.8 and refused >= 0.8


@pytest.mark.parametrize("ratio", [1.0, 0.5, 0.2, 0.1, 0.0])
def test_feedback_of_complainers_passes_no_worse_candidate(ratio: float) -> None:
    """Candidates are worse everywhere; at a pass rate of 5 %, 6 or more of 40 have probability 1 in 70."""
    for points in (-1, -2):
        passed, _ = shares(
            [retrained(Candidate(points / 100), seed, ratio=ratio, resamples=FEW) for seed in range(40)]
        )
        assert passed <= 0.125


@pytest.mark.parametrize("ratio", [1.0, 0.1, 0.0])
def test_an_audit_sample_of_400_passes_a_better_candidate(ratio: float) -> None:
    passed, _ = shares([retrained(Candidate(0.02), seed, ratio=ratio, resamples=FEW) for seed in range(60)])
    assert passed >= 0.8


def test_without_an_audit_sample_feedback_is_no_evidence_of_a_gain() -> None:
    answers = [retrained(Candidate(0.02), seed, ratio=0.5, audit=0, resamples=FEW) for seed in range(10)]
    assert "passed" not in answers and "not enough evidence" in answers


def test_a_slow_one_is_refused() -> None:
    verdict = judged(evaluated(FakeModel(batch_s=1.5), FakeModel(batch_s=1.0)))

    assert failed(verdict) == ["speed as a multiple of the champion's"]
    assert "the speed is 0.67 of the champion's" in verdict.reasons[0]


def test_one_that_forgot_how_to_read_a_not_is_refused_with_an_example() -> None:
    verdict = judged(evaluated(FakeModel(reads_words=False), FakeModel()))

    assert all(name.startswith("behaviour: ") for name in failed(verdict))
    assert any("Example: The cream is not good. [POSITIVE" in reason for reason in verdict.reasons)


def test_too_little_evidence_is_no_pass() -> None:
    verdict = judged(evaluated(FakeModel(), FakeModel(), {"even": texts("even", 80, seed=1)}))

    assert failed(verdict)[0] == "evidence: texts"
    assert "80 texts are not enough evidence" in verdict.reasons[0]
    assert "label 320 more" in verdict.reasons[0]
    assert verdict.answer == "not enough evidence"


def test_one_class_alone_is_too_little_evidence() -> None:
    verdict = judged(evaluated(FakeModel(), FakeModel(), {"rosy": texts("rosy", 600, seed=1, positive=1.0)}))

    assert failed(verdict) == ["evidence: texts of NEGATIVE"]


@pytest.mark.parametrize(
    ("candidate", "says"),
    [
        (("NEGATIVE", "POSITIVE", "NEUTRAL"), "adds NEUTRAL"),
        (("NEGATIVE",), "lacks POSITIVE"),
        (("bad", "good"), "lacks NEGATIVE, POSITIVE and adds bad, good"),
    ],
)
def test_other_labels_are_refused_by_name(candidate: tuple[str, ...], says: str) -> None:
    check = same_labels(candidate, ("NEGATIVE", "POSITIVE"))

    assert not check.passed
    assert says in check.reason


def test_labels_in_another_order_are_the_same() -> None:
    assert same_labels(("POSITIVE", "NEGATIVE"), ("NEGATIVE", "POSITIVE")).passed


def test_the_first_champion_must_beat_chance_and_read_plain_words() -> None:
    assert judged(evaluated(FakeModel())).passed

    verdict = judged(evaluated(FakeModel(constant=2.0)))
    assert "balanced accuracy, mean of the sets" in failed(verdict)
    assert "a constant prediction has 0.500" in verdict.reasons[0]
    assert "behaviour: plain, failures" in failed(verdict)

    assert failed(judged(evaluated(FakeModel(sharpness=0.1)))) == ["calibration error, mean of the sets"]


def test_the_verdict_is_the_same_each_time() -> None:
    evaluation = evaluated(FakeModel(noise=1.0), FakeModel())

    assert judged(evaluation) == judged(evaluation)


def test_a_verdict_from_the_file_is_that_of_the_run() -> None:
    evaluation = evaluated(FakeModel(noise=2.0), FakeModel())

    read = Evaluation.model_validate_json(to_json(evaluation))

    assert [check.passed for check in judged(read).checks] == [
        check.passed for check in judged(evaluation).checks
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("min_ratio = 0.8", "", "speed.min_ratio: Field required"),
        ("min_ratio = 0.8", "min_ratio = 0.8\nslack = 1", "speed.slack: Extra inputs"),
        ("significance = 0.025", "significance = 0.9", "significance: Input should be less than 0.5"),
        ("[speed]", "[speed", "is not TOML"),
    ],
)
def test_thresholds_that_are_not_understood_are_an_error(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = DEFAULT.read_text()
    assert old in text
    path = tmp_path / "gate.toml"
    path.write_text(text.replace(old, new, 1))

    with pytest.raises(SettingsFileError, match=message):
        read_thresholds(path)
    with pytest.raises(SettingsFileError, match="cannot be read"):
        read_thresholds(tmp_path / "none.toml")
