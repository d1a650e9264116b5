"""Padding: which texts of a batch share a tensor, and how the shorter ones are padded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

_MAX_PADDING_FRACTION = 0.15
"""Maximum fraction of padding in a batch of similar lengths. On a CPU, smaller batches cost less than
padding: see the padded rows of `make bench`."""


Lengths = Literal["similar", "equal", "alone"]
LENGTHS: tuple[Lengths, ...] = get_args(Lengths)
"""Values of `Padding.lengths`, the least strict first."""


@dataclass(frozen=True, slots=True)
class Padding:
    """Padding with which the logits of a batch equal those of each text alone."""

    token: int = 0
    """Id of the pad token."""
    left: bool = False
    """Whether texts are padded on the left."""
    lengths: Lengths = "similar"
    """Texts that may share a tensor: of similar length, of equal length, or none."""

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
        """Divide texts of these lengths, in tokens, into groups that share a tensor; return their indices."""
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
    """Return the position of each text of a batch in its concatenated groups: int64 (texts,)."""
    return torch.tensor([index for group in groups for index in group], device=device).argsort()
