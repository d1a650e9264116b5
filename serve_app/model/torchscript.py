"""Forward pass of a model as a TorchScript graph, which torch runs without the Python interpreter.

A transformers model runs about 300 steps of Python per batch, and acquires the interpreter lock after each of
them. On a CPU that is a fifth of the time of a short text, and lanes wait for one another and for the event
loop. A graph is a single call that does not hold the lock.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Row = tuple[Tensor, Tensor, Tensor]
"""Token ids and position ids, both int64 (1, tokens), and the boundaries of the texts, int32 (texts + 1,)."""

Forward = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Computes logits (texts, num_labels) of a row."""

_recorded: dict[str, Callable[..., Tensor]] = {}
"""Graphs by structure of the model. Torch keeps a graph, 6 MB without weights, until the process ends."""


class Graph:
    """Recorded forward pass of a model.

    Attributes:
        weights: Parameters and buffers of the model, arguments of the graph.
        structure: What the graph may contain as constants; models with equal structures share a graph.
    """

    weights: list[Tensor]
    structure: str

    def __init__(self, model: PreTrainedModel, forward: Forward, row: Row) -> None:
        """Record a forward pass, or reuse the graph of a model with the same structure.

        Loops and branches are constants of a trace, unless they are in a function under
        `torch.jit.script_if_tracing`. The caller must compare the graph with the forward pass before using
        it.

        Args:
            model: Model whose parameters and buffers the forward pass uses.
            forward: Forward pass to record.
            row: Arguments to record it with.

        Raises:
            RuntimeError: The forward pass cannot be recorded.
        """
        self.weights = [*model.parameters(), *model.buffers()]
        self.structure = _structure(model)
        if self.structure not in _recorded:
            _recorded[self.structure] = _trace(forward, (*row, self.weights))
        self._run = _recorded[self.structure]

    @classmethod
    def load(cls, path: Path, structure: str, weights: list[Tensor]) -> Graph:
        """Load a saved graph, or reuse that of a model with the same structure; see `share`.

        Args:
            path: File that `save` has written.
            structure: `structure` of the saved graph.
            weights: `weights` of the model, in the same order.

        Raises:
            RuntimeError: The file cannot be read.
        """
        graph = cls.__new__(cls)
        graph.weights, graph.structure = weights, structure
        with _without_warnings():
            graph._run = _recorded.get(structure) or torch.jit.load(str(path))  # type: ignore[no-untyped-call]
        return graph

    def share(self) -> None:
        """Let models of the same structure reuse this graph; only after its logits have been compared."""
        _recorded.setdefault(self.structure, self._run)

    def save(self, path: Path) -> None:
        """Write the graph, without the weights, to a file."""
        with _without_warnings():
            torch.jit.save(self._run, str(path))

    def __call__(self, batch: Sequence[Sequence[int]], first_position: int) -> Tensor:
        """Return the logits (len(batch), num_labels) of a batch of tokenised texts, none empty."""
        texts, weight = len(batch), self.weights[0]
        if weight.dtype != torch.float32 and weight.device.type == "cpu":
            tokens = sum(map(len, batch))
            filler = rounded_tokens(tokens) - tokens
            batch = [*batch, [batch[0][0]] * filler] if filler else batch
        return self._run(*row_of(batch, first_position, weight.device), self.weights)[:texts]


def rounded_tokens(tokens: int) -> int:
    """Return the length of the row in which a batch of so many tokens is computed in half precision on a CPU.

    There oneDNN compiles and keeps code for every size of a matrix, about 1 MB for each length of a row, so a
    filler text completes the row to one of few lengths.
    """
    step = 4 if tokens <= 64 else 16
    return -(-tokens // step) * step


def row_of(batch: Sequence[Sequence[int]], first_position: int, device: torch.device) -> Row:
    """Return a batch of tokenised texts, none empty, as one row; `first_position` is a text's first id."""
    # With numpy, because each operation of torch releases the interpreter lock and then waits for it.
    lengths = np.fromiter(map(len, batch), np.int64, len(batch))
    boundaries = np.zeros(len(batch) + 1, np.int32)
    lengths.cumsum(out=boundaries[1:])
    tokens = int(boundaries[-1])
    input_ids = np.fromiter(itertools.chain.from_iterable(batch), np.int64, tokens)
    position_ids = np.arange(tokens) - boundaries[:-1].repeat(lengths) + first_position
    ids, positions, ends = (
        torch.from_numpy(part).to(device) for part in (input_ids[None], position_ids[None], boundaries)
    )
    return ids, positions, ends


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Suppress warnings about TorchScript's deprecation and a trace's constants."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _structure(model: PreTrainedModel) -> str:
    """Return what a trace may contain as constants: modules, scalar config values, and the dtype."""
    settings = {
        name: value
        for name, value in model.config.to_dict().items()
        if isinstance(value, int | float | str) and name != "_name_or_path"
    }
    return f"{model} {settings} {model.dtype}"


def _trace(forward: Forward, arguments: Any) -> Callable[..., Tensor]:
    once = [forward]  # torch keeps the traced function, which must not keep a reference to the model

    def recorded(input_ids: Tensor, position_ids: Tensor, boundaries: Tensor, _weights: Any) -> Tensor:
        return once.pop()(input_ids, position_ids, boundaries)

    with _without_warnings():
        graph = torch.jit.trace(recorded, arguments, check_trace=False)  # type: ignore[no-untyped-call]
    return cast("Callable[..., Tensor]", graph)
