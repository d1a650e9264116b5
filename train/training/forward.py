"""Forward passes of a classifier over tokenised texts, in groups of similar lengths."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from serve_app.model.padding import Padding
from train.training.batches import FORWARD_COST_TOKENS, GPU_FORWARD_COST_TOKENS, micro_batches

Logits = npt.NDArray[np.float32]


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Return a context with matrix products in `precision` of `OptimiserSettings`; no change for float32."""
    if precision == "float32" or (precision == "auto" and not _has_bfloat16(device)):
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def groups_of(
    lengths: Sequence[int], budget_tokens: int, device: torch.device, padding: Padding
) -> list[list[int]]:
    """Return `micro_batches` for the device, or groups of equal lengths if padding changes the logits."""
    if padding.lengths != "similar":
        most = [max(1, budget_tokens // length) for length in lengths]
        return [
            group[begin : begin + most[group[0]]]
            for group in padding.groups(lengths)
            for begin in range(0, len(group), most[group[0]])
        ]
    cost = GPU_FORWARD_COST_TOKENS if device.type == "cuda" else FORWARD_COST_TOKENS
    return micro_batches(lengths, budget_tokens, cost)


def predict(
    model: Any,
    token_ids: Sequence[Sequence[int]],
    *,
    padding: Padding,
    device: torch.device,
    precision: str = "float32",
    budget_tokens: int = 8192,
) -> Logits:
    """Return the logits of each text, in order: float32 (texts, labels). Leaves the model in eval mode."""
    model.eval()
    rows: list[npt.NDArray[np.float32] | None] = [None] * len(token_ids)
    for group in groups_of([len(text) for text in token_ids], budget_tokens, device, padding):
        inputs = padding.tensors([token_ids[i] for i in group], device)
        with torch.inference_mode(), autocast(device, precision):
            logits = model(**inputs).logits.float().cpu().numpy()
        for i, row in zip(group, logits, strict=True):
            rows[i] = row
    return np.array(rows, dtype=np.float32)
