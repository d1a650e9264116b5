"""The head of a classifier: the module whose input is kept as a text's embedding."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Head:
    """A module that makes logits of one token's hidden state, or of a pooled one."""

    module: nn.Module
    reads: Literal["first", "last", "mean"]
    """What it makes of a sequence: the logits of its first token, of its last one, or the mean of all."""

    @contextmanager
    def inputs(self) -> Iterator[list[Tensor]]:
        """Collect what the module is given in this thread: (texts, hidden) or (texts, tokens, hidden)."""
        given: list[Tensor] = []
        thread = threading.get_ident()

        def keep(_module: Any, args: tuple[Tensor, ...]) -> None:
            if threading.get_ident() == thread:  # other threads may run the same model meanwhile
                given.append(args[0])

        hook = self.module.register_forward_pre_hook(keep)
        try:
            yield given
        finally:
            hook.remove()

    def of_texts(self, given: Sequence[Tensor], lengths: Sequence[Sequence[int]], *, left: bool) -> Tensor:
        """Return the hidden state of each text, (texts, hidden), in the order of the forwards.

        Args:
            given: What `inputs` collected, one tensor a forward.
            lengths: Tokens of the texts of each forward.
            left: Whether the shorter ones are padded on the left.
        """
        return torch.cat([self._of(*pair, left) for pair in zip(given, lengths, strict=True)])

    def logits(self, embeddings: Tensor) -> Tensor:
        """Return the logits of hidden states, (texts, num_labels), for (texts, hidden)."""
        # As texts of one token each: some heads take the first token of each text by themselves.
        logits: Tensor = self.module(embeddings.unsqueeze(1))
        return logits.reshape(len(embeddings), -1)

    def _of(self, given: Tensor, lengths: Sequence[int], left: bool) -> Tensor:
        if given.dim() == 2:
            return given
        longest = max(lengths)
        texts = [
            row[longest - length :] if left else row[:length]
            for row, length in zip(given, lengths, strict=True)
        ]
        if self.reads == "mean":
            return torch.stack([text.mean(dim=0) for text in texts])
        # A head of the first token reads that of the row, padding or not.
        return given[:, 0] if self.reads == "first" else torch.stack([text[-1] for text in texts])


def heads(model: PreTrainedModel) -> Iterator[Head]:
    """Modules that may be the head of a model, the likeliest first; the caller tries them."""
    classifier = getattr(model, "classifier", None)
    if isinstance(classifier, nn.Module):
        yield Head(classifier, "first")
        yield Head(classifier, "mean")
    outputs = [
        module
        for module in model.modules()
        if isinstance(module, nn.Linear) and module.out_features == model.config.num_labels
    ]
    if outputs:
        yield Head(outputs[-1], "last")
