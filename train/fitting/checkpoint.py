"""A checkpoint: everything a run needs to go on as if it had never stopped, in a folder.

weights.safetensors   float32: the averaged weights, which are what is kept; names as in the model
state.pt              live weights, averages' count, optimiser, learning-rate schedule (tensors and numbers)
progress.json         the step, and the history of all looks so far
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from train.errors import FitFailed
from train.fitting.averaging import WeightAverage
from train.fitting.model import TrainModel

_WEIGHTS = "weights.safetensors"
_STATE = "state.pt"
_PROGRESS = "progress.json"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    step: int = 0
    history: tuple[Mapping[str, float], ...] = ()
    """One entry a look: step, loss, what the held-out samples gave, seconds and tokens so far."""

    def looks_without_better(self, score: str) -> int:
        """How many looks ago the best score was; the first of equal ones counts."""
        scores = [look[score] for look in self.history if score in look]
        return len(scores) - 1 - scores.index(max(scores)) if scores else 0


def save_checkpoint(
    folder: Path, trained: TrainModel, average: WeightAverage, parts: Mapping[str, Any], progress: Progress
) -> None:
    """Write a checkpoint.

    Args:
        folder: Exists.
        trained: Has the averaged weights at this moment.
        average: Keeps the live ones meanwhile.
        parts: What else has a `state_dict`, by name.
        progress: So far.
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
    """Put the state of a checkpoint into newly built parts; arguments as of `save_checkpoint`."""
    load_weights(folder, trained)
    device = next(iter(trained.trained.values())).device
    state = torch.load(folder / _STATE, map_location=device, weights_only=True)
    average.load_state_dict(state.pop("average"))
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return read_progress(folder)


def load_weights(folder: Path, trained: TrainModel) -> None:
    """Give a model the averaged weights of a checkpoint.

    Raises:
        FitFailed: They are of another model.
    """
    from safetensors.torch import load_file

    found = load_file(folder / _WEIGHTS)
    wanted = trained.trained
    if found.keys() != wanted.keys():
        odd = sorted(found.keys() ^ wanted.keys())
        raise FitFailed(f"the checkpoint in {folder} is of another model: {odd[0]}; start anew")
    with torch.no_grad():
        for name, value in wanted.items():
            value.copy_(found[name])


def read_progress(folder: Path) -> Progress:
    """How far the run of a checkpoint was."""
    found = json.loads((folder / _PROGRESS).read_text(encoding="utf-8"))
    return Progress(found["step"], tuple(found["history"]))
