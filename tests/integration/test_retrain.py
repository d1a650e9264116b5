"""Tests of `python -m train retrain`: a champion of one vocabulary learns another from a log's feedback."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from serve_app.interface import Prediction, PredictionBatch, Timing
from serve_app.model.classifier import Classifier
from serve_app.model.resolver import fetch
from serve_app.prediction_log.records import PredictionRecord
from serve_app.prediction_log.stores import FolderStore
from tests.contract.fake_replica import LIVE
from tests.integration.test_fit import BAD, GOOD, OTHER, SETTINGS, finish, start, write_base
from tests.unit.train.prediction_log.logs import put, write_unsure
from train.drift.detector import check_drift
from train.drift.thresholds import read_thresholds
from train.evaluation.thresholds import DEFAULT
from train.model_uri import CACHE
from train.prediction_log.reader import Log
from train.registry import open_registry

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
LABELS = ("NEGATIVE", "POSITIVE")
# Vocabularies of both domains: the champion was not trained on the new domain's praise and criticism.
OLD, NEW = (BAD[:3], GOOD[:3]), (BAD[3:], GOOD[3:])
BOUNDS = """
[window]
hours = 24
[labels]
min_texts = 200
min_label_texts = 50
max_texts = 1000
[mix]
held_out = 0.4
passes = 20.0
replay = 1.0
learning_rate = 1e-2
full_learning_rate = 1e-4
[gate]
gain = 0.0
gain_confidence = 0.95
max_set_texts = 1000
[pace]
look_hours = 1
pause_hours = 24
"""
# One process with one log; exit code and JSON of each call are a line of `said.jsonl`.
CALLS = """
import io, json, sys
from contextlib import redirect_stdout, suppress
from unittest.mock import patch
from train.__main__ import main
from train.registry import Registry
from train.retraining import retrain as stages
folder = sys.argv[1]
assert main(["fit", "--config", f"{folder}/settings.toml", "--data", folder, "--out", f"{folder}/first",
             "--cpus", "1"]) == 0
import ray; ray.shutdown()
registry = ["--registry", f"sqlite:///{folder}/registry.db"]
assert main(["register", f"{folder}/first", *registry]) == 0
assert main(["alias", "trial@champion", "1", *registry]) == 0
def retrain(log, work):
    said = io.StringIO()
    with redirect_stdout(said):
        status = main(["retrain", "trial", "--log", f"{folder}/{log}", "--until", "2026-11-26T12:00+00:00",
                       "--work", f"{folder}/{work}", "--bounds", f"{folder}/bounds.toml",
                       "--gate", f"{folder}/gate.toml", *registry, "--json"])
    with open(f"{folder}/said.jsonl", "a") as lines:
        lines.write(json.dumps([status, json.loads(said.getvalue())]) + "\\n")
class SimulatedCrashError(BaseException):
    pass
register = Registry.register
def register_and_die(registry, run):
    register(registry, run)
    raise SimulatedCrashError
retrain("few", "work")
# Killed after the training, and again when the version is registered and nothing says so yet.
crashes = (stages, "write_report", SimulatedCrashError), (Registry, "register", register_and_die)
for owner, name, dying in crashes:
    with suppress(SimulatedCrashError), patch.object(owner, name, side_effect=dying, autospec=True):
        retrain("log", "work")
retrain("log", "work")
retrain("log", "work")
retrain("poisoned", "other")
"""


def texts(words: tuple[tuple[str, ...], ...], count: int, seed: int) -> list[tuple[str, int]]:
    """Return texts with alternating labels, all different; those of the new domain are longer."""
    rng, found = random.Random(seed), dict[str, int]()
    while len(found) < count:
        label = len(found) % 2
        others = rng.randint(3, 9) + 4 * (words is NEW)
        said = [*rng.choices(words[label], k=2), *rng.choices(OTHER, k=others)]
        rng.shuffle(said)
        found.setdefault(" ".join(said), label)
    return list(found.items())


def write(root: Path, rows: list[tuple[str, int]], truths: list[int]) -> None:
    """Write the champion's answers, and feedback on the first of them."""
    said = [LABELS[label] for label in truths]
    write_unsure(
        FolderStore(root),
        [text for text, _ in rows],
        said,
        model=("trial", "1"),
        labels=LABELS,
        until=NOON,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the results of `CALLS`."""
    folder = tmp_path_factory.mktemp("retrain")
    write_base(folder / "base")
    rows = [f"{text},{('bad', 'good')[label]}" for text, label in texts(OLD, 600, 1)]
    (folder / "invented.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    (folder / "settings.toml").write_text(SETTINGS.format(base=folder / "base").replace("1e-2", "3e-3"))
    (folder / "bounds.toml").write_text(BOUNDS)
    gate = DEFAULT.read_text()
    # Speed and scores of a model with two tiny layers are meaningless; plain praise is not in its vocabulary.
    gate = gate.replace("min_ratio = 0.8", "min_ratio = 0.0").replace("max_rise = 0.0", "max_rise = 0.9")
    (folder / "gate.toml").write_text(
        gate.replace("min_texts = 400", "min_texts = 200").replace("max_error = 0.10", "max_error = 1.0")
    )
    new = texts(NEW, 600, 2)
    truth = [label for _, label in new]
    write(folder / "log", new, truth)
    write(folder / "few", new, truth[:60])
    write(folder / "poisoned", new, poisoned(truth))
    finish(start(CALLS, str(folder), log=folder / "log.txt"), folder / "log.txt")
    return folder


def poisoned(truth: list[int]) -> list[int]:
    """Return as many labels, drawn independently of the texts."""
    rng = random.Random(3)
    return [rng.getrandbits(1) for _ in truth]


def said(folder: Path) -> list[tuple[int, dict[str, Any]]]:
    return [tuple(json.loads(line)) for line in (folder / "said.jsonl").read_text().splitlines()]


def test_too_few_labels_are_refused_with_what_is_missing(folder: Path) -> None:
    status, document = said(folder)[0]

    assert (status, document["status"]) == (3, "too few labels")
    assert document["reasons"] == [
        "60 texts have feedback; expected 200 or more",
        "30 are NEGATIVE; expected 50 or more",
        "30 are POSITIVE; expected 50 or more",
    ]


def test_enough_labels_make_a_registered_version_that_knows_both_domains(folder: Path) -> None:
    status, document = said(folder)[1]

    assert (status, document["status"], document["anew"]) == (0, "registered", True)
    assert document["by_label"] == {"NEGATIVE": 300, "POSITIVE": 300}
    version = open_registry(f"sqlite:///{folder}/registry.db").get(document["reference"])
    assert str(version.parent) == "trial/1" and version.uri == document["uri"]
    run = folder / "work" / document["version"]
    sets = {of["name"]: of for of in json.loads((run / "evaluation" / "evaluation.json").read_text())["sets"]}
    new, old = sets[f"feedback-{document['version']}"], sets["invented"]
    assert new["against"]["figures"]["accuracy"] < 0.7 < 0.8 < new["candidate"]["figures"]["accuracy"]
    assert old["candidate"]["figures"]["accuracy"] > old["against"]["figures"]["accuracy"] - 0.05


def test_what_was_done_before_a_kill_is_not_done_again(folder: Path) -> None:
    assert len(said(folder)) == 4, "the calls that were killed said nothing"
    lines = (folder / "log.txt").read_text().splitlines()
    assert lines.count("training") == 2, "one for each of the two versions"
    assert lines.count("comparing it with the champion") == 3, "the first was killed before its verdict"


def test_the_same_window_and_champion_are_not_done_again(folder: Path) -> None:
    (_, first), (status, second) = said(folder)[1:3]

    assert status == 0 and not second.pop("anew") and first.pop("anew")
    assert second == first


def test_a_retrained_version_s_reference_is_the_traffic_that_it_answers(folder: Path, tmp_path: Path) -> None:
    """Continue the traffic that led to the retraining: for the new version it is not drift."""
    _, document = said(folder)[1]
    bundle = fetch(document["uri"], cache_dir=CACHE)
    classifier = Classifier(bundle, device="cpu", threads=1)
    model = replace(LIVE, name="trial", version=document["version"], labels=LABELS)
    asked = [text for text, _ in texts(NEW, 900, 7)][600:]
    encoded = classifier.preprocess(asked)
    answers = [
        Prediction(scores, one.tokens, one.truncated, one.unknown_tokens)
        for one, scores in zip(encoded, classifier.forward(encoded), strict=True)
    ]
    at_us = int(NOON.timestamp() * 1e6)
    records = [
        PredictionRecord(
            f"r{i}", at_us, [text], None, PredictionBatch(model, [of], Timing(0, 0, 0)), 5.0, "champion"
        )
        for i, (text, of) in enumerate(zip(asked, answers, strict=True))
    ]
    put(FolderStore(tmp_path), records, [])

    hour = timedelta(hours=1)
    found = check_drift(Log(str(tmp_path)), bundle, read_thresholds(), since=NOON - hour, until=NOON + hour)

    assert (found.report.verdict, found.report.reasons) == ("ok", ())


def test_random_labels_are_refused(folder: Path) -> None:
    status, document = said(folder)[3]

    assert (status, document["status"], document["uri"]) == (2, "refused", None)
    assert any("which is not significant" in reason for reason in document["reasons"])
    assert len(open_registry(f"sqlite:///{folder}/registry.db").versions("trial")) == 2
