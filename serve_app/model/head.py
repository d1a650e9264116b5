"""Classification head of a model: the module whose input is used as the embedding of a text."""

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
    """Module that computes logits from the hidden state of one token, or from a pooled one."""

    module: nn.Module
    reads: Literal["first", "last", "mean"]
    """Part of a sequence that determines the logits: its first token, its last token, or the mean of all."""

    @contextmanager
    def inputs(self) -> Iterator[list[Tensor]]:
        """Collect the module's inputs in this thread: (texts, hidden) or (texts, tokens, hidden)."""
        given: list[Tensor] = []
        thread = threading.get_ident()

        def keep(_module: Any, args: tuple[Tensor, ...]) -> None:
            if threading.get_ident() == thread:  # other threads may run the same model
                given.append(args[0])

        hook = self.module.register_forward_pre_hook(keep)
        try:
            yield given
        finally:
            hook.remove()

    def of_texts(self, given: Sequence[Tensor], lengths: Sequence[Sequence[int]], *, left: bool) -> Tensor:
        """Return the hidden state of each text, (texts, hidden), in the order of the forward passes.

        Args:
            given: Tensors that `inputs` collected, one per forward pass.
            lengths: Number of tokens of the texts of each forward pass.
            left: Whether shorter texts are padded on the left.
        """
        return torch.cat([self._of(*pair, left) for pair in zip(given, lengths, strict=True)])

    def logits(self, embeddings: Tensor) -> Tensor:
        """Return the logits, (texts, num_labels), of hidden states, (texts, hidden)."""
        # As texts of one token each, because some heads select the first token of each text.
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
        # A head that reads the first token reads the first one of the row, even if it is padding.
        return given[:, 0] if self.reads == "first" else torch.stack([text[-1] for text in texts])


def heads(model: PreTrainedModel) -> Iterator[Head]:
    """Yield modules that may be the head of a model, the most likely first; the caller tests them."""
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
