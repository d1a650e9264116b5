"""What a training job runs, whoever starts it: one command line, its variables, and its name."""

import hashlib
import shlex
from pathlib import PurePosixPath

from cluster.kuberay.settings import TrainingSettings

CLAIM_FOLDER = "/data"
_SCRATCH_FOLDER = "/tmp"


def entrypoint(training: TrainingSettings) -> str:
    """The shell's line: `train fit`, and `train register` if there is a registry.

    A job that is started again goes on from the checkpoints of the first.
    """
    folder = PurePosixPath(CLAIM_FOLDER if training.claim else _SCRATCH_FOLDER)
    data = training.data if _is_address(training.data) else str(folder / training.data)
    out = str(folder / training.out)
    command = ["python", "-m", "train", "fit", "--config", training.config, "--data", data, "--out", out]
    for option, value in (
        ("--name", training.name),
        ("--version", training.version),
        ("--checkpoints", training.checkpoints),
    ):
        command += [option, value] if value else []
    command += ["--resume"] if training.checkpoints else []
    command += ["--workers", str(training.workers.max_pods)]
    command += ["--gpu"] if training.workers.gpus else ["--cpus", str(training.workers.size.cpus)]
    lines = [shlex.join(command)]
    if training.registry:
        lines.append(shlex.join(["python", "-m", "train", "register", out]))
    return " && ".join(lines)


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
