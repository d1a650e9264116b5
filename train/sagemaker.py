"""SageMaker training job: its folders and inputs, and the resulting options of `fit`.

The contract is https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo.html. The
platform provides folders and files; the SM_* variables are those of its training toolkit, and take precedence
if set.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.errors import SettingsFileError

_ROOT = Path("/opt/ml")
_TEXTS, _HELD_OUT = ("training", "train"), "validation"
_SEVERAL = ("label_names", "label_map", "drop_labels", "labels", "set")
"""Options with several values."""
_OWN = ("data", "validation", "out", "checkpoints", "resume")
"""Options that the job's folders determine."""
_FAILURE_MAX = 1024
"""Maximum number of characters of a failure that SageMaker shows."""


@dataclass(frozen=True, slots=True)
class Job:
    """Locations and inputs of a job.

    Attributes:
        settings: Folder of hyperparameters.json and resourceconfig.json.
        channels: Folder of each input channel, by name.
        model: Folder that becomes the model artifact.
        output: Folder that becomes the output data.
        failure: File whose text becomes the FailureReason.
        checkpoints: Folder that is kept for the next start of this job; None if the job keeps nothing.
        gpus: Number of GPUs of this machine.
        name: Name of the job, if it has one.
        told: Hyperparameters and hosts from variables, instead of the files.
    """

    settings: Path
    channels: Mapping[str, Path]
    model: Path
    output: Path
    failure: Path
    checkpoints: Path | None
    gpus: int
    name: str | None
    told: Mapping[str, str]

    def fail(self, reason: str) -> None:
        """Report a failure reason to SageMaker."""
        self.failure.parent.mkdir(parents=True, exist_ok=True)
        self.failure.write_text(reason[:_FAILURE_MAX], encoding="utf-8")


def job_of(environment: Mapping[str, str], root: Path = _ROOT, devices: Path = Path("/dev")) -> Job:
    """Return the job that this process runs in.

    Args:
        environment: Environment variables of the process.
        root: Folder in which SageMaker mounts its folders.
        devices: Folder of device files such as `nvidia0`.
    """

    def folder(name: str, default: Path) -> Path:
        return Path(environment.get(name, default))

    inputs, output = folder("SM_INPUT_DIR", root / "input"), folder("SM_OUTPUT_DIR", root / "output")
    data, checkpoints = inputs / "data", root / "checkpoints"
    there = {path.name: path for path in data.iterdir() if path.is_dir()} if data.is_dir() else {}
    prefix = "SM_CHANNEL_"
    named = {
        key.removeprefix(prefix).lower(): Path(path)
        for key, path in environment.items()
        if key.startswith(prefix)
    }
    gpus = environment.get("SM_NUM_GPUS", len(list(devices.glob("nvidia[0-9]*"))))
    return Job(
        settings=folder("SM_INPUT_CONFIG_DIR", inputs / "config"),
        channels={**there, **named},
        model=folder("SM_MODEL_DIR", root / "model"),
        output=folder("SM_OUTPUT_DATA_DIR", output / "data"),
        failure=output / "failure",
        checkpoints=checkpoints if checkpoints.is_dir() else None,
        gpus=int(gpus),
        name=environment.get("TRAINING_JOB_NAME"),
        told={name: environment[name] for name in ("SM_HPS", "SM_HOSTS") if name in environment},
    )


def fit_options(job: Job, out: Path) -> list[str]:
    """Return the options of `python -m train fit` for a job.

    Args:
        job: Job to run.
        out: Output folder of the run.

    Raises:
        SettingsFileError: The job has no texts, has several machines, or names an option that it cannot set.
    """
    hosts = _json(job.told.get("SM_HOSTS")) or _file(job.settings / "resourceconfig.json").get("hosts", [])
    if len(hosts) > 1:
        raise SettingsFileError(
            f"the job has {len(hosts)} instances; expected 1: use one instance with several GPUs, or a "
            "RayJob on several nodes (python -m cluster apply --training)"
        )
    texts = next((job.channels[name] for name in _TEXTS if name in job.channels), None)
    if texts is None:
        channels = ", ".join(job.channels) or "none"
        raise SettingsFileError(
            f"the job has the channels: {channels}; expected one of {', '.join(_TEXTS)} with the texts"
        )
    hyperparameters = _json(job.told.get("SM_HPS")) or _file(job.settings / "hyperparameters.json")
    options = ["--data", str(texts), "--out", str(out)]
    if job.gpus:
        options += ["--workers", str(job.gpus), "--gpu"]
    if job.name:
        options += ["--version", job.name]
    if job.checkpoints:
        options += ["--checkpoints", str(job.checkpoints), "--resume"]
    if _HELD_OUT in job.channels and "config" not in hyperparameters:
        options += ["--validation", str(job.channels[_HELD_OUT])]
    for name, value in hyperparameters.items():
        if not name.startswith("sagemaker_"):  # hyperparameters of SageMaker's toolkit
            options += _option(name.replace("-", "_"), value, texts)
    return options


def _option(name: str, given: Any, texts: Path) -> list[str]:
    """Return a hyperparameter as options; SageMaker passes strings, and its SDK encodes some as JSON."""
    if name in _OWN:
        raise SettingsFileError(
            f"the hyperparameter {name!r} is set by the job's channels and outputs; remove it"
        )
    value = _plain(given)
    option = f"--{name.replace('_', '-')}"
    if name == "config":
        return [option, str(texts / str(value))]
    if isinstance(value, bool):
        return [option] if value else []
    if isinstance(value, list):
        return [option, *map(str, value)]
    return [option, *shlex.split(value)] if name in _SEVERAL else [option, value]


def _plain(given: Any) -> str | bool | list[Any]:
    """Decode a JSON string, boolean or list; return anything else as text, so numbers keep their spelling."""
    try:
        value = json.loads(given) if isinstance(given, str) else given
    except ValueError:
        return str(given)
    return value if isinstance(value, str | bool | list) else str(given)


def _json(text: str | None) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError as error:
        raise SettingsFileError(f"{text[:80] if text else ''!r} is not valid JSON: {error}") from error


def _file(path: Path) -> dict[str, Any]:
    """Return a JSON object, empty if the file is missing."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SettingsFileError(f"{path} cannot be read as JSON: {error}") from error
