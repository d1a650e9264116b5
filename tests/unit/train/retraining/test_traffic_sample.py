"""Tests of the traffic sample: distinct texts of the window that are not in the training data."""

from __future__ import annotations

from pathlib import Path

from pyarrow import parquet

from serve_app.prediction_log.stores import FolderStore
from tests.unit.train.prediction_log.logs import answered, put, truth, write
from tests.unit.train.retraining.test_retraining import LABELS, WINDOW
from train.datasets.reading import read_examples
from train.datasets.splits import HoldOut, divide, keys_of
from train.prediction_log.reader import Log
from train.retraining.feedback_dataset import FILE as LABELLED
from train.retraining.feedback_dataset import write_labelled
from train.retraining.traffic_sample import FILE, write_traffic
from train.settings import FileSettings


def test_the_sample_is_of_all_texts_and_none_is_learned_from(tmp_path: Path) -> None:
    popular = [answered(f"again-{i}", "one popular text", seconds=i) for i in range(200)]
    write(tmp_path / "log", [answered(f"r{i}", f"text {i}", seconds=i) for i in range(1_000)] + popular)
    # Only every fifth text has feedback, which never contradicts itself.
    write(tmp_path / "log", truths=[truth(f"r{i}", LABELS[i % 2]) for i in range(0, 1_000, 5)])
    log, data = Log(str(tmp_path / "log")), tmp_path / "data"
    write_labelled(log, WINDOW, LABELS, data, max_texts=1_000)

    count = write_traffic(log, WINDOW, data, held_out=0.3)

    sample = parquet.read_table(data / FILE)["text"].to_pylist()
    labelled = read_examples(str(data), FileSettings(name="f", file=LABELLED), LABELS)
    [parts] = divide({"f": keys_of(labelled)}, {"f": HoldOut(0.3)}).values()
    assert count == len(sample) == len(set(sample))
    assert 240 < count < 360, "three in ten of 1,001 texts"
    assert not {labelled[row].text for row in parts.train} & set(sample)
    assert {labelled[row].text for row in parts.held_out} <= set(sample)


def test_a_log_without_texts_has_no_sample(tmp_path: Path) -> None:
    put(FolderStore(tmp_path), [answered("a", "one")], [], "hash")
    assert write_traffic(Log(str(tmp_path)), WINDOW, tmp_path, held_out=0.9) == 0
    assert not (tmp_path / FILE).exists()
