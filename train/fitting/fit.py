"""`fit`: one training run on Ray Train, from settings and labelled texts to a bundle with its figures."""

import json
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from serve_app.model.bundle import write_manifest
from serve_app.model.classifier import Classifier, Encoded
from serve_app.model.store import fetch
from train.base import Base, find_base, load_tokenizer
from train.errors import FitFailed, SettingsInvalid
from train.evaluation.calibrate import fit_temperature
from train.evaluation.figures import Figures, as_json, as_table, figures
from train.fitting.checkpoint import load_weights, read_progress
from train.fitting.curves import draw_curves
from train.fitting.loop import SCORE, train_loop
from train.fitting.model import build, write_product
from train.fitting.prepare import Prepared, prepare
from train.fitting.sharing import share
from train.local_ray import start_ray
from train.models import CACHE
from train.settings import FitSettings
from train.texts.files import is_remote, open_filesystem
from train.texts.mix import cut
from train.texts.tokens import TokenTable

_RUN = "fit"
_SETTINGS = "settings.json"
_EVALUATED_TEXTS = 20_000
"""Of each held-out part, for the figures and the temperature: bounds their time, not their meaning."""
_EVALUATION_BATCH = 32


@dataclass(frozen=True, slots=True)
class Resources:
    """What a run may use."""

    workers: int = 1
    """Processes that share each step."""
    cpus: int = 0
    """Cores of each; 0 shares this machine's among them."""
    gpu: bool = False
    """One GPU for each."""
    max_failures: int = 3
    """How often workers that died are started again."""

    @property
    def threads(self) -> int:
        """Of each worker."""
        return self.cpus or max(1, (os.cpu_count() or 1) // self.workers)


def fit(
    settings: FitSettings,
    root: str,
    out: Path,
    *,
    resources: Resources = Resources(),
    checkpoints: str | None = None,
    max_steps: int = 0,
    resume: bool = False,
) -> Path:
    """Train a model, measure it on the held-out parts, and write the bundle.

    Args:
        settings: The run.
        root: Folder or address that the settings' files are relative to.
        out: Made if missing; gets `bundle/`, `report.json`, `learning_curves.png` and `prepared/`.
        resources: Workers and their cores.
        checkpoints: Where Ray Train keeps its checkpoints: a folder or s3://; `out/ray` by default.
        max_steps: Stop early, for a trial; 0 is the whole run.
        resume: Go on from the last checkpoint of a run of the same settings, if there is one.

    Returns:
        The bundle's folder.

    Raises:
        TrainError: What is wrong with the settings, the data or the run.
    """
    storage = checkpoints or str((out / "ray").resolve())
    _claim(out, storage, settings, resume=resume)
    base = find_base(settings.base)
    build(base, settings)  # what cannot be built is said before any data is read
    begun_s = time.monotonic()
    start_ray(resources.threads * resources.workers)
    prepared = prepare(settings, root, out / "prepared")
    for name, texts in prepared.texts.items():
        print(f"{name}: {texts['train']:,} texts to train on, {texts['held_out']:,} held out", flush=True)
    checkpoint = _train(settings, share(out / "prepared", storage), storage, resources, max_steps)
    bundle = out / "bundle"
    trained = build(base, settings)
    load_weights(checkpoint, trained)
    write_product(trained, base, settings, load_tokenizer(base), bundle)

    manifest = _Manifest(settings, base if trained.as_adapter else None, prepared.digest, code_commit())
    manifest.write(bundle)
    logits, truth = _held_out_logits(bundle, prepared, settings)
    found = {
        name: figures(truth[name], rows.argmax(axis=1), settings.labels) for name, rows in logits.items()
    }
    temperature = 1.0
    if found:
        temperature = round(fit_temperature(list(logits.values()), list(truth.values())), 4)
    manifest.write(bundle, temperature=temperature, metrics={"held_out": as_json(found)})
    history = read_progress(checkpoint).history
    draw_curves(history, out / "learning_curves.png")
    report = {
        "settings": settings.model_dump(mode="json"),
        "texts": prepared.texts,
        "data_location": root,
        "data_digest": prepared.digest,
        "parent": base.parent.as_json() if base.parent else None,
        "code_commit": manifest.code_commit,
        "held_out": as_json(found),
        "temperature": temperature,
        "history": history,
        "wall_s": round(time.monotonic() - begun_s, 1),
        "workers": resources.workers,
    }
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    _say_result(found, settings, temperature, bundle)
    return bundle


def _claim(out: Path, storage: str, settings: FitSettings, *, resume: bool) -> None:
    """Refuse to mix two runs in one place; note the settings for the one that resumes.

    Raises:
        SettingsInvalid: An earlier run is there and is not to be resumed, or it had other settings.
    """
    path = out / _SETTINGS
    wanted = settings.model_dump(mode="json")
    system, folder = open_filesystem(f"{storage.rstrip('/')}/{_RUN}")
    there = system.get_file_info(folder).type.name != "NotFound"
    if there and not resume:
        raise SettingsInvalid(
            f"{storage} holds an earlier run; --resume goes on with it, or choose another --out"
        )
    if there and path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        if odd := sorted(key for key in wanted if before.get(key) != wanted[key]):
            raise SettingsInvalid(
                f"the run in {out} was begun with another {odd[0]!r}: {before.get(odd[0])!r}, now "
                f"{wanted[odd[0]]!r}; resume with the same settings, or choose another --out"
            )
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")


def _train(settings: FitSettings, prepared: str, storage: str, resources: Resources, max_steps: int) -> Path:
    """Run the loop on Ray Train and return a local folder with the checkpoint to keep."""
    import ray
    from ray.train import CheckpointConfig, FailureConfig, LoggingConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    best = {"checkpoint_score_attribute": SCORE} if settings.progress.patience else {}
    system, path = open_filesystem(storage)
    trainer = TorchTrainer(
        train_loop,
        train_loop_config={
            "settings": settings.model_dump(mode="json"),
            "prepared": prepared,
            "threads": resources.threads,
            "max_steps": max_steps,
        },
        scaling_config=ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.gpu,
            resources_per_worker={"CPU": resources.threads},
        ),
        run_config=RunConfig(
            # The name is what Ray Train finds the checkpoints of an earlier attempt by.
            name=_RUN,
            storage_path=path if is_remote(storage) else storage,
            storage_filesystem=system if is_remote(storage) else None,
            checkpoint_config=CheckpointConfig(num_to_keep=1, **best),
            logging_config=LoggingConfig(log_level="WARNING"),
            failure_config=FailureConfig(max_failures=resources.max_failures),
        ),
    )
    try:
        result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise FitFailed(f"training failed: {error}") from error
    if result.return_value is not None:
        raise FitFailed(str(result.return_value))
    chosen = result.checkpoint
    if settings.progress.patience:
        chosen = result.get_best_checkpoint(SCORE, "max") or chosen
    if chosen is None:
        raise FitFailed(f"training ended without a checkpoint; see {storage}")
    return Path(chosen.to_directory()) if is_remote(storage) else Path(chosen.path)


def _held_out_logits(
    bundle: Path, prepared: Prepared, settings: FitSettings
) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """Logits and true labels of every set's held-out part, by the bundle as a replica runs it."""
    classifier = Classifier(fetch(str(bundle.resolve()), cache_dir=CACHE))
    logits, truth = {}, {}
    for name, table in prepared.tables.items():
        rows = table.parts.held_out[:_EVALUATED_TEXTS]
        if len(rows):
            logits[name] = _logits(classifier, table, rows, min(settings.max_length, classifier.max_length))
            truth[name] = table.labels[rows].tolist()
    return logits, truth


def _logits(classifier: Classifier, table: TokenTable, rows: Any, max_tokens: int) -> Any:
    found = []
    for begin in range(0, len(rows), _EVALUATION_BATCH):
        texts = [table.ids(int(row)) for row in rows[begin : begin + _EVALUATION_BATCH]]
        batch = [Encoded(cut(ids, max_tokens, 0.0), truncated=len(ids) > max_tokens) for ids in texts]
        found.append(classifier.logits(batch).float().cpu().numpy())
    return np.concatenate(found)


@dataclass(frozen=True, slots=True)
class _Manifest:
    """What `bundle.json` says of this run, whatever the figures turn out to be."""

    settings: FitSettings
    base: Base | None
    data_digest: str
    code_commit: str | None

    def write(
        self, bundle: Path, *, temperature: float = 1.0, metrics: Mapping[str, Any] | None = None
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
            data_digest=self.data_digest,
            code_commit=self.code_commit,
        )


def _say_result(
    found: Mapping[str, Figures], settings: FitSettings, temperature: float, bundle: Path
) -> None:
    if found:
        print(as_table(found, settings.labels))
    else:
        print("nothing was held out, so nothing was measured and the temperature is 1")
    print(f"temperature {temperature:.3f}; the bundle is in {bundle}")


def code_commit() -> str | None:
    """The commit of this checkout, with `-dirty` if train/ differs from it; None outside of one."""
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
        return None
