"""Scorer: tokenises texts and turns logits into scores, for every kind of loaded model.

Neither this module nor those that it imports need transformers, whose import takes seconds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from serve_app.errors import ModelFailureError, UnprocessableTextError

WARM_UP_TEXT = "The first text, to warm up the model."
"""Text on which every model works; it also shows whether a device that failed on other texts works."""


@dataclass(frozen=True, slots=True)
class EncodedText:
    """Text as token ids, with special tokens; `unknown_tokens` of them are the unknown token."""

    ids: list[int]
    truncated: bool
    unknown_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Number of token ids."""
        return len(self.ids)


class Scorer(ABC):
    """Loaded model. Every method is thread-safe.

    Attributes:
        labels: Labels in the order of the scores.
        activation: Function that turns logits into scores: "softmax", or "sigmoid" for multi-label models.
        max_length: Maximum number of tokens per text, with special tokens; longer texts are truncated.
        device: Name of the device in torch, such as "cpu" or "cuda:0".
        dtype: Data type of the weights, such as "float32".
    """

    labels: tuple[str, ...]
    activation: str
    max_length: int
    device: str
    dtype: str
    _tokenizer: Any
    _unknown_id: int | None
    _temperature: float

    @property
    @abstractmethod
    def packed(self) -> bool:
        """Whether batches run as one row of tokens without padding."""

    @property
    @abstractmethod
    def graph(self) -> bool:
        """Whether batches run as a TorchScript graph, without the Python interpreter."""

    @abstractmethod
    def logits(self, batch: Sequence[EncodedText]) -> Tensor:
        """Return logits, (len(batch), num_labels), before the temperature, in the order of the batch."""

    @abstractmethod
    def computed_tokens(self, lengths: Sequence[int]) -> int:
        """Return the number of tokens, with padding, that a batch of texts of these lengths computes."""

    @abstractmethod
    def close(self) -> None:
        """Release the model. No call may be running, and none may follow."""

    def preprocess(self, texts: Sequence[str]) -> list[EncodedText]:
        """Tokenise texts; return one result per text, in their order.

        Raises:
            UnprocessableTextError: The tokenizer fails on one of the texts, or returns no tokens for it.
        """
        try:
            encodings = self._tokenizer.encode_batch_fast(list(texts))
        except Exception:  # tokenizers raise errors of any class; find the text that causes it
            encodings = [self._encode_alone(text, index) for index, text in enumerate(texts)]
        return [
            self._encoded(encoding.ids, bool(encoding.overflowing), index)
            for index, encoding in enumerate(encodings)
        ]

    @torch.inference_mode()
    def forward(self, batch: Sequence[EncodedText]) -> list[list[float]]:
        """Score a batch.

        Args:
            batch: At least one text.

        Returns:
            scores: (len(batch), len(labels)), each in 0..1, in the order of the batch; the sum of a row is 1
                for a
            single-label model.

        Raises:
            ArithmeticError: A score is not finite.
            ModelFailureError: The device has not enough memory for this batch.
        """
        try:
            logits = self.logits(batch).float()
        except torch.OutOfMemoryError as error:
            raise ModelFailureError(
                f"not enough memory for a batch of {len(batch)} texts on {self.device}; lower "
                "SENTIMENT_MAX_BATCH_TOKENS"
            ) from error
        if not torch.isfinite(logits).all():
            raise ArithmeticError("a score is not finite")
        scores: list[list[float]] = self._scores(logits).tolist()
        return scores

    def warm_up_batches(self, max_tokens: int, lanes: int) -> Iterator[list[EncodedText]]:
        """Yield batches that warm up the model and measure the device's throughput.

        One short text, then a full batch for each lane; each twice, because the first one is not measured.

        Args:
            max_tokens: Maximum number of tokens of a batch.
            lanes: Number of batches that run in parallel.
        """
        short, longer = self.preprocess([WARM_UP_TEXT, 8 * WARM_UP_TEXT])
        yield from [[short]] * 2
        yield from [[longer] * max(1, max_tokens // longer.tokens) * lanes] * 2

    def texts_by_length(self) -> list[EncodedText]:
        """Return texts of about 10, 60 and 200 tokens, the shortest first, to measure thread counts with."""
        return self.preprocess([times * WARM_UP_TEXT for times in (1, 6, 20)])

    def _scores(self, logits: Tensor) -> Tensor:
        """Return the scores of float32 logits; both (texts, num_labels)."""
        logits = logits / self._temperature
        return logits.sigmoid() if self.activation == "sigmoid" else logits.softmax(dim=-1)

    def _encode_alone(self, text: str, index: int) -> Any:
        try:
            return self._tokenizer.encode(text)
        except Exception as error:
            message = f"the tokenizer cannot process this text: {type(error).__name__}"
            raise UnprocessableTextError(message, index) from error

    def _encoded(self, ids: list[int], truncated: bool, index: int) -> EncodedText:
        if not ids:
            raise UnprocessableTextError("the tokenizer returns no tokens for this text", index)
        unknown_tokens = 0 if self._unknown_id is None else ids.count(self._unknown_id)
        return EncodedText(ids, truncated, unknown_tokens)


def use_threads(count: int) -> None:
    """Set the number of CPU threads of forward passes in the calling thread."""
    if count != torch.get_num_threads():
        torch.set_num_threads(count)
