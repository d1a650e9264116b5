"""Padding: which texts of a batch run as one tensor, and what fills the shorter ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

_MAX_PADDING_FRACTION = 0.15
"""Padding that a batch of similar lengths may carry. On a CPU, smaller batches cost less than padding:
see the padded rows of `make bench`."""


@dataclass(frozen=True, slots=True)
class Padding:
    """The padding under which a model's logits are those of each text alone."""

    token: int = 0
    """Id that fills a row."""
    left: bool = False
    """Whether the filling comes before the text."""
    lengths: Literal["similar", "equal", "alone"] = "similar"
    """Texts that may share a tensor: of similar lengths, of equal lengths, or none."""

    def tensors(self, rows: Sequence[Sequence[int]], device: torch.device) -> dict[str, Tensor]:
        """Return `input_ids` and `attention_mask`, both int64 (texts, longest), in the order of the rows."""
        longest = max(map(len, rows))
        input_ids = torch.full((len(rows), longest), self.token)
        mask = torch.zeros_like(input_ids)
        for index, row in enumerate(rows):
            part = slice(longest - len(row), longest) if self.left else slice(0, len(row))
            input_ids[index, part] = torch.tensor(row)
            mask[index, part] = 1
        return {"input_ids": input_ids.to(device), "attention_mask": mask.to(device)}

    def groups(self, lengths: Sequence[int]) -> list[list[int]]:
        """Divide texts of these lengths, in tokens, into the groups that share a tensor; indices of each."""
        if self.lengths == "alone":
            return [[index] for index in range(len(lengths))]
        most = 0.0 if self.lengths == "equal" else _MAX_PADDING_FRACTION
        groups: list[list[int]] = []
        real = 0
        for index in sorted(range(len(lengths)), key=lengths.__getitem__):
            length = lengths[index]  # the longest so far
            if groups and real + length >= (1 - most) * length * (len(groups[-1]) + 1):
                groups[-1].append(index)
                real += length
            else:
                groups.append([index])
                real = length
        return groups


def places(groups: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """Return where each text of a batch is among its groups laid end to end: int64 (texts,)."""
    return torch.tensor([index for group in groups for index in group], device=device).argsort()
