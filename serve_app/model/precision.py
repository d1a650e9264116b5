"""Precision of a model: bfloat16 where the device computes it faster and the model answers the same.

bfloat16 has 8 bits of mantissa, so scores differ a little from those in float32, and how much depends on the
model. With `auto` a model is converted only if its answers to reference texts stay the same.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from serve_app.errors import InvalidBundleError
from serve_app.model.acceptance import plain_logits

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SCORE_TOLERANCE = 0.02
"""Maximum difference of a score of a reference text between the two precisions. The accuracy of the built-in
model in both is in docs/benchmarks/serving.md."""

_CPU_INSTRUCTIONS = ("amx_bf16", "avx512_bf16")
_MIN_CUDA_CAPABILITY = (8, 0)  # Ampere, the first with bfloat16 tensor cores

_log = logging.getLogger("ray.serve")


def fastest_dtype(
    device: torch.device,
    *,
    cpu: Mapping[str, object] | None = None,
    cuda: tuple[int, int] | None = None,
) -> torch.dtype:
    """Return the data type in which a device computes matrix products fastest.

    Args:
        device: CPU or CUDA device.
        cpu: Instruction sets of the CPU by name, as `torch.cpu.get_capabilities`; None for this CPU.
        cuda: Compute capability of the GPU; None for that of `device`.
    """
    if device.type == "cuda":
        capability = cuda or torch.cuda.get_device_capability(device)
        return torch.bfloat16 if capability >= _MIN_CUDA_CAPABILITY else torch.float16
    capabilities = torch.cpu.get_capabilities() if cpu is None else cpu
    return torch.bfloat16 if any(capabilities.get(name) for name in _CPU_INSTRUCTIONS) else torch.float32


def convert_if_equal(
    model: PreTrainedModel,
    dtype: torch.dtype,
    device: torch.device,
    rows: Sequence[Sequence[int]],
    scores: Callable[[Tensor], Tensor],
    where: str,
) -> PreTrainedModel:
    """Return the model on the device in `dtype` if it then answers the same, otherwise in float32.

    Args:
        model: Model in float32 on the CPU, in evaluation mode.
        dtype: Data type to use if possible.
        device: Device on which the model will serve.
        rows: Token ids of reference texts.
        scores: Computes scores from logits; both (texts, num_labels).
        where: Name of the model in messages.

    Raises:
        InvalidBundleError: The model fails on one of the texts in float32.
    """
    if dtype != torch.float32:
        exact = scores(plain_logits(model, rows, where).float())
        # deepcopy takes these parameters instead of copying those in float32 first.
        memo = {
            id(parameter): torch.nn.Parameter(parameter.detach().to(device, dtype), requires_grad=False)
            for parameter in model.parameters()
        }
        converted = copy.deepcopy(model, memo).to(device=device, dtype=dtype)
        try:
            difference = find_difference(exact, scores(plain_logits(converted, rows, where).float().cpu()))
        except InvalidBundleError as error:  # a value exceeds the range of the data type
            difference = str(error)
        if difference is None:
            return converted
        del converted
        name = str(dtype).removeprefix("torch.")
        _log.warning(f"{where} is served in float32, not in {name}: {difference}")
    return model.to(device=device)


def find_difference(exact: Tensor, scores: Tensor) -> str | None:
    """Return how scores differ from the exact ones, both (texts, num_labels); None if they are the same.

    They are the same if every text has the same label and no score differs by more than `SCORE_TOLERANCE`.
    """
    if changed := int((exact.argmax(dim=-1) != scores.argmax(dim=-1)).sum()):
        return f"{changed} of {len(exact)} reference texts get another label"
    largest = (exact - scores).abs().max().item()
    if not largest <= SCORE_TOLERANCE:  # also true if it is not a number
        return f"a score of a reference text differs by {largest:.3f}, maximum {SCORE_TOLERANCE}"
    return None
