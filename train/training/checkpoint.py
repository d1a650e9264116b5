"""Checkpoint: a folder with the complete state of a run, from which it resumes with the same result.

weights.safetensors   float32: averaged weights, which become the result; names as in the model
state.pt              current weights, averages' count, optimiser, learning-rate schedule (tensors, numbers)
progress.json         the step, and the history of all evaluations so far
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from train.errors import FitError
from train.training.ema import WeightAverage
from train.training.model import TrainModel

_WEIGHTS = "weights.safetensors"
_STATE = "state.pt"
_PROGRESS = "progress.json"


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a run."""

    step: int = 0
    history: tuple[Mapping[str, float], ...] = ()
    """One entry per evaluation: step, loss, results on the held-out samples, and cumulative seconds and
    tokens."""

    def evals_without_improvement(self, score: str) -> int:
        """Return the number of evaluations since the best score; of equal scores the first one counts."""
        scores = [entry[score] for entry in self.history if score in entry]
        return len(scores) - 1 - scores.index(max(scores)) if scores else 0


def save_checkpoint(
    folder: Path, trained: TrainModel, average: WeightAverage, parts: Mapping[str, Any], progress: Progress
) -> None:
    """Write a checkpoint.

    Args:
        folder: Existing output folder.
        trained: Model, which currently has the averaged weights.
        average: Moving average, which currently holds the model's own weights.
        parts: Further objects with a `state_dict`, by name.
        progress: Progress so far.
    """
    from safetensors.torch import save_file

    weights = {name: value.detach().cpu().contiguous() for name, value in trained.trained.items()}
    save_file(weights, folder / _WEIGHTS)
    state = {name: part.state_dict() for name, part in parts.items()}
    torch.save({**state, "average": average.state_dict()}, folder / _STATE)
    (folder / _PROGRESS).write_text(json.dumps(asdict(progress)), encoding="utf-8")


def load_checkpoint(
    folder: Path, trained: TrainModel, average: WeightAverage, parts: Mapping[str, Any]
) -> Progress:
    """Restore the state of a checkpoint into new objects; the arguments are those of `save_checkpoint`."""
    load_weights(folder, trained)
    device = next(iter(trained.trained.values())).device
    state = torch.load(folder / _STATE, map_location=device, weights_only=True)
    average.load_state_dict(state.pop("average"))
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return read_progress(folder)


def load_weights(folder: Path, trained: TrainModel) -> None:
    """Load the averaged weights of a checkpoint into a model.

    Raises:
        FitError: The weights are of another model.
    """
    from safetensors.torch import load_file

    found = load_file(folder / _WEIGHTS)
    wanted = trained.trained
    if found.keys() != wanted.keys():
        odd = sorted(found.keys() ^ wanted.keys())
        raise FitError(f"the checkpoint in {folder} is of another model: {odd[0]}; start anew")
    with torch.no_grad():
        for name, value in wanted.items():
            value.copy_(found[name])


def read_progress(folder: Path) -> Progress:
    """Return the progress that a checkpoint stores."""
    found = json.loads((folder / _PROGRESS).read_text(encoding="utf-8"))
    return Progress(found["step"], tuple(found["history"]))
