"""Exponential moving average of the trained weights, which is less noisy than the last step's weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class WeightAverage:
    """Exponential moving average of a model's trainable parameters.

    The decay is min(decay, (1 + t) / (10 + t)), so that the initial weights have little influence.
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self._live = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._average = [parameter.detach().clone() for parameter in self._live]
        self._decay = decay
        self._updates = 0
        self._aside: list[torch.Tensor] | None = None

    @torch.no_grad()
    def update(self) -> None:
        """Add the weights of one more step."""
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        for average, live in zip(self._average, self._live, strict=True):
            average.lerp_(live, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Use the average as the model's weights within the block."""
        self._aside = [parameter.detach().clone() for parameter in self._live]
        self._copy(self._average)
        try:
            yield
        finally:
            self._copy(self._aside)
            self._aside = None

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint: the averages, their count, and the current weights in order.

        Within `applied`, the current weights are those that the average replaces.
        """
        live = self._aside if self._aside is not None else [value.detach() for value in self._live]
        return {"average": self._average, "updates": self._updates, "live": live}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the averages of a checkpoint, and the model's current weights."""
        for average, found in zip(self._average, state["average"], strict=True):
            average.copy_(found)
        self._updates = state["updates"]
        self._copy(state["live"])

    @torch.no_grad()
    def _copy(self, values: list[torch.Tensor]) -> None:
        for parameter, value in zip(self._live, values, strict=True):
            parameter.copy_(value)
