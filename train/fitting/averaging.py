"""The running average of the trained weights: steadier than the last step's, at no cost in serving."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class WeightAverage:
    """An exponential moving average of a model's trainable parameters.

    The decay starts low, min(decay, (1 + t) / (10 + t)), so that the first, bad weights are soon forgotten.
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self._live = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._average = [parameter.detach().clone() for parameter in self._live]
        self._decay = decay
        self._updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights of one more step in."""
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        for average, live in zip(self._average, self._live, strict=True):
            average.lerp_(live, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block the model has the average as its weights."""
        live = [parameter.detach().clone() for parameter in self._live]
        self._copy(self._average)
        try:
            yield
        finally:
            self._copy(live)

    @torch.no_grad()
    def _copy(self, values: list[torch.Tensor]) -> None:
        for parameter, value in zip(self._live, values, strict=True):
            parameter.copy_(value)
