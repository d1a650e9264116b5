"""Results of a run: the bundle with its reference profile, the report, and the learning curves."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import parquet

from serve_app.model.bundle import write_manifest
from serve_app.model.classifier import Classifier
from serve_app.model.resolver import fetch
from serve_app.model.scorer import EncodedText
from train.base_model import Base, frame_of, load_tokenizer
from train.datasets.sampler import Frame, cut
from train.datasets.splits import Rows
from train.datasets.tokenized import TokenTable
from train.evaluation.calibration import fit_temperature
from train.evaluation.metrics import Figures, as_json, as_table, figures
from train.model_uri import CACHE
from train.profile import ask, build_profile, write_profile
from train.settings import FitSettings
from train.training.checkpoint import load_weights, read_progress
from train.training.data import Prepared
from train.training.model import build, write_product

_MEASURED_TEXTS = 10_000
"""Maximum number of texts of each held-out part for metrics, temperature and profile; it limits time and
memory."""


@dataclass(frozen=True, slots=True)
class _Answers:
    """Outputs of the model for texts of one set."""

    ids: list[list[int]]
    labels: list[int]
    """Index of each text's label; empty for traffic, which has no labels."""
    logits: Any
    """float32 (texts, labels), before temperature."""
    embeddings: Any
    """float32 (texts, hidden)."""


def write_result(
    settings: FitSettings,
    base: Base,
    prepared: Prepared,
    checkpoint: Path,
    out: Path,
    *,
    location: str,
    workers: int,
    wall_s: float,
) -> Path:
    """Write a run's bundle, `report.json` and `learning_curves.png`, and print the metrics.

    Args:
        settings: Settings of the run.
        base: Base model of the run.
        prepared: Data of the run.
        checkpoint: Folder of the checkpoint to keep.
        out: Output folder of the run.
        location: Path or URI of the data.
        workers: Number of workers that shared the steps.
        wall_s: Seconds for reading and training.

    Returns:
        Folder of the bundle.
    """
    bundle = out / "bundle"
    trained = build(base, settings)
    load_weights(checkpoint, trained)
    tokenizer = load_tokenizer(base)
    write_product(trained, base, settings, tokenizer, bundle)
    manifest = _Manifest(settings, base if trained.as_adapter else None, prepared.digest, code_commit())
    manifest.write(bundle)

    answers, held_out = _ask(bundle, prepared, tokenizer)
    found = {
        name: figures(of_set.labels, of_set.logits.argmax(axis=1), settings.labels)
        for name, of_set in answers.items()
        if held_out
    }
    temperature = 1.0
    if held_out:
        logits, truth = zip(*((of_set.logits, of_set.labels) for of_set in answers.values()), strict=True)
        temperature = round(fit_temperature(logits, truth), 4)
    of_traffic = _ask_traffic(bundle, settings)
    profile = _write_profile(
        bundle, of_traffic or list(answers.values()), settings, temperature, tokenizer.unk_token_id
    )
    manifest.write(bundle, temperature=temperature, metrics={"held_out": as_json(found)}, profile=profile)

    history = read_progress(checkpoint).history
    draw_curves(history, out / "learning_curves.png")
    report = {
        "settings": settings.model_dump(mode="json"),
        "texts": prepared.texts,
        "data_location": location,
        "data_digest": prepared.digest,
        "parent": base.parent.as_json() if base.parent else None,
        "code_commit": manifest.code_commit,
        "held_out": as_json(found),
        "temperature": temperature,
        "history": history,
        "workers": workers,
        "wall_s": round(wall_s, 1),
    }
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    _say(found, settings, temperature, bundle)
    return bundle


def _ask(bundle: Path, prepared: Prepared, tokenizer: Any) -> tuple[dict[str, _Answers], bool]:
    """Return the bundle's outputs for the held-out texts of every set, computed as by a replica.

    If no text is held out, the training texts are used, and the second value is false: such outputs describe
    the data and must not be used for metrics.
    """
    classifier = Classifier(fetch(str(bundle.resolve()), cache_dir=CACHE))
    frame = frame_of(tokenizer, max_tokens=classifier.max_length)
    held_out = any(len(table.parts.held_out) for table in prepared.tables.values())
    answers = {}
    for name, table in prepared.tables.items():
        rows = table.parts.held_out if held_out else table.parts.train
        if len(rows):
            answers[name] = _ask_one(classifier, table, rows[:_MEASURED_TEXTS], frame)
    return answers, held_out


def _ask_one(classifier: Classifier, table: TokenTable, rows: Rows, frame: Frame) -> _Answers:
    whole = [table.ids(int(row)) for row in rows]
    ids = [cut(of_text, frame.max_tokens, 0.0, frame) for of_text in whole]
    logits, embeddings = ask(classifier, [EncodedText(of_text, truncated=False) for of_text in ids])
    return _Answers(ids, table.labels[rows].tolist(), logits, embeddings)


def _ask_traffic(bundle: Path, settings: FitSettings) -> list[_Answers]:
    """Return the bundle's outputs for the sample of its traffic; empty without a sample."""
    if settings.traffic is None:
        return []
    texts = parquet.read_table(settings.traffic.file, columns=["text"])["text"].to_pylist()
    classifier = Classifier(fetch(str(bundle.resolve()), cache_dir=CACHE))
    encoded = classifier.preprocess(texts)
    return [_Answers([text.ids for text in encoded], [], *ask(classifier, encoded))]


def _write_profile(
    bundle: Path,
    answers: Sequence[_Answers],
    settings: FitSettings,
    temperature: float,
    unknown_token: int | None,
) -> str:
    traffic = settings.traffic
    profile, embeddings = build_profile(
        [ids for of_set in answers for ids in of_set.ids],
        np.concatenate([of_set.logits for of_set in answers]),
        np.concatenate([of_set.embeddings for of_set in answers]),
        None if traffic else [label for of_set in answers for label in of_set.labels],
        labels=settings.labels,
        temperature=temperature,
        unknown_token=unknown_token,
        accuracy_set=traffic.accuracy_set if traffic else None,
    )
    return write_profile(bundle, profile, embeddings)


@dataclass(frozen=True, slots=True)
class _Manifest:
    """Contents of `bundle.json` that do not depend on the metrics."""

    settings: FitSettings
    base: Base | None
    data_digest: str
    code_commit: str | None

    def write(
        self,
        bundle: Path,
        *,
        temperature: float = 1.0,
        metrics: Mapping[str, Any] | None = None,
        profile: str | None = None,
    ) -> None:
        write_manifest(
            bundle,
            name=self.settings.name,
            version=self.settings.version,
            labels=self.settings.labels,
            base=self.base.reference if self.base else None,
            max_length=self.settings.max_length,
            temperature=temperature,
            metrics=metrics,
            reference_profile=profile,
            data_digest=self.data_digest,
            code_commit=self.code_commit,
        )


def _say(found: Mapping[str, Figures], settings: FitSettings, temperature: float, bundle: Path) -> None:
    if found:
        print(as_table(found, settings.labels))
    else:
        print("no held-out texts: nothing was evaluated, and the temperature is 1")
    print(f"temperature {temperature:.3f}; the bundle is in {bundle}")


def code_commit() -> str | None:
    """Return the commit of this checkout, with `-dirty` if train/ differs from it.

    Outside of a checkout, as in an image or a job's working folder, return GIT_COMMIT, or None if it is
    unset.
    """
    train = Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=train, capture_output=True, text=True, timeout=10, check=True
        )
        return done.stdout.strip()

    try:
        dirty = "-dirty" if git("status", "--porcelain", "--", ".") else ""
        return git("rev-parse", "HEAD") + dirty
    except (OSError, subprocess.SubprocessError):
        return os.environ.get("GIT_COMMIT")


def draw_curves(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw the losses by step, and the balanced accuracy of every held-out sample.

    Args:
        history: One entry per evaluation, as in a checkpoint.
        path: Output file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    losses, accuracies = figure.subplots(1, 2)
    _draw(losses, history, {"loss": "training", "held_out_loss": "held out"})
    losses.set(title="loss", ylabel="cross-entropy (nats)")
    suffix = "_balanced_accuracy"
    names = sorted({name for entry in history for name in entry if name.endswith(suffix)})
    _draw(accuracies, history, {name: name.removesuffix(suffix) for name in names})
    accuracies.set(title="accuracy on the held-out samples", ylabel="balanced accuracy (fraction)")
    figure.savefig(path, dpi=110)


def _draw(axes: object, history: Sequence[Mapping[str, float]], lines: Mapping[str, str]) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    for name, label in lines.items():
        points = [(entry["step"], entry[name]) for entry in history if name in entry]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", label=label)
    axes.set_xlabel("training step")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(fontsize=9)
