"""What a training job runs, whoever starts it: one command line, its variables, and its name."""

import hashlib
import shlex
from pathlib import PurePosixPath

from cluster.kuberay.settings import TrainingSettings

CLAIM_FOLDER = "/data"
_SCRATCH_FOLDER = "/tmp"


def entrypoint(training: TrainingSettings) -> str:
    """The shell's line: `train fit`, and `train register` if there is a registry; with a log `train retrain`.

    A job that is started again goes on from the checkpoints of the first.
    """
    folder = PurePosixPath(CLAIM_FOLDER if training.claim else _SCRATCH_FOLDER)
    data = training.data if _is_address(training.data) else str(folder / training.data)
    out = str(folder / training.out)
    if training.log and training.name:
        texts = f"{data.rstrip('/')}/feedback"
        return _line(
            training, "retrain", training.name, "--log", training.log, "--work", out, "--texts", texts
        )
    fit = ["fit", "--config", training.config, "--data", data, "--out", out]
    fit += ["--name", training.name] if training.name else []
    fit += ["--resume"] if training.checkpoints else []
    line = _line(training, *fit)
    return (
        f"{line} && {shlex.join(['python', '-m', 'train', 'register', out])}" if training.registry else line
    )


def _line(training: TrainingSettings, *verb: str) -> str:
    """The verb's call with what both verbs take alike."""
    command = ["python", "-m", "train", *verb]
    for option, value in (("--version", training.version), ("--checkpoints", training.checkpoints)):
        command += [option, value] if value else []
    command += ["--workers", str(training.workers.max_pods)]
    command += ["--gpu"] if training.workers.gpus else ["--cpus", str(training.workers.size.cpus)]
    return f"{shlex.join(command)} {training.options}".rstrip()


def variables(training: TrainingSettings) -> dict[str, str]:
    """What the job finds its registry by."""
    found = {"MLFLOW_TRACKING_URI": training.registry, "SENTIMENT_REGISTRY_ARTIFACTS": training.artifacts}
    return {name: value for name, value in found.items() if value}


def job_name(environment: str, training: TrainingSettings) -> str:
    """The same for the same version, so that a job that is started twice is one job."""
    name = f"{environment}-train"
    if training.version is None:
        return name
    return f"{name}-{hashlib.sha256(training.version.encode()).hexdigest()[:8]}"


def _is_address(text: str) -> bool:
    return text.startswith(("s3://", "hf:", "/"))
