"""`fit`: one training run on Ray Train, from settings and a folder of data to a bundle with its figures."""

import json
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve_app.model.bundle import read_manifest, verify, write_manifest
from train.base import base_folder, base_reference
from train.errors import FitFailed
from train.evaluation.calibrate import fit_temperature
from train.evaluation.evaluate import LocalModel, evaluate_sets
from train.evaluation.figures import as_json, as_table
from train.fitting.loop import HISTORY, train_loop
from train.fitting.lora import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from train.settings import FitSettings
from train.texts.sets import data_digest, read_splits


def fit(
    settings: FitSettings,
    data_dir: Path,
    out_dir: Path,
    *,
    workers: int = 1,
    cpus: int = 0,
    gpu: bool = False,
    max_steps: int = 0,
    start_from: Path | None = None,
) -> Path:
    """Train an adapter, measure it on the held-out parts, and write the bundle.

    Args:
        settings: The run.
        data_dir: Where the settings' files are.
        out_dir: Made if missing; gets `bundle/`, `report.json` and Ray Train's own `ray/`.
        workers: Processes that share each step.
        cpus: Cores of each; 0 shares all of this machine's among the workers.
        gpu: One GPU for each worker.
        max_steps: Stop early, for a trial; 0 is the whole run.
        start_from: A bundle of the same base and adapter shape to go on with.

    Returns:
        The bundle's folder.

    Raises:
        TrainError: What is wrong with the settings, the data or the run.
    """
    base_folder(settings.base)
    if start_from is not None:
        verify(start_from, read_manifest(start_from))
    splits = read_splits(settings, data_dir)
    begun_s = time.monotonic()
    adapter = _train(
        settings,
        data_dir.resolve(),
        out_dir.resolve(),
        workers=workers,
        cpus=cpus,
        gpu=gpu,
        max_steps=max_steps,
        start_from=start_from,
    )
    wall_s = time.monotonic() - begun_s

    bundle = out_dir / "bundle"
    write_bundle_files(settings, adapter, bundle)
    manifest = _Manifest(settings, data_digest(splits), code_commit())
    manifest.write(bundle)
    held_out = {name: split.held_out for name, split in splits.items() if split.held_out}
    found, logits = evaluate_sets(
        LocalModel(str(bundle.resolve()), settings.labels), held_out, settings.labels
    )
    truth = [[example.label for example in held_out[name]] for name in logits]
    temperature = round(fit_temperature(list(logits.values()), truth), 4)
    manifest.write(bundle, temperature=temperature, metrics={"held_out": as_json(found)})
    report = {
        "settings": settings.model_dump(mode="json"),
        "texts": {
            name: {"train": len(split.train), "held_out": len(split.held_out)}
            for name, split in splits.items()
        },
        "held_out": as_json(found),
        "temperature": temperature,
        "history": json.loads((adapter / HISTORY).read_text(encoding="utf-8")),
        "training_wall_s": round(wall_s, 1),
        "workers": workers,
        "started_from": read_manifest(start_from).digest if start_from else None,
    }
    (out_dir / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(as_table(found, settings.labels))
    print(f"temperature {temperature:.3f}; training took {wall_s / 60:.1f} min; the bundle is in {bundle}")
    return bundle


@dataclass(frozen=True, slots=True)
class _Manifest:
    """What `bundle.json` says of this run, whatever the figures turn out to be."""

    settings: FitSettings
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
            base=base_reference(self.settings.base),
            max_length=self.settings.max_length,
            temperature=temperature,
            metrics=metrics,
            data_digest=self.data_digest,
            code_commit=self.code_commit,
        )


def _train(
    settings: FitSettings,
    data_dir: Path,
    out_dir: Path,
    *,
    workers: int,
    cpus: int,
    gpu: bool,
    max_steps: int,
    start_from: Path | None,
) -> Path:
    """Run the loop on Ray Train and return the folder of the last checkpoint."""
    import ray
    from ray.train import CheckpointConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    threads = cpus or max(1, (os.cpu_count() or 1) // workers)
    # The workers' lines reach the terminal through Ray's log already; the patch would print each twice.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
    if not ray.is_initialized():
        cluster = os.environ.get("RAY_ADDRESS")
        # Without an address Ray would join whatever cluster it finds on the machine, such as a serving one.
        own = {"address": "local", "num_cpus": threads * workers, "include_dashboard": False}
        ray.init(**({"address": cluster} if cluster else own))
    trainer = TorchTrainer(
        train_loop,
        train_loop_config={
            "settings": settings.model_dump(mode="json"),
            "data_dir": str(data_dir),
            "threads": threads,
            "max_steps": max_steps,
            "start_from": str(start_from.resolve()) if start_from else None,
        },
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpu, resources_per_worker={"CPU": threads}),
        run_config=RunConfig(
            name=f"fit-{time.strftime('%Y%m%d-%H%M%S')}",
            storage_path=str(out_dir / "ray"),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
        ),
    )
    try:
        result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise FitFailed(f"training failed: {error}") from error
    if result.checkpoint is None:
        raise FitFailed(f"training ended without a checkpoint; see {out_dir / 'ray'}")
    return Path(result.checkpoint.path)


def write_bundle_files(settings: FitSettings, adapter: Path, bundle: Path) -> None:
    """Put the adapter and the model's configuration into a folder; the tokenizer stays the base's."""
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoConfig

    bundle.mkdir(parents=True, exist_ok=True)
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        (bundle / name).write_bytes((adapter / name).read_bytes())
    config = AutoConfig.from_pretrained(
        base_folder(settings.base),
        local_files_only=True,
        id2label=dict(enumerate(settings.labels)),
        label2id={label: index for index, label in enumerate(settings.labels)},
    )
    config.architectures = [MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)].__name__]
    config.save_pretrained(bundle)


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
