"""Forward pass of a model as a TorchScript graph, which torch runs without the Python interpreter.

A transformers model runs about 300 steps of Python per batch, and acquires the interpreter lock after each of
them. On a CPU that is a fifth of the time of a short text, and lanes wait for one another and for the event
loop. A graph is a single call that does not hold the lock.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

Row = tuple[Tensor, Tensor, Tensor]
"""Token ids and position ids, both int64 (1, tokens), and the boundaries of the texts, int32 (texts + 1,)."""

Forward = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Computes logits (texts, num_labels) of a row."""

_recorded: dict[str, Callable[..., Tensor]] = {}
"""Graphs by structure of the model. Torch keeps a graph, 6 MB without weights, until the process ends."""


class Graph:
    """Recorded forward pass of a model."""

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
        self._weights = [*model.parameters(), *model.buffers()]
        structure = _structure(model)
        if structure not in _recorded:
            _recorded[structure] = _trace(forward, (*row, self._weights))
        self._run = _recorded[structure]

    def __call__(self, row: Row) -> Tensor:
        """Return the logits (texts, num_labels) of a row."""
        return self._run(*row, self._weights)


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

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about TorchScript's deprecation and the trace's constants
        graph = torch.jit.trace(recorded, arguments, check_trace=False)  # type: ignore[no-untyped-call]
    return cast("Callable[..., Tensor]", graph)
