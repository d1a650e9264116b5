"""Command line, environment variables and name of a training job."""

import hashlib
import shlex
from pathlib import PurePosixPath

from cluster.kuberay.settings import TrainingSettings

CLAIM_FOLDER = "/data"
_SCRATCH_FOLDER = "/tmp"


def entrypoint(training: TrainingSettings) -> str:
    """Return the shell command: `train fit`, with a registry `train register`; with a log `train retrain`.

    A restarted job resumes from the checkpoints of the first one.
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
    """Return the command line of a `train` command with the common options."""
    command = ["python", "-m", "train", *verb]
    for option, value in (("--version", training.version), ("--checkpoints", training.checkpoints)):
        command += [option, value] if value else []
    command += ["--workers", str(training.workers.max_pods)]
    command += ["--gpu"] if training.workers.gpus else ["--cpus", str(training.workers.size.cpus)]
    return f"{shlex.join(command)} {training.options}".rstrip()


def variables(training: TrainingSettings) -> dict[str, str]:
    """Return the environment variables that configure the job's registry."""
    found = {"MLFLOW_TRACKING_URI": training.registry, "SENTIMENT_REGISTRY_ARTIFACTS": training.artifacts}
    return {name: value for name, value in found.items() if value}


def job_name(environment: str, training: TrainingSettings) -> str:
    """Return the name of the job, which depends on the version only, so that starting it twice is one job."""
    name = f"{environment}-train"
    if training.version is None:
        return name
    return f"{name}-{hashlib.sha256(training.version.encode()).hexdigest()[:8]}"


def _is_address(text: str) -> bool:
    return text.startswith(("s3://", "hf:", "/"))
