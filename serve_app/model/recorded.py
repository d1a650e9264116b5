"""Recording: files from which a packed model computes the same without transformers.

recording.json        settings of the model, and the SHA-256 of the other files
graph.pt              forward pass as TorchScript, without weights
weights.safetensors   weights with their adapter merged, in the order of the graph's arguments, and the
logits of test texts
tokenizer.json        tokenizer, with truncation at the model's maximum length
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from serve_app.errors import InvalidBundleError
from serve_app.model import checksums
from serve_app.model.acceptance import alike
from serve_app.model.scorer import EncodedText, Scorer, use_threads
from serve_app.model.torchscript import Graph

_SETTINGS, _GRAPH, _WEIGHTS, _TOKENIZER = (
    "recording.json",
    "graph.pt",
    "weights.safetensors",
    "tokenizer.json",
)
_LOGITS = "logits"
_CPU = "cpu"


@dataclass(frozen=True, slots=True)
class RecordedSettings:
    """Settings of a recorded model; those that `Scorer` has are described there.

    Attributes:
        labels: See `Scorer`.
        temperature: Divisor of the logits.
        activation: See `Scorer`.
        max_length: See `Scorer`.
        dtype: See `Scorer`.
        first_position: Position id of a text's first token.
        unknown_id: Id of the tokenizer's unknown token, if it has one.
        structure: Structure of the graph.
        checked: Token ids of the test texts whose logits are stored.
    """

    labels: Sequence[str]
    temperature: float
    activation: str
    max_length: int
    dtype: str
    first_position: int
    unknown_id: int | None
    structure: str
    checked: list[list[int]]


def write_recording(
    folder: Path, settings: RecordedSettings, graph: Graph, logits: Tensor, tokenizer: Tokenizer
) -> None:
    """Write a recording into an existing folder.

    Args:
        folder: Folder to write to.
        settings: Settings of the model.
        graph: Forward pass of the model on the CPU.
        logits: Logits of `settings.checked`, (texts, num_labels).
        tokenizer: Tokenizer of the model.
    """
    graph.save(folder / _GRAPH)
    weights = {str(index): weight.detach().contiguous() for index, weight in enumerate(graph.weights)}
    save_file({**weights, _LOGITS: logits.detach().clone()}, folder / _WEIGHTS)
    tokenizer.save(str(folder / _TOKENIZER))
    files = checksums.sha256_files(folder, (_GRAPH, _WEIGHTS, _TOKENIZER))
    (folder / _SETTINGS).write_text(json.dumps({"files": files, "settings": asdict(settings)}))


def check_recording(folder: Path) -> None:
    """Raise BundleError if a recording is damaged or incomplete."""
    _read(folder)


def _read(folder: Path) -> RecordedSettings:
    try:
        content: dict[str, Any] = json.loads((folder / _SETTINGS).read_bytes())
        files, settings = dict(content["files"]), RecordedSettings(**content["settings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidBundleError(
            f"{folder / _SETTINGS} cannot be read: {error!r}; remove the folder"
        ) from error
    if missing := {_GRAPH, _WEIGHTS, _TOKENIZER} - set(files):
        raise InvalidBundleError(f"{folder / _SETTINGS} has no SHA-256 of {min(missing)}; remove the folder")
    checksums.check(folder, files, links_within=None)
    return settings


class RecordedClassifier(Scorer):
    """Packed model on a CPU, loaded from its recording."""

    def __init__(self, folder: Path, *, threads: int) -> None:
        """Load a recording.

        Args:
            folder: Folder that `write_recording` has written.
            threads: Number of CPU threads of the forward pass.

        Raises:
            BundleError: A file is missing, damaged, or computes other logits than those recorded.
        """
        settings = _read(folder)
        use_threads(threads)
        self.labels = tuple(settings.labels)
        self.activation, self.max_length = settings.activation, settings.max_length
        self.device, self.dtype = _CPU, settings.dtype
        self._temperature, self._unknown_id = settings.temperature, settings.unknown_id
        self._first_position = settings.first_position
        try:
            tensors = load_file(folder / _WEIGHTS)
            recorded_logits = tensors.pop(_LOGITS)
            weights = [tensors[str(index)] for index in range(len(tensors))]
            self._graph = Graph.load(folder / _GRAPH, settings.structure, weights)
            self._tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER))
            self._tokenizer.encode_special_tokens = True  # not a part of the file
            logits = self.logits([EncodedText(row, truncated=False) for row in settings.checked])
        except Exception as error:  # libraries raise errors of any class for files that they cannot read
            raise InvalidBundleError(f"{folder} cannot be loaded: {error!r}; remove the folder") from error
        if not alike(logits, recorded_logits):
            raise InvalidBundleError(f"{folder} computes other logits than those recorded; remove the folder")
        self._graph.share()

    @property
    def packed(self) -> bool:
        """See `Scorer`."""
        return True

    @property
    def graph(self) -> bool:
        """See `Scorer`."""
        return True

    @torch.inference_mode()
    def logits(self, batch: Sequence[EncodedText]) -> Tensor:
        """See `Scorer`."""
        return self._graph([item.ids for item in batch], self._first_position)

    def computed_tokens(self, lengths: Sequence[int]) -> int:
        """See `Scorer`."""
        return sum(lengths)

    def close(self) -> None:
        """See `Scorer`."""
