"""Tests of retraining sets: their content, missing labels, version names, and replay of the old data."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from serve_app.model.resolver import fetch
from serve_app.prediction_log.parquet import feedback_files, prediction_files
from serve_app.prediction_log.records import AUDIT as AUDIT_SOURCE
from serve_app.prediction_log.stores import FolderStore
from tests.unit.train.prediction_log.logs import NOON, answered, truth, write
from train.datasets.reading import read_examples
from train.datasets.sampler import TrainPart, schedule
from train.datasets.splits import read_splits
from train.errors import DataError, RetrainingError, SettingsFileError
from train.model_uri import CACHE
from train.prediction_log.reader import Log, Window
from train.registry import Version
from train.retraining.config import DEFAULT, LabelBounds, read_retrain_bounds
from train.retraining.feedback_dataset import AUDIT_FILE, FILE, keep, label_counts, write_labelled
from train.retraining.replay import old_sets, with_replay
from train.retraining.run_spec import roles_of, settings_for, version_name
from train.retraining.state import Retraining, held, read_retraining, retrainings, write_retraining
from train.settings import DataSettings, FileSettings, FitSettings

LABELS = ("NEGATIVE", "POSITIVE")
WINDOW = Window(NOON - timedelta(hours=1), NOON + timedelta(hours=1), "7")
CHAMPION = Version("m", "7", 1, "file:///b", "d" * 64, NOON, "run")


def texts_of(folder: Path) -> list[tuple[str, str]]:
    rows = read_examples(str(folder), FileSettings(name="f", file=FILE), LABELS)
    return sorted((row.text, LABELS[row.label]) for row in rows)


def test_what_people_said_of_the_champion_s_answers_becomes_a_labelled_set(tmp_path: Path) -> None:
    write(tmp_path / "log", [answered("a", "one", "two"), answered("b", "One!"), answered("x", "no word")])
    write(tmp_path / "log", [answered("other", "of another version", version="6")])
    said = [truth("a", "NEGATIVE"), truth("a", "POSITIVE", index=1), truth("b", "NEGATIVE")]
    write(tmp_path / "log", truths=[*said, truth("other", "NEGATIVE"), truth("x", "strange")])
    log = Log(str(tmp_path / "log"))

    found = write_labelled(log, WINDOW, LABELS, tmp_path / "data", max_texts=10)

    assert texts_of(tmp_path / "data") == [("One!", "NEGATIVE"), ("one", "NEGATIVE"), ("two", "POSITIVE")]
    assert found.by_label == {"NEGATIVE": 1, "POSITIVE": 1}, "a text in another spelling is the same text"
    assert (found.rows, found.without_text) == (3, 0)
    assert label_counts(log, WINDOW) == {"NEGATIVE": 2, "POSITIVE": 1, "strange": 1}


def test_contradictions_teach_nothing_and_hashes_are_no_texts(tmp_path: Path) -> None:
    write(tmp_path / "log", [answered("a", "one"), answered("b", "one")])
    store = FolderStore(tmp_path / "log")
    for file in prediction_files([answered("c", "kept as a hash")], "hash"):
        store.put(file.key, file.content)
    said = [truth("a", "NEGATIVE"), truth("b", "POSITIVE"), truth("c", "POSITIVE")]
    for file in feedback_files(said):
        store.put(file.key, file.content)
    log = Log(str(tmp_path / "log"))

    found = write_labelled(log, WINDOW, LABELS, tmp_path / "data", max_texts=10)

    assert (found.by_label, found.rows, found.without_text) == ({}, 2, 1)
    assert label_counts(log, WINDOW) == {"NEGATIVE": 1, "POSITIVE": 1}


def test_of_too_many_the_newest_are_kept(tmp_path: Path) -> None:
    write(tmp_path / "log", [answered(f"r{i}", f"text {i}", seconds=i) for i in range(20)])
    write(tmp_path / "log", truths=[truth(f"r{i}", LABELS[i % 2]) for i in range(20)])

    found = write_labelled(Log(str(tmp_path / "log")), WINDOW, LABELS, tmp_path / "data", max_texts=3)

    assert [text for text, _ in texts_of(tmp_path / "data")] == ["text 17", "text 18", "text 19"]
    assert sum(found.by_label.values()) == 3


def test_what_is_lacking_is_said() -> None:
    bounds = LabelBounds(min_texts=10, min_label_texts=4, max_texts=100)

    assert bounds.lacking({"NEGATIVE": 6, "POSITIVE": 4}, LABELS) == ()
    assert bounds.lacking({"POSITIVE": 10}, LABELS) == ("0 are NEGATIVE; expected 4 or more",)
    assert bounds.lacking({}, LABELS)[0] == "0 texts have feedback; expected 10 or more"


def test_the_same_window_and_champion_have_the_same_name_and_no_other() -> None:
    name = version_name(CHAMPION, WINDOW, "/log")
    later = Window(WINDOW.since, WINDOW.until + timedelta(seconds=1), "7")
    other = Version("m", "8", 2, "file:///c", "e" * 64, NOON, "run")

    assert name == version_name(CHAMPION, WINDOW, "/log")
    others = [(CHAMPION, later, "/log"), (other, WINDOW, "/log"), (CHAMPION, WINDOW, "s3://bucket/log")]
    assert len({name, *(version_name(*of) for of in others)}) == 4
    assert name.startswith("20261126T130000-")


@pytest.mark.parametrize("replay", [0.5, 1.0, 2.0])
def test_old_texts_are_shown_as_often_as_asked_for_each_new_one(tmp_path: Path, replay: float) -> None:
    """The ratio holds in the run's schedule, although parts of the old sets are excluded from training."""
    rows = {
        "new": [(f"new {i}", LABELS[i % 3 > 0]) for i in range(300)],
        # A quarter of the old texts is held out; others are duplicates, test texts, or contradictions.
        "a": [(f"a {i % 700}{'!' * (i >= 700)}", LABELS[i % 2]) for i in range(1_400)],
        "b": [(f"b {i}", LABELS[i % 2]) for i in range(400)] + [("b 0", LABELS[1])],
        "test": [(f"b {i}", LABELS[i % 2]) for i in range(100, 200)],
    }
    for name, texts in rows.items():
        lines = [f"{text},{label}" for text, label in texts]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *lines]))
    settings = FitSettings(
        name="m",
        version="2",
        base="builtin:",
        labels=LABELS,
        data=(
            DataSettings(name="new", file=str(tmp_path / "new.csv"), held_out=0.3, passes=3.0, balance=True),
            *old_sets(
                [
                    DataSettings(
                        name="a", file="a.csv", held_out=0.25, passes=4.0, balance=True, long_passes=1.0
                    ),
                    DataSettings(name="b", file="b.csv", teacher_weight=0.5),
                    DataSettings(name="unlabelled", file="nowhere.csv", teacher_weight=1.0),
                ],
                str(tmp_path),
            ),
        ),
        test=(FileSettings(name="test", file=str(tmp_path / "test.csv")),),
    )

    planned = with_replay(settings, replay, most_passes=9)

    splits = read_splits(planned, "")
    parts = [
        TrainPart(np.array([one.label for one in split.train], np.int16), np.ones(len(split.train), np.int32))
        for split in splits.values()
    ]
    shown = np.bincount(schedule(parts, planned.data, seed=0).source, minlength=3)
    assert shown[1:].sum() / shown[0] == pytest.approx(replay, rel=0.01)
    assert [
        (of.name, of.held_out, of.balance, of.long_passes, of.teacher_weight) for of in planned.data[1:]
    ] == [
        ("a", 0.25, False, 0.0, 0.0),
        ("b", 0.15, False, 0.0, 0.0),
    ]
    assert {of.passes for of in with_replay(settings, 1e6, most_passes=3).data[1:]} == {3}
    moved = settings.data[1].model_copy(update={"file": str(tmp_path / "moved")})
    gone = settings.model_copy(update={"data": (settings.data[0], moved)})
    with pytest.raises(DataError, match=r"earlier training texts of 'a' cannot be read.*--replay"):
        with_replay(gone, 2.0, most_passes=3)


def test_the_state_is_read_back_and_only_one_works_on_it(tmp_path: Path) -> None:
    at = datetime(2026, 11, 26, tzinfo=UTC)
    one = Retraining(name="m", champion="7", version="v", since=at, until=at, changed_at=at, log="/log")
    with held(tmp_path / "v"):
        write_retraining(tmp_path / "v", one)
        with pytest.raises(RetrainingError, match="another process"), held(tmp_path / "v"):
            pass

    assert read_retraining(tmp_path / "v") == one
    assert retrainings(tmp_path, "m", "7", "/log") == [one]
    assert retrainings(tmp_path, "m", "8", "/log") == []
    assert retrainings(tmp_path, "m", "7", "s3://bucket/log") == [], "of another log"
    (tmp_path / "v" / "retraining.json").write_text("{}")
    with pytest.raises(RetrainingError, match="remove"):
        read_retraining(tmp_path / "v")


def test_bounds_are_read_and_an_unknown_key_is_refused(tmp_path: Path) -> None:
    assert read_retrain_bounds().labels.min_texts > 0
    (tmp_path / "b.toml").write_text(DEFAULT.read_text().replace("passes =", "passages ="))
    with pytest.raises(SettingsFileError, match="passages"):
        read_retrain_bounds(tmp_path / "b.toml")


def test_texts_that_cannot_be_kept_are_told_with_their_place(tmp_path: Path) -> None:
    (tmp_path / "feedback.parquet").write_bytes(b"texts")
    keep(tmp_path / "feedback.parquet", str(tmp_path / "there" / "kept.parquet"))
    assert (tmp_path / "there" / "kept.parquet").read_bytes() == b"texts"
    with pytest.raises(DataError, match=r"written to /proc/nowhere/kept\.parquet.*--texts"):
        keep(tmp_path / "feedback.parquet", "/proc/nowhere/kept.parquet")


def test_the_audit_sample_is_measured_by_and_never_learned_from(tmp_path: Path) -> None:
    marked = [replace(answered(f"m{i}", f"marked {i}"), audit_fraction=0.5) for i in range(4)]
    others = [answered(f"o{i}", f"other {i}") for i in range(4)]
    audit = [replace(truth(f"m{i}", LABELS[i % 2]), source=AUDIT_SOURCE) for i in range(4)]
    said = [truth(f"o{i}", "POSITIVE") for i in range(3)] + [truth("m0", "POSITIVE", seconds=900)]
    write(tmp_path / "log", [*marked, *others], [*audit, *said])
    log = Log(str(tmp_path / "log"))

    found = write_labelled(log, WINDOW, LABELS, tmp_path / "data", max_texts=10)

    assert texts_of(tmp_path / "data") == [(f"other {i}", "POSITIVE") for i in range(3)]
    assert (found.rows, found.audited, found.complete) == (3, 4, False)
    assert label_counts(log, WINDOW) == {"POSITIVE": 3}
    source = FileSettings(name="a", file=AUDIT_FILE)
    sample = read_examples(str(tmp_path / "data"), source, LABELS)
    assert sorted((row.text, LABELS[row.label]) for row in sample) == [
        (f"marked {i}", LABELS[i % 2]) for i in range(4)
    ]
    write(tmp_path / "log", truths=[truth("o3", "POSITIVE")])
    assert write_labelled(log, WINDOW, LABELS, tmp_path / "data", max_texts=10).complete


def test_sets_that_are_no_random_sample_are_known_to_be() -> None:
    settings = settings_for(
        CHAMPION,
        fetch("builtin:", cache_dir=CACHE).manifest,
        "v2",
        feedback="/data/feedback.parquet",
        old=[DataSettings(name="films", file="a"), DataSettings(name="feedback-v1", file="b")],
        held_back=[FileSettings(name="audit-v1", file="c")],
        traffic="/data/traffic.parquet",
        audit="/data/audit.parquet",
        complete=False,
        mix=read_retrain_bounds().mix,
    )

    assert roles_of(settings, complete=False) == {
        "feedback-v1": "feedback",
        "feedback-v2": "feedback",
        "audit-v2": "audit",
    }
    assert "feedback-v2" not in roles_of(settings, complete=True)
    assert settings.traffic is not None and settings.traffic.accuracy_set == "audit-v2"
