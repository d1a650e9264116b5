"""Operation `fit`: a training run on Ray Train, from settings and labelled texts to a bundle with metrics."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from serve_app.cpu_limits import usable_cpus
from train.base_model import find_base
from train.datasets.files import is_remote, open_filesystem
from train.errors import FitError, SettingsFileError
from train.ray_session import start_ray
from train.settings import FitSettings
from train.training.artifacts import write_result
from train.training.data import prepare, share
from train.training.loop import SCORE, train_loop
from train.training.preflight import ServedInput, check_base

_RUN = "fit"
_SETTINGS = "settings.json"


@dataclass(frozen=True, slots=True)
class Resources:
    """Resources of a run."""

    workers: int = 1
    """Number of processes that share each step."""
    cpus: int = 0
    """Cores of each worker; 0 divides this machine's cores among them."""
    gpu: bool = False
    """Whether each worker gets one GPU."""
    max_failures: int = 3
    """Maximum number of restarts after failures of workers."""

    @property
    def threads(self) -> int:
        """Return the number of threads of each worker."""
        return self.cpus or max(1, usable_cpus() // self.workers)


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
    """Train a model, evaluate it on the held-out parts, and write the bundle.

    Args:
        settings: Settings of the run.
        root: Folder or URI that the settings' files are relative to.
        out: Output folder, created if missing: `bundle/`, `report.json`, `learning_curves.png`, `prepared/`.
        resources: Workers and their cores.
        checkpoints: Folder or s3:// URI of Ray Train's checkpoints; `out/ray` by default.
        max_steps: Maximum number of steps, for a trial; 0 for the complete run.
        resume: Whether to continue from the last checkpoint of a run of the same settings, if there is one.

    Returns:
        Folder of the bundle.

    Raises:
        TrainError: The settings or the data are invalid, or the run failed.
    """
    if settings.optimiser.batch_texts < resources.workers:
        raise SettingsFileError(
            f"optimiser.batch_texts is {settings.optimiser.batch_texts}; expected at least the number of "
            f"workers, {resources.workers}; raise it, or lower --workers"
        )
    storage = checkpoints or str((out / "ray").resolve())
    _claim(out, storage, settings, resume=resume)
    base = find_base(settings.base)
    served = check_base(base, settings, out)
    begun_s = time.monotonic()
    start_ray(resources.threads * resources.workers)
    prepared = prepare(settings, root, out / "prepared")
    for name, texts in prepared.texts.items():
        print(f"{name}: {texts['train']:,} training texts, {texts['held_out']:,} held out", flush=True)
    checkpoint = _train(settings, served, share(out / "prepared", storage), storage, resources, max_steps)
    seconds = time.monotonic() - begun_s
    return write_result(
        settings,
        base,
        prepared,
        checkpoint,
        out,
        location=root,
        workers=resources.workers,
        wall_s=seconds,
    )


def _claim(out: Path, storage: str, settings: FitSettings, *, resume: bool) -> None:
    """Refuse to mix two runs in one folder; store the settings for a resumed run.

    Raises:
        SettingsFileError: The folder has an earlier run that is not resumed, or that has other settings.
    """
    path = out / _SETTINGS
    requested = settings.model_dump(mode="json")
    system, folder = open_filesystem(f"{storage.rstrip('/')}/{_RUN}")
    there = system.get_file_info(folder).type.name != "NotFound"
    if there and not resume:
        raise SettingsFileError(
            f"{storage} has an earlier run; continue it with --resume, or choose another --out"
        )
    if there and path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        if changed := sorted(key for key in requested if before.get(key) != requested[key]):
            key = changed[0]
            raise SettingsFileError(
                f"{key!r} is {requested[key]!r}; expected {before.get(key)!r} as at the start of the run in "
                f"{out}; resume with the same settings, or choose another --out"
            )
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(requested, indent=2) + "\n", encoding="utf-8")


def _train(
    settings: FitSettings,
    served: ServedInput,
    prepared: str,
    storage: str,
    resources: Resources,
    max_steps: int,
) -> Path:
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
            **asdict(served),
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
            # Ray Train finds the checkpoints of an earlier attempt by this name.
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
    except ray.train.FitError as error:
        raise FitError(f"training failed: {error}") from error
    if result.return_value is not None:
        raise FitError(str(result.return_value))
    chosen = result.checkpoint
    if settings.progress.patience:
        chosen = result.get_best_checkpoint(SCORE, "max") or chosen
    if chosen is None:
        raise FitError(f"training ended without a checkpoint; see {storage}")
    return Path(chosen.to_directory()) if is_remote(storage) else Path(chosen.path)
