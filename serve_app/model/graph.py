"""A model's forward as a TorchScript graph, which torch runs without the interpreter.

A transformers model is some 300 steps of Python a batch, and after each it needs the interpreter's lock
again. On a CPU that is a fifth of a short text's time, and lanes wait there for one another and for the event
loop. A graph is one call, in which the lock is free.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

Row = tuple[Tensor, Tensor, Tensor]
"""Token ids and position ids, int64 (1, tokens), and where texts begin and end, int32 (texts + 1,)."""

Forward = Callable[[Tensor, Tensor, Tensor], Tensor]
"""A row to logits (texts, num_labels)."""

_recorded: dict[str, Callable[..., Tensor]] = {}
"""By the structure of the model. Torch keeps a graph, 6 MB without weights, as long as the process lives."""


class Graph:
    """A model's forward, recorded."""

    def __init__(self, model: PreTrainedModel, forward: Forward, row: Row) -> None:
        """Record a forward, unless that of a model built alike has been recorded.

        A trace keeps the course that it saw: loops and branches are constants of it, unless they lie in a
        function under `torch.jit.script_if_tracing`. Compare the graph with the forward before it is used.

        Args:
            model: whose parameters and buffers the forward uses.
            forward: what to record.
            row: arguments to record it with.

        Raises:
            RuntimeError: it cannot be recorded.
        """
        self._weights = [*model.parameters(), *model.buffers()]
        structure = _structure(model)
        if structure not in _recorded:
            _recorded[structure] = _trace(forward, (*row, self._weights))
        self._run = _recorded[structure]

    def __call__(self, row: Row) -> Tensor:
        """Run the graph: a row to logits (texts, num_labels)."""
        return self._run(*row, self._weights)


def _structure(model: PreTrainedModel) -> str:
    """All that a trace may take for constant: the modules, the numbers and names of the config, the dtype."""
    settings = {
        name: value
        for name, value in model.config.to_dict().items()
        if isinstance(value, int | float | str) and name != "_name_or_path"
    }
    return f"{model} {settings} {model.dtype}"


def _trace(forward: Forward, arguments: Any) -> Callable[..., Tensor]:
    once = [forward]  # torch keeps what it traced, which should not keep the model

    def recorded(input_ids: Tensor, position_ids: Tensor, boundaries: Tensor, _weights: Any) -> Tensor:
        return once.pop()(input_ids, position_ids, boundaries)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript is deprecated, and each constant of the trace
        graph = torch.jit.trace(recorded, arguments, check_trace=False)  # type: ignore[no-untyped-call]
    return cast("Callable[..., Tensor]", graph)
