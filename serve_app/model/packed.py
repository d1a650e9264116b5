"""The packed forward: the texts of a batch as one row of tokens, without padding.

A padded batch pays for its longest text as often as it has texts. Here the texts lie end to end as one row:
embeddings, linear layers and norms see real tokens only, position ids restart at each text, attention stays
inside each text, and the head sees each text's first token. The logits are the plain model's.

No model is rewritten for it. Three things are hung onto a transformers model from outside:

    attention       an AttentionInterface function that attends text by text
    the last layer  a hook drops all but the first tokens before the feed-forward, for nobody reads the others
                    (where the layer is built like BERT's; an eighth of the work of a six-layer model)
    the encoder     a hook hands each text's first token to the head, as a batch of one-token sequences

On a CPU all of it is then recorded as a graph. Whether this is right for an architecture is not looked up in
a list: `pack` compares the logits with the plain model's before it says yes to the row, and to the graph.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from serve_app.model.acceptance import alike
from serve_app.model.graph import Graph, Row

_ATTENTION = "packed"
_CHECK_LENGTHS = ((7, 3, 12), (5,), (2, 9, 4, 12, 6))
"""Tokens of the texts of each made-up batch: a graph recorded with the first must be right for the others."""

_REFUSALS = (RuntimeError, TypeError, ValueError, AttributeError, IndexError, OSError)
"""What a forward raises that takes no packed row, or cannot be recorded: TorchScript reads sources."""


class _Call(threading.local):
    """The call that runs in this thread: where each text of its row starts, int64 (texts,)."""

    starts = torch.zeros(0, dtype=torch.long)


class PackedModel:
    """A sequence-classification model whose forward takes a whole batch as one row of tokens.

    Thread-safe: what the hooks need to know of a call is kept by thread.

    Attributes:
        graph: the forward without the interpreter, where it was recorded and gives the same answers.
    """

    graph: Graph | None = None

    def __init__(self, model: PreTrainedModel, encoder: nn.Module) -> None:
        self._model = model
        self._first_position = first_position(model)
        self._call = _Call()
        model.set_attn_implementation(_ATTENTION)
        self._hooks = [encoder.register_forward_hook(self._hand_first_tokens_to_head)]
        last_output = _last_attention_output(encoder)
        self._trimmed = last_output is not None
        if last_output is not None:
            self._hooks.append(last_output.register_forward_pre_hook(self._drop_all_but_first_tokens))

    def logits(self, batch: Sequence[Sequence[int]], *, eager: bool = False) -> Tensor:
        """Answer a batch of tokenised texts.

        Args:
            batch: token ids of each text, special tokens included; of any lengths, none empty.
            eager: run module by module, so that the hooks of others on the model are called.

        Returns:
            logits: (len(batch), num_labels), in the order of the batch, in the model's dtype, on its device.
        """
        row = self._row(batch)
        if self.graph is None or eager:
            return self._eager(*row, longest=max(map(len, batch)))
        return self.graph(row)

    def record(self, batch: Sequence[Sequence[int]]) -> None:
        """Run as a graph from now on, recorded with a batch.

        Raises:
            RuntimeError: the model cannot be recorded.
        """
        self.graph = Graph(self._model, self._eager, self._row(batch))

    def undo(self) -> None:
        """Make the model plain again: no graph, no hooks, torch's own attention."""
        self.graph = None
        for hook in self._hooks:
            hook.remove()
        self._model.set_attn_implementation("sdpa")

    def _row(self, batch: Sequence[Sequence[int]]) -> Row:
        # By numpy: each operation of torch lets go of the interpreter's lock, and then waits for it again.
        lengths = np.fromiter(map(len, batch), np.int64, len(batch))
        boundaries = np.zeros(len(batch) + 1, np.int32)
        lengths.cumsum(out=boundaries[1:])
        tokens = int(boundaries[-1])
        input_ids = np.fromiter(itertools.chain.from_iterable(batch), np.int64, tokens)
        position_ids = np.arange(tokens) - boundaries[:-1].repeat(lengths) + self._first_position
        row, device = (input_ids[None], position_ids[None], boundaries), self._model.device
        ids, positions, ends = (torch.from_numpy(part).to(device) for part in row)
        return ids, positions, ends

    def _eager(
        self, input_ids: Tensor, position_ids: Tensor, boundaries: Tensor, longest: int | None = None
    ) -> Tensor:
        self._call.starts = boundaries[:-1].long()
        output = self._model(
            input_ids=input_ids, position_ids=position_ids, cu_seq_lens_q=boundaries, max_length_q=longest
        )
        logits: Tensor = output.logits
        return logits

    def _drop_all_but_first_tokens(self, _module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(arg.index_select(1, self._call.starts) for arg in args)

    def _hand_first_tokens_to_head(self, _module: nn.Module, _args: Any, output: Any) -> Any:
        hidden = output.last_hidden_state
        if not self._trimmed:
            hidden = hidden.index_select(1, self._call.starts)
        output.last_hidden_state = hidden.transpose(0, 1)  # (1, texts, hidden) -> (texts, 1, hidden)
        return output


@torch.inference_mode()
def pack(model: PreTrainedModel) -> PackedModel | None:
    """Give the model its packed forward, or None where that would change its answers.

    Args:
        model: in eval mode, on the device and in the dtype in which it will serve.

    Returns:
        The packed model (the plain one is changed under it), or None with the plain model as it was: the
        encoder is not found, the forward refuses a packed row, or its logits differ (a head that pools over
        all tokens, attention with its own position bias, a decoder).
    """
    base = model.base_model
    encoder = getattr(base, "encoder", None) or getattr(base, "transformer", None)
    if not isinstance(encoder, nn.Module) or not getattr(model, "_supports_attention_backend", False):
        return None
    tokens = itertools.cycle(range(5, min(model.config.vocab_size, 1000)))  # clear of the special tokens
    batches = [[list(itertools.islice(tokens, length)) for length in lengths] for lengths in _CHECK_LENGTHS]
    plain = [
        torch.cat([model(input_ids=torch.tensor([ids], device=model.device)).logits for ids in batch])
        for batch in batches
    ]
    packed = PackedModel(model, encoder)

    def answers_alike() -> bool:
        try:
            return all(
                alike(packed.logits(batch), logits) for batch, logits in zip(batches, plain, strict=True)
            )
        except _REFUSALS:
            return False

    if not answers_alike():
        packed.undo()
        return None
    if model.device.type == "cpu":
        with suppress(*_REFUSALS):
            packed.record(batches[0])
        if not answers_alike():
            packed.graph = None
    return packed


def first_position(model: PreTrainedModel) -> int:
    """The id of a text's first position: RoBERTa's kin count from padding_idx + 1, the others from 0."""
    positions = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    padding_idx = getattr(positions, "padding_idx", None)
    return 0 if padding_idx is None else padding_idx + 1


def _attend_text_by_text(
    _module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _attention_mask: Tensor | None,
    *,
    cu_seq_lens_q: Tensor,
    max_length_q: int,
    scaling: float | None = None,
    **_unused: Any,
) -> tuple[Tensor, None]:
    """Attention inside each text of a packed row.

    Args:
        query: (1, heads, tokens, head_size).
        key: as query.
        value: as query.
        cu_seq_lens_q: int32 (texts + 1,), where each text begins, and the end.
        max_length_q: tokens of the longest text.
        scaling: factor of the scores; None for 1/sqrt(head_size).

    Returns:
        (1, tokens, heads, head_size), and None for the weights, which are not kept.
    """
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        q, k, v = (tensor.squeeze(0).transpose(0, 1) for tensor in (query, key, value))
        ends, longest = cu_seq_lens_q, max_length_q
        attended = cast("Tensor", varlen_attn(q, k, v, ends, ends, longest, longest, scale=scaling))
        return attended.unsqueeze(0), None
    return _attend(query, key, value, cu_seq_lens_q, scaling), None


@torch.jit.script_if_tracing  # type: ignore[untyped-decorator]
def _attend(query: Tensor, key: Tensor, value: Tensor, boundaries: Tensor, scaling: float | None) -> Tensor:
    lengths: list[int] = boundaries.long().diff().tolist()
    queries = query.split_with_sizes(lengths, 2)
    keys = key.split_with_sizes(lengths, 2)
    values = value.split_with_sizes(lengths, 2)
    texts: list[Tensor] = []
    for i in range(len(lengths)):
        text = scaled_dot_product_attention(queries[i], keys[i], values[i], scale=scaling)
        texts.append(text.transpose(1, 2))
    return torch.cat(texts, dim=1)


AttentionInterface.register(_ATTENTION, _attend_text_by_text)


def _last_attention_output(encoder: nn.Module) -> nn.Module | None:
    """The module after the last layer's attention, where that layer is built like BERT's."""
    layers = getattr(encoder, "layer", None)
    output = getattr(getattr(layers[-1], "attention", None), "output", None) if layers else None
    return output if isinstance(output, nn.Module) else None
