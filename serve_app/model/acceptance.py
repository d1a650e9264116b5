"""Acceptance check of a loaded model: it scores texts finitely, alone, in batches, and at maximum length.

For a model that passes, the scores of a text in a batch equal those that transformers computes for the text
alone. `Classifier` runs the check, and thus serving, model swap, import, and training (for the base and the
result).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from serve_app.errors import InvalidBundleError
from serve_app.model.padding import LENGTHS, Padding, places

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1, torch.float16: 0.02}
"""Maximum difference of equal logits, as a fraction of the largest logit (at least 1). float32 sums in
another order differ by about 1e-6; a wrong forward pass (attention to other texts or to padding, shifted
positions) by over 1e-3. The half precisions have 8 and 11 bits of mantissa."""


def alike(logits: Tensor, plain: Tensor) -> bool:
    """Return whether logits equal the model's plain logits, except for rounding."""
    tolerance = _TOLERANCE.get(plain.dtype, 0.0) * max(1.0, plain.abs().max().item())
    return logits.shape == plain.shape and (logits - plain).abs().max().item() <= tolerance


def check_rows(by_length: Sequence[list[int]], longest: list[int]) -> list[list[int]]:
    """Return token ids of test texts: of unequal lengths, two of equal length, and one of maximum length.

    Args:
        by_length: Token ids of plain sentences, the shortest first.
        longest: Token ids of a text that was truncated at the model's maximum length.
    """
    rows = [by_length[0], by_length[len(by_length) // 2], by_length[-1]]
    turned = rows[-1][:1] + rows[-1][-2:0:-1] + rows[-1][-1:]
    return [*rows, turned, longest]


@torch.inference_mode()
def plain_logits(model: PreTrainedModel, rows: Sequence[Sequence[int]], where: str) -> Tensor:
    """Return the logits of each text alone, (texts, num_labels), as transformers computes them.

    Raises:
        InvalidBundleError: A weight or a logit is not finite, or the model fails on one of the texts.
    """
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and not parameter.float().sum().isfinite():
            raise InvalidBundleError(
                f"{where}: the weight {name} is not finite; the training run diverged, or the file is damaged"
            )
    logits = []
    for row in rows:
        try:
            logits.append(model(input_ids=torch.tensor([row], device=model.device)).logits)
        except Exception as error:  # models raise errors of any class
            raise InvalidBundleError(
                f"{where}: the model fails on a text of {len(row)} tokens: {_first_line(error)}; check that "
                "config.json and the tokenizer are those of the training"
            ) from error
        if logits[-1].shape != (1, model.config.num_labels):
            raise InvalidBundleError(
                f"{where}: the logits of one text have the shape {tuple(logits[-1].shape)}, expected "
                f"(1, {model.config.num_labels}); use a model with one row of scores per text"
            )
        if not logits[-1].isfinite().all():
            raise InvalidBundleError(
                f"{where}: the scores of a plain text of {len(row)} tokens are not finite in {model.dtype}; "
                "the weights are damaged, or the precision is too low; try float32"
            )
    return torch.cat(logits)


@torch.inference_mode()
def choose_padding(
    model: PreTrainedModel,
    tokenizer: Any,
    rows: Sequence[list[int]],
    plain: Tensor,
    where: str,
    accepted: Padding | None = None,
) -> Padding:
    """Return the cheapest padding with which the logits of a batch equal those of each text alone.

    A pad token that is missing in the configuration is taken from the tokenizer, if that keeps the logits
    equal.

    Args:
        model: Model in evaluation mode.
        tokenizer: Tokenizer of the model.
        rows: Token ids of texts.
        plain: Logits of each text alone, (texts, num_labels).
        where: Name of the model in error messages.
        accepted: Padding of an earlier check in another precision: only it, and stricter lengths, are tried.

    Raises:
        InvalidBundleError: The logits differ with every padding, and even if a text runs alone again.
    """
    config = model.config.get_text_config()
    original = config.pad_token_id
    paddings = _paddings(tokenizer, original, model.get_input_embeddings().weight.shape[0])
    if accepted is not None:
        stricter = LENGTHS[LENGTHS.index(accepted.lengths) :]
        paddings = ((original, replace(accepted, lengths=lengths)) for lengths in stricter)
    for pad, padding in paddings:
        config.pad_token_id = pad
        groups = padding.groups([len(row) for row in rows])
        if padding.lengths == "similar":
            groups = [list(range(len(rows)))]  # the maximum amount of padding
        try:
            parts = [
                model(**padding.tensors([rows[index] for index in group], model.device)).logits
                for group in groups
            ]
        except Exception:
            continue  # such as a decoder without a pad token, or BART's count of end tokens
        if alike(torch.cat(parts)[places(groups, plain.device)], plain):
            return padding
    config.pad_token_id = original
    raise InvalidBundleError(
        f"{where}: the scores of {model.config.model_type} for the same text differ between runs or with an "
        "attention mask, so they are not reliable; use another architecture"
    )


def _paddings(tokenizer: Any, original: int | None, embeddings: int) -> Iterator[tuple[int | None, Padding]]:
    """Yield pad tokens for the configuration with paddings to try, the cheapest first."""
    candidates = dict.fromkeys((original, tokenizer.pad_token_id, tokenizer.eos_token_id))
    side = tokenizer.padding_side == "left"
    for pad in candidates:
        if pad is not None and 0 <= pad < embeddings:
            yield pad, Padding(pad, side)
            yield pad, Padding(pad, not side)
            yield pad, Padding(pad, side, "equal")
    yield original, Padding(0, side, "equal")
    yield original, Padding(0, side, "alone")


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
