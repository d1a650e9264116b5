"""Packed forward pass: the texts of a batch as one row of tokens, without padding.

In a padded batch every text costs as much as the longest one. Here the texts are concatenated to one row:
embeddings, linear layers and norms process real tokens only, position ids restart at each text, attention is
limited to each text, and the head reads the first token of each text. The logits equal those of the plain
model.

The model's code is not changed; a transformers model is extended in three places:

    attention       an AttentionInterface function that attends text by text
    the last layer  a hook drops all but the first tokens before the feed-forward, because only these are read
                    (in layers with the structure of BERT's; an eighth of the work of a six-layer model)
    the encoder     a hook passes the first token of each text to the head, as a batch of one-token sequences

On a CPU the forward pass is then recorded as a graph. There is no list of supported architectures: `pack`
compares the logits with those of the plain model before it accepts the packed forward, and the graph.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from serve_app.model.acceptance import alike
from serve_app.model.torchscript import Graph, Row, row_of

_ATTENTION = "packed"
_CHECK_LENGTHS = ((7, 3, 12), (5,), (2, 9, 4, 12, 6))
"""Numbers of tokens of the texts of each test batch. A graph recorded with the first must be correct for the
others."""

_REFUSALS = (RuntimeError, TypeError, ValueError, AttributeError, IndexError, OSError)
"""Errors of a forward pass that does not support packed rows or cannot be recorded (TorchScript reads
sources)."""


class _Call(threading.local):
    """Current call of each thread: index of the first token of each text in the row, int64 (texts,)."""

    starts = torch.zeros(0, dtype=torch.long)


class PackedModel:
    """Sequence-classification model whose forward pass takes a batch as one row of tokens.

    Thread-safe: the state of a call, which the hooks use, is thread-local.

    Attributes:
        graph: Recorded forward pass, or None if it cannot be recorded or its logits differ.
        first_position: Position id of a text's first token.
    """

    graph: Graph | None = None

    def __init__(self, model: PreTrainedModel, encoder: nn.Module) -> None:
        self._model = model
        self.first_position = first_position(model)
        self._call = _Call()
        model.set_attn_implementation(_ATTENTION)
        self._hooks = [encoder.register_forward_hook(self._hand_first_tokens_to_head)]
        last_output = _last_attention_output(encoder)
        self._trimmed = last_output is not None
        if last_output is not None:
            self._hooks.append(last_output.register_forward_pre_hook(self._drop_all_but_first_tokens))

    def logits(self, batch: Sequence[Sequence[int]], *, eager: bool = False) -> Tensor:
        """Return the logits of a batch of tokenised texts.

        Args:
            batch: Token ids of each text, with special tokens; of any length, none empty.
            eager: Whether to run the modules instead of the graph, so that hooks on the model are called.

        Returns:
            logits: (len(batch), num_labels), in the order of the batch, in the model's dtype, on its device.
        """
        if self.graph is None or eager:
            return self._eager(*self._row(batch), longest=max(map(len, batch)))
        return self.graph(batch, self.first_position)

    def record(self, batch: Sequence[Sequence[int]]) -> None:
        """Record the forward pass as a graph with this batch, and use the graph from now on.

        Raises:
            RuntimeError: The model cannot be recorded.
        """
        self.graph = Graph(self._model, self._eager, self._row(batch))

    def undo(self) -> None:
        """Restore the plain model: no graph, no hooks, torch's attention."""
        self.graph = None
        for hook in self._hooks:
            hook.remove()
        self._model.set_attn_implementation("sdpa")

    def _row(self, batch: Sequence[Sequence[int]]) -> Row:
        return row_of(batch, self.first_position, self._model.device)

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
def pack(model: PreTrainedModel, *, graph: bool = True) -> PackedModel | None:
    """Add the packed forward pass to a model, or return None if that would change its logits.

    Args:
        model: Model in eval mode.
        graph: Whether to record the forward pass on a CPU.

    Returns:
        The packed model (the plain model is changed in place), or None with an unchanged plain model: the
        encoder is not found, the forward pass does not support a packed row, or its logits differ (a head
        that pools over all tokens, attention with its own position bias, a decoder).
    """
    base = model.base_model
    encoder = getattr(base, "encoder", None) or getattr(base, "transformer", None)
    if not isinstance(encoder, nn.Module) or not getattr(model, "_supports_attention_backend", False):
        return None
    tokens = itertools.cycle(range(5, min(model.config.vocab_size, 1000)))  # without the special tokens
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
    if graph and model.device.type == "cpu":
        with suppress(*_REFUSALS):
            packed.record(batches[0])
        if not answers_alike():
            packed.graph = None
    return packed


def first_position(model: PreTrainedModel) -> int:
    """Return the id of a text's first position: padding_idx + 1 for models like RoBERTa, otherwise 0."""
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
    """Compute attention within each text of a packed row.

    Args:
        query: (1, heads, tokens, head_size).
        key: Same shape as query.
        value: Same shape as query.
        cu_seq_lens_q: int32 (texts + 1,), index of the first token of each text, and the number of tokens.
        max_length_q: Number of tokens of the longest text.
        scaling: Factor of the scores; None for 1/sqrt(head_size).

    Returns:
        (1, tokens, heads, head_size), and None instead of the weights, which are not computed.
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
    """Return the module after the last layer's attention, if the layer has the structure of BERT's."""
    layers = getattr(encoder, "layer", None)
    output = getattr(getattr(layers[-1], "attention", None), "output", None) if layers else None
    return output if isinstance(output, nn.Module) else None
