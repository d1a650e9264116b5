"""Tests of drift from end to end: built-in model with reference profile, log as replicas write it, verb."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

from loadtest.synthetic_texts import invent
from serve_app.interface import Prediction, PredictionBatch, Timing
from serve_app.model.bundle import read_manifest, rewrite_manifest
from serve_app.model.classifier import Classifier
from serve_app.model.resolver import fetch
from serve_app.prediction_log.records import FeedbackRecord, PredictionRecord
from serve_app.prediction_log.stores import FolderStore
from serve_app.settings import LogPrivacy
from tests.contract.fake_replica import LIVE
from tests.unit.train.prediction_log.logs import put
from train.__main__ import main
from train.drift.mmd import answered, embed_texts
from train.model_uri import CACHE
from train.profile import profile_texts, read_profile, sample_places, write_profile

VERSION = "trial"
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
SHORT = [text for text in invent(600, 3) if len(text.split()) <= 20]
REFERENCE, OWN = SHORT[:120], SHORT[120:230]
OTHER = [f"{text} 🦄🦄 {text.upper()} {text}" for text in OWN]


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(fetch("builtin:", cache_dir=CACHE), device="cpu", threads=1)


@pytest.fixture(scope="module")
def bundle(classifier: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the built-in model with a reference profile."""
    folder = tmp_path_factory.mktemp("bundle") / "builtin"
    shutil.copytree(fetch("builtin:", cache_dir=CACHE).folder, folder)
    manifest = read_manifest(folder)
    truth = [0] * len(REFERENCE)
    profile, embeddings = profile_texts(
        classifier, REFERENCE, truth, temperature=manifest.temperature, unknown_token=100
    )
    reference = write_profile(folder, profile, embeddings)
    rewrite_manifest(folder, manifest, version=VERSION, reference_profile=reference)
    return folder


@pytest.fixture(scope="module")
def own(classifier: Classifier) -> list[Prediction]:
    """Return the answers to `OWN`."""
    return scored(classifier, OWN)


def scored(classifier: Classifier, texts: Sequence[str]) -> list[Prediction]:
    encoded = classifier.preprocess(texts)
    return [
        Prediction(scores, one.tokens, one.truncated, one.unknown_tokens)
        for one, scores in zip(encoded, classifier.forward(encoded), strict=True)
    ]


def log_of(
    root: Path,
    texts: Sequence[str],
    answers: Sequence[Prediction],
    *,
    privacy: LogPrivacy = "full",
    feedback: Sequence[str] = (),
) -> None:
    """Write a log of single-text requests, a second apart before noon; the first of them have feedback."""
    noon_us = int(NOON.timestamp() * 1e6)
    model = replace(LIVE, name="builtin-sentiment", version=VERSION, labels=("NEGATIVE", "POSITIVE"))
    records = [
        PredictionRecord(
            f"request-{i}",
            noon_us - (i + 1) * 1_000_000,
            [text],
            f"product {crc32(text.encode()) % 3}",
            PredictionBatch(model, [answer], Timing(0.0, 0.0, 0.0)),
            5.0,
            "champion",
        )
        for i, (text, answer) in enumerate(zip(texts, answers, strict=True))
    ]
    truths = [FeedbackRecord(f"request-{i}", 0, label, noon_us, "api") for i, label in enumerate(feedback)]
    put(FolderStore(root), records, truths, privacy)


def drift(root: Path, bundle: Path | str, *more: str) -> int:
    window = ["--until", NOON.isoformat(), "--hours", "1"]
    return main(["drift", "--log", str(root), "--bundle", str(bundle), *window, *more])


def test_texts_of_the_reference_s_kind_are_ok(
    bundle: Path, own: list[Prediction], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log_of(tmp_path, OWN, own)

    status = drift(tmp_path, bundle, "--json")

    document = json.loads(capsys.readouterr().out)
    assert (status, document["verdict"], document["reasons"]) == (0, "ok", [])
    assert document["rows"] == len(OWN)
    assert (document["segments_judged"], document["segments_not_yet"]) == (0, 3), "they have no past"
    assert {"embeddings", "lengths", "label shares"} <= {of["check"] for of in document["findings"]}


def test_other_texts_are_drift_and_wrong_answers_a_cause_to_retrain(
    bundle: Path, classifier: Classifier, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = scored(classifier, OTHER)
    # Nine in ten predictions on the built-in model's held-out texts are correct; here every second one is.
    said = [int(np.argmax(of.scores)) for of in answers]
    truths = [classifier.labels[label ^ i % 2] for i, label in enumerate(said)]
    log_of(tmp_path / "log", OTHER, answers, feedback=truths)

    assert drift(tmp_path / "log", bundle, "--out", str(tmp_path / "out"), "--past-periods", "24") == 4

    printed = capsys.readouterr().out
    assert "the accuracy has fallen: the accuracy is 50.0% by feedback on 110 texts" in printed
    assert printed.rstrip().endswith("RETRAIN")
    document = json.loads((tmp_path / "out" / "drift.json").read_text())
    assert document["accuracy"]["judged"] == 110
    levels = {of["check"]: of["level"] for of in document["findings"]}
    assert levels["accuracy"] == "retrain"
    assert levels["lengths"] == "drift"
    assert levels["unknown tokens"] == "drift"
    assert "embeddings" in levels


def test_a_log_without_texts_is_judged_by_what_it_has(
    bundle: Path, own: list[Prediction], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log_of(tmp_path, OWN, own, privacy="hash")

    assert drift(tmp_path, bundle, "--json") == 0
    unmeasured = {of["check"] for of in json.loads(capsys.readouterr().out)["unmeasured"]}
    assert unmeasured == {"embeddings", "accuracy"}


def test_nothing_is_judged_without_rows_or_without_a_reference(
    bundle: Path, own: list[Prediction], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log_of(tmp_path, OWN, own)

    assert drift(tmp_path, bundle, "--hours", "0.01") == 1
    expected = "the window has 36 distinct texts of builtin-sentiment trial; expected at least 100"
    assert expected in capsys.readouterr().err
    without = tmp_path / "without"
    shutil.copytree(bundle, without)
    rewrite_manifest(without, read_manifest(without), reference_profile=None)
    assert drift(tmp_path, without) == 1
    assert "has no reference profile" in capsys.readouterr().err


def test_the_head_answers_to_kept_embeddings_what_the_model_answers_to_the_texts(
    bundle: Path, classifier: Classifier
) -> None:
    _, embeddings = read_profile(bundle)
    order = sample_places([text.ids for text in classifier.preprocess(REFERENCE)])

    known, anew = answered(classifier, embeddings), embed_texts(classifier, REFERENCE)

    assert (known.answers == anew.answers[order]).mean() > 0.98  # embeddings are stored in half precision
    np.testing.assert_allclose(known.embeddings, anew.embeddings[order], atol=2e-3)
