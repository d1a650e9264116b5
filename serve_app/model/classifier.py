"""The classifier: texts to token ids (preprocess), to logits (forward), to scores (postprocess)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel
from transformers.utils import logging as transformers_logging

from serve_app.errors import BundleInvalid, ModelFailure, UnprocessableTextError
from serve_app.model import lora
from serve_app.model.acceptance import alike, check_rows, choose_padding, plain_logits
from serve_app.model.head import Head, heads
from serve_app.model.packed import PackedModel, first_position, pack
from serve_app.model.padding import places
from serve_app.model.plain import refuse_regression
from serve_app.model.store import Bundle
from serve_app.model.tokenizer import SENTENCES, load_tokenizer

WARM_UP_TEXT = "The first text, to warm up the model."
"""A text that every model takes: it also shows whether a device that failed on others still works."""

_SHORT_CHECKS = 4
"""Texts of the admission check that run in every way; the last one, a longest text, runs alone."""

_MOST_CHECKED_TOKENS = 1024
"""Of that longest text: one of 512 tokens costs about as much as a full batch."""

_DEFAULT_MAX_LENGTH = 512
"""Tokens at which a text is cut for a model that has no positions to run out of."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A text as token ids, special tokens included; `unknown_tokens` of them stand for what is not known."""

    ids: list[int]
    truncated: bool
    unknown_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Number of token ids."""
        return len(self.ids)


class Classifier:
    """A sequence-classification model on its device.

    Every method is thread-safe.

    Attributes:
        labels: in the order of the scores.
        max_length: tokens after which a text is cut, special tokens included.
        device: as torch names it, e.g. "cpu" or "cuda:0".
        dtype: e.g. "float32".
        padding: how texts are padded where they do not run as one row without padding.
        packed: whether texts run as one row without padding.
        graph: whether they run as a graph, without the interpreter.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: str = "auto",
        dtype: str = "auto",
        threads: int | None = None,
        packed: bool = True,
    ) -> None:
        """Load a bundle.

        Args:
            bundle: from the store, verified.
            device: "cpu", "cuda", or "auto" for CUDA where there is one.
            dtype: "float32", "bfloat16", "float16", or "auto" for what suits the device.
            threads: CPU threads of the forward; None leaves torch's choice.
            packed: False keeps the padded forward, as a peer to measure against.

        Raises:
            BundleInvalid: the files are no sequence-classification model, or not the manifest's, or the model
                does not pass the admission check.
        """
        if threads is not None:
            use_threads(threads)
        self.labels = bundle.manifest.labels
        self._temperature = bundle.manifest.temperature
        model, tokenizer = _load(bundle)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        where = torch.device(device)
        self._model = model.eval().to(device=where, dtype=_dtype(dtype, where))
        self.device = str(self._model.device)
        self.dtype = str(self._model.dtype).removeprefix("torch.")
        self.max_length = _max_length(bundle.manifest.max_length, tokenizer, model)
        self.activation = _activation(model)
        self._unknown_id: int | None = tokenizer.unk_token_id
        self._tokenizer = tokenizer.backend_tokenizer
        self._tokenizer.enable_truncation(self.max_length, direction=tokenizer.truncation_side)
        _refuse_unembedded(tokenizer, model, bundle.uri)

        self._check = self._check_texts()
        rows = [item.ids for item in self._check]
        plain = plain_logits(self._model, rows, bundle.uri)
        self._check = self._check[:_SHORT_CHECKS]
        rows, plain = rows[:_SHORT_CHECKS], plain[:_SHORT_CHECKS]
        self.padding = choose_padding(self._model, tokenizer, rows, plain, bundle.uri)
        self._packed: PackedModel | None = pack(model) if packed else None
        if self._packed is not None and not alike(self._packed.logits(rows), plain):
            self._packed.undo()
            self._packed = None

    @property
    def packed(self) -> bool:
        """Whether texts run as one row without padding."""
        return self._packed is not None

    @property
    def graph(self) -> bool:
        """Whether they run without the interpreter."""
        return self._packed is not None and self._packed.graph is not None

    def preprocess(self, texts: Sequence[str]) -> list[Encoded]:
        """Tokenise texts; one result per text, in their order.

        Raises:
            UnprocessableTextError: the tokenizer fails on one of them, or gives no token for it.
        """
        try:
            encodings = self._tokenizer.encode_batch_fast(list(texts))
        except Exception:  # whatever the tokenizer raises: which text is it?
            encodings = [self._encode_alone(text, index) for index, text in enumerate(texts)]
        return [
            self._encoded(encoding.ids, bool(encoding.overflowing), index)
            for index, encoding in enumerate(encodings)
        ]

    @torch.inference_mode()
    def forward(self, batch: Sequence[Encoded]) -> list[list[float]]:
        """Score a batch.

        Args:
            batch: at least one text.

        Returns:
            scores: (len(batch), len(labels)), each in 0..1; a row adds up to 1 for a single-label model. In
            the order of the batch.

        Raises:
            ArithmeticError: a score is not finite.
            ModelFailure: the device has no memory left for this batch.
        """
        try:
            logits = self.logits(batch).float() / self._temperature
        except torch.OutOfMemoryError as error:
            raise ModelFailure(f"no memory for a batch of {len(batch)} texts on {self.device}") from error
        if not torch.isfinite(logits).all():
            raise ArithmeticError("a score is not finite")
        independent = self.activation == "sigmoid"
        scores: list[list[float]] = (logits.sigmoid() if independent else logits.softmax(dim=-1)).tolist()
        return scores

    @torch.inference_mode()
    def logits(self, batch: Sequence[Encoded], *, eager: bool = False) -> Tensor:
        """Run the model: (len(batch), num_labels), before temperature, in the order of the batch.

        `eager` runs it module by module, so that hooks on it are called, where else a graph may run.
        """
        if self._packed is not None:
            return self._packed.logits([item.ids for item in batch], eager=eager)
        groups = self.padding.groups([item.tokens for item in batch])
        logits = torch.cat([self.padded_logits([batch[index].ids for index in group]) for group in groups])
        return logits[places(groups, logits.device)]

    @torch.inference_mode()
    def logits_and_embeddings(self, batch: Sequence[Encoded]) -> tuple[Tensor, Tensor]:
        """Run the model, and keep what its head was given of each text: in one pass.

        Args:
            batch: at least one text.

        Returns:
            logits: (len(batch), num_labels), before temperature.
            embeddings: (len(batch), hidden_size), of the token that the head reads, pooled where the model
            pools before it. Both in the order of the batch.

        Raises:
            BundleInvalid: the model has no head whose input alone decides the logits.
        """
        return self._read(batch, self._head)

    @torch.inference_mode()
    def logits_of_embeddings(self, embeddings: Tensor) -> Tensor:
        """Run the head alone.

        Args:
            embeddings: (texts, hidden_size), as `logits_and_embeddings` gives them.

        Returns:
            logits: (texts, num_labels), before temperature.

        Raises:
            BundleInvalid: the model has no head whose input alone decides the logits.
        """
        return self._head.logits(embeddings.to(device=self._model.device, dtype=self._model.dtype))

    def computed_tokens(self, lengths: Sequence[int]) -> int:
        """Tokens that the forward of a batch computes, padding included, for texts of these lengths."""
        if self._packed is not None:
            return sum(lengths)
        return sum(max(lengths[i] for i in group) * len(group) for group in self.padding.groups(lengths))

    def warm_up_batches(self, max_tokens: int, lanes: int) -> Iterator[list[Encoded]]:
        """Texts that make the first real batch no slower than the next, and show the device's throughput.

        One short text, then a full batch for each lane; each twice, since the first one is not measured.

        Args:
            max_tokens: of a batch.
            lanes: batches that run side by side.
        """
        short, longer = self.preprocess([WARM_UP_TEXT, 8 * WARM_UP_TEXT])
        yield from [[short]] * 2
        yield from [[longer] * max(1, max_tokens // longer.tokens) * lanes] * 2

    def close(self) -> None:
        """Take the packed forward off the model. Nothing may be running, or be asked afterwards.

        Model and hooks hold each other. Undone, the model's memory is free with the last reference to it, and
        not when the cycle collector comes by, which Serve has look away from what was there at the start.
        """
        if self._packed is not None:
            self._packed.undo()

    def _check_texts(self) -> list[Encoded]:
        """Texts for the admission check; the last one is as long as the model takes, up to a bound."""
        lengths = {text: len(self._tokenizer.encode(text).ids) for text in SENTENCES}
        sentences = sorted(filter(lengths.__getitem__, SENTENCES), key=lengths.__getitem__)
        widest = sentences[-1]
        times = min(self.max_length, _MOST_CHECKED_TOKENS) // max(1, lengths[widest] - 4) + 2
        rows = [item.ids for item in self.preprocess([*sentences, " ".join([widest] * times)])]
        return [Encoded(row, truncated=False) for row in check_rows(rows[:-1], rows[-1])]

    @cached_property
    def _head(self) -> Head:
        for head in heads(self._model):
            try:
                logits, embeddings = self._read(self._check, head)
                if alike(head.logits(embeddings), logits):
                    return head
            except (RuntimeError, TypeError, IndexError):
                continue
        raise BundleInvalid(
            f"{self._model.config.model_type} has no head whose input alone decides its scores, and so no "
            "embedding to keep; take an encoder such as BERT, or a decoder such as Qwen"
        )

    @torch.inference_mode()
    def _read(self, batch: Sequence[Encoded], head: Head) -> tuple[Tensor, Tensor]:
        """Logits, and what `head` was given of each text."""
        with head.inputs() as given:
            logits = self.logits(batch, eager=True)
        if self._packed is not None:
            return logits, head.of_texts(given, [[1] * len(batch)], left=False)
        lengths = [item.tokens for item in batch]
        groups = self.padding.groups(lengths)
        of_groups = [[lengths[index] for index in group] for group in groups]
        embeddings = head.of_texts(given, of_groups, left=self.padding.left)
        return logits, embeddings[places(groups, embeddings.device)]

    def _encode_alone(self, text: str, index: int) -> Any:
        try:
            return self._tokenizer.encode(text)
        except Exception as error:
            message = f"the tokenizer cannot take this text: {type(error).__name__}"
            raise UnprocessableTextError(message, index) from error

    def _encoded(self, ids: list[int], truncated: bool, index: int) -> Encoded:
        if not ids:
            raise UnprocessableTextError("the tokenizer gives no token for this text", index)
        unknown_tokens = 0 if self._unknown_id is None else ids.count(self._unknown_id)
        return Encoded(ids, truncated, unknown_tokens)

    @torch.inference_mode()
    def padded_logits(self, rows: Sequence[list[int]]) -> Tensor:
        """Run texts padded to the longest of them: (len(rows), num_labels), in their order."""
        logits: Tensor = self._model(**self.padding.tensors(rows, self._model.device)).logits
        return logits


def use_threads(count: int) -> None:
    """Give the forwards of the calling thread so many CPU threads."""
    if count != torch.get_num_threads():
        torch.set_num_threads(count)


def _load(bundle: Bundle) -> tuple[PreTrainedModel, Any]:
    """The model in float32 on the CPU, adapter merged, and its tokenizer."""
    weights = bundle.base_folder or bundle.folder
    has_tokenizer = any(
        (bundle.folder / name).exists() for name in ("tokenizer.json", "tokenizer_config.json")
    )
    offline = {"local_files_only": True, "trust_remote_code": False}
    # The head of a base without one is made anew and then comes from the adapter: no cause for its warning.
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(bundle.folder, **offline)
        refuse_regression(config.problem_type, config.num_labels, bundle.uri)
        model, loaded = AutoModelForSequenceClassification.from_pretrained(
            weights,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that the sizes are known below
            **offline,
        )
        merged = lora.merge(model, bundle.folder) if bundle.base_folder is not None else frozenset()
    except BundleInvalid:
        raise
    except SafetensorError as error:
        raise BundleInvalid(
            f"{bundle.uri}: the weights, {weights}/*.safetensors, are damaged or cut off: {error}; copy or "
            "download them again"
        ) from error
    except Exception as error:  # whatever a library raises for files that it cannot read
        raise BundleInvalid(
            f"{bundle.uri} does not load as a sequence-classification model: {error}"
        ) from error
    finally:
        transformers_logging.set_verbosity(level)
    if missing := sorted(set(loaded["missing_keys"]) - merged):
        raise BundleInvalid(
            f"{bundle.uri} has no weights for {', '.join(missing[:4])}: it was not trained to classify; "
            "fine-tune it first"
        )
    odd = {name: sizes for name, *sizes in loaded["mismatched_keys"] if name not in merged}
    if odd:
        name, (stored, built) = min(odd.items())
        raise BundleInvalid(
            f"{bundle.uri}: the weight {name} is stored as {tuple(stored)}, and config.json ("
            f"{config.num_labels} labels) makes it {tuple(built)}; both files must be of one model"
        )
    if model.config.num_labels != len(bundle.manifest.labels):
        raise BundleInvalid(
            f"{bundle.uri}: the model has {model.config.num_labels} labels, the manifest "
            f"{len(bundle.manifest.labels)}; write the manifest with the model's labels"
        )
    tokenizer = load_tokenizer(bundle.folder if has_tokenizer else weights, where=bundle.uri)
    return model, tokenizer


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def _max_length(wanted: int | None, tokenizer: Any, model: PreTrainedModel) -> int:
    """The bundle's limit, else the tokenizer's, and never more than the model has positions."""
    positions = getattr(model.config, "max_position_embeddings", None) or 0
    if positions <= 0:  # such as XLNet's -1, for no limit
        positions = _DEFAULT_MAX_LENGTH + first_position(model)
    return int(min(wanted or tokenizer.model_max_length, positions - first_position(model)))


def _refuse_unembedded(tokenizer: Any, model: PreTrainedModel, where: str) -> None:
    """Raise BundleInvalid if a text may become a token that the model has no embedding for."""
    embeddings = int(model.get_input_embeddings().weight.shape[0])
    added = tokenizer.added_tokens_decoder
    special = {i for i, token in added.items() if token.special}  # no text becomes one of these
    if beyond := {i for i in tokenizer.get_vocab().values() if i >= embeddings} - special:
        raise BundleInvalid(
            f"{where}: the tokenizer gives token ids up to {max(beyond)}, the model has "
            f"{embeddings} embeddings, so that {len(beyond)} tokens have none; save the tokenizer that the "
            "model was trained with, or resize the model's embeddings and train it on"
        )


def _activation(model: PreTrainedModel) -> str:
    """What makes scores of logits: softmax, or a sigmoid each where labels do not exclude one another."""
    independent = model.config.problem_type == "multi_label_classification" or model.config.num_labels == 1
    return "sigmoid" if independent else "softmax"
