"""Classifier: tokenises texts, and computes logits and scores on the device."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel
from transformers.utils import logging as transformers_logging

from serve_app.errors import InvalidBundleError
from serve_app.model import lora
from serve_app.model.acceptance import alike, check_rows, choose_padding, plain_logits
from serve_app.model.head import Head, heads
from serve_app.model.hf_folder import refuse_regression
from serve_app.model.packed import PackedModel, first_position, pack
from serve_app.model.padding import Padding, places
from serve_app.model.precision import convert_if_equal, fastest_dtype
from serve_app.model.recorded import RecordedSettings, write_recording
from serve_app.model.resolver import Bundle
from serve_app.model.scorer import EncodedText, Scorer, use_threads
from serve_app.model.tokenizer import SENTENCES, load_tokenizer

_SHORT_CHECKS = 4
"""Number of test texts of the acceptance check that run in all variants; the last text, the longest, runs
alone."""

_MOST_CHECKED_TOKENS = 1024
"""Maximum length of that longest text: 512 tokens cost about as much as a full batch."""

_DEFAULT_MAX_LENGTH = 512
"""Maximum number of tokens per text for models without a limit on positions."""


class Classifier(Scorer):
    """Sequence-classification model on its device, loaded with transformers; see `Scorer`.

    Attributes:
        padding: Padding of batches that are not packed.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: str = "auto",
        dtype: str = "auto",
        auto_dtype: torch.dtype | None = None,
        threads: int | None = None,
        packed: bool = True,
    ) -> None:
        """Load a bundle.

        Args:
            bundle: Verified bundle from the store.
            device: "cpu", "cuda", or "auto" for CUDA if it is available.
            dtype: "float32", "bfloat16", "float16", or "auto" for `auto_dtype` if the model answers the same
                in it, otherwise float32.
            auto_dtype: Data type that "auto" tries; None for the fastest of the device.
            threads: Number of CPU threads of the forward pass; None for torch's default.
            packed: Whether to use the packed forward if possible; False for comparisons.

        Raises:
            InvalidBundleError: The files are not a sequence-classification model, do not match the manifest,
                or the model does not pass the acceptance check.
        """
        if threads is not None:
            use_threads(threads)
        self.labels = bundle.manifest.labels
        self._temperature = bundle.manifest.temperature
        model, tokenizer = _load(bundle)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.max_length = _max_length(bundle.manifest.max_length, tokenizer, model)
        self.activation = _activation(model)
        self._unknown_id: int | None = tokenizer.unk_token_id
        self._tokenizer = tokenizer.backend_tokenizer
        self._tokenizer.enable_truncation(self.max_length, direction=tokenizer.truncation_side)
        _refuse_unembedded(tokenizer, model, bundle.uri)

        self._check = self._check_texts()
        model = model.eval()
        where = torch.device(device)
        auto_dtype = auto_dtype or fastest_dtype(where)
        target = auto_dtype if dtype == "auto" else getattr(torch, dtype)
        is_final = target == torch.float32 and where.type == "cpu"
        padding, packed_model = self._accept(model, tokenizer, bundle.uri, packed=packed, graph=is_final)
        if not is_final:
            # In half precision rounding hides small effects of padding and packing, so both checks count.
            if packed_model is not None:
                packed_model.undo()
            if dtype == "auto":
                references = [item.ids for item in self.preprocess(self._known_sentences())]
                model = convert_if_equal(model, target, where, references, self._scores, bundle.uri)
            else:
                model = model.to(device=where, dtype=target)
            padding, packed_model = self._accept(
                model, tokenizer, bundle.uri, packed=packed_model is not None, graph=True, accepted=padding
            )
        self._model, self._packed, self.padding = model, packed_model, padding
        self.device = str(model.device)
        self.dtype = str(model.dtype).removeprefix("torch.")
        self._check = self._check[:_SHORT_CHECKS]

    def _accept(
        self,
        model: PreTrainedModel,
        tokenizer: Any,
        uri: str,
        *,
        packed: bool,
        graph: bool,
        accepted: Padding | None = None,
    ) -> tuple[Padding, PackedModel | None]:
        """Return the padding, and the packed model if it is possible, with which the logits are the same.

        Args:
            model: Model in evaluation mode.
            tokenizer: Tokenizer of the model.
            uri: Name of the model in error messages.
            packed: Whether to pack the model if possible.
            graph: Whether to record the packed forward pass on a CPU.
            accepted: See `choose_padding`.

        Raises:
            InvalidBundleError: The model does not pass the acceptance check.
        """
        rows = [item.ids for item in self._check]
        plain = plain_logits(model, rows, uri)[:_SHORT_CHECKS]
        rows = rows[:_SHORT_CHECKS]
        padding = choose_padding(model, tokenizer, rows, plain, uri, accepted)
        packed_model = pack(model, graph=graph) if packed else None
        if packed_model is not None and not alike(packed_model.logits(rows), plain):
            packed_model.undo()
            packed_model = None
        return padding, packed_model

    @property
    def packed(self) -> bool:
        """Whether batches run as one row of tokens without padding."""
        return self._packed is not None

    @property
    def graph(self) -> bool:
        """Whether batches run as a TorchScript graph, without the Python interpreter."""
        return self._packed is not None and self._packed.graph is not None

    @torch.inference_mode()
    def logits(self, batch: Sequence[EncodedText], *, eager: bool = False) -> Tensor:
        """Return logits, (len(batch), num_labels), before the temperature, in the order of the batch.

        With `eager` the model's modules run instead of a graph, so that hooks on them are called.
        """
        if self._packed is not None:
            return self._packed.logits([item.ids for item in batch], eager=eager)
        groups = self.padding.groups([item.tokens for item in batch])
        logits = torch.cat([self.padded_logits([batch[index].ids for index in group]) for group in groups])
        return logits[places(groups, logits.device)]

    @torch.inference_mode()
    def logits_and_embeddings(self, batch: Sequence[EncodedText]) -> tuple[Tensor, Tensor]:
        """Return logits and embeddings, the inputs of the model's head, from one forward pass.

        Args:
            batch: At least one text.

        Returns:
            logits: (len(batch), num_labels), before the temperature.
            embeddings: (len(batch), hidden_size), of the token that the head reads, pooled if the model pools
            before the head. Both in the order of the batch.

        Raises:
            InvalidBundleError: The model has no head whose input alone determines the logits.
        """
        return self._read(batch, self._head)

    @torch.inference_mode()
    def logits_of_embeddings(self, embeddings: Tensor) -> Tensor:
        """Compute logits from embeddings with the model's head.

        Args:
            embeddings: (texts, hidden_size), as `logits_and_embeddings` returns them.

        Returns:
            logits: (texts, num_labels), before the temperature.

        Raises:
            InvalidBundleError: The model has no head whose input alone determines the logits.
        """
        return self._head.logits(embeddings.to(device=self._model.device, dtype=self._model.dtype))

    def computed_tokens(self, lengths: Sequence[int]) -> int:
        """Return the number of tokens, with padding, that a batch of texts of these lengths computes."""
        if self._packed is not None:
            return sum(lengths)
        return sum(max(lengths[i] for i in group) * len(group) for group in self.padding.groups(lengths))

    def record_to(self, folder: Path) -> None:
        """Write a recording of the packed model into an existing folder; requires `graph`."""
        assert self._packed is not None and self._packed.graph is not None
        settings = RecordedSettings(
            labels=self.labels,
            temperature=self._temperature,
            activation=self.activation,
            max_length=self.max_length,
            dtype=self.dtype,
            first_position=self._packed.first_position,
            unknown_id=self._unknown_id,
            structure=self._packed.graph.structure,
            checked=[item.ids for item in self._check],
        )
        logits = self.logits(self._check)
        write_recording(folder, settings, self._packed.graph, logits, self._tokenizer)

    def close(self) -> None:
        """Remove the packed forward from the model. No call may be running, and none may follow.

        Model and hooks reference each other. Without this cycle, the model's memory is freed with the last
        reference; the cycle collector would not free it, because Serve freezes the objects that exist at the
        start.
        """
        if self._packed is not None:
            self._packed.undo()

    def _known_sentences(self) -> list[str]:
        """Return the test sentences of which the tokenizer knows a part, the shortest first."""
        lengths = {text: len(self._tokenizer.encode(text).ids) for text in SENTENCES}
        return sorted(filter(lengths.__getitem__, SENTENCES), key=lengths.__getitem__)

    def _check_texts(self) -> list[EncodedText]:
        """Return the acceptance check's texts; the last has the model's maximum length, up to a bound."""
        sentences = self._known_sentences()
        widest = sentences[-1]
        length = len(self._tokenizer.encode(widest).ids)
        times = min(self.max_length, _MOST_CHECKED_TOKENS) // max(1, length - 4) + 2
        rows = [item.ids for item in self.preprocess([*sentences, " ".join([widest] * times)])]
        return [EncodedText(row, truncated=False) for row in check_rows(rows[:-1], rows[-1])]

    @cached_property
    def _head(self) -> Head:
        for head in heads(self._model):
            try:
                logits, embeddings = self._read(self._check, head)
                if alike(head.logits(embeddings), logits):
                    return head
            except (RuntimeError, TypeError, IndexError):
                continue
        raise InvalidBundleError(
            f"{self._model.config.model_type} has no head whose input alone determines its scores, and thus "
            "no embeddings; use an encoder such as BERT, or a decoder such as Qwen"
        )

    @torch.inference_mode()
    def _read(self, batch: Sequence[EncodedText], head: Head) -> tuple[Tensor, Tensor]:
        """Return the logits, and the input of `head` for each text."""
        with head.inputs() as given:
            logits = self.logits(batch, eager=True)
        if self._packed is not None:
            return logits, head.of_texts(given, [[1] * len(batch)], left=False)
        lengths = [item.tokens for item in batch]
        groups = self.padding.groups(lengths)
        of_groups = [[lengths[index] for index in group] for group in groups]
        embeddings = head.of_texts(given, of_groups, left=self.padding.left)
        return logits, embeddings[places(groups, embeddings.device)]

    @torch.inference_mode()
    def padded_logits(self, rows: Sequence[list[int]]) -> Tensor:
        """Return the logits of texts padded to the longest, (len(rows), num_labels), in their order."""
        logits: Tensor = self._model(**self.padding.tensors(rows, self._model.device)).logits
        return logits


def _load(bundle: Bundle) -> tuple[PreTrainedModel, Any]:
    """Load the model in float32 on the CPU, with its adapter merged, and its tokenizer."""
    weights = bundle.base_folder or bundle.folder
    has_tokenizer = any(
        (bundle.folder / name).exists() for name in ("tokenizer.json", "tokenizer_config.json")
    )
    offline = {"local_files_only": True, "trust_remote_code": False}
    # transformers warns that it initialises the head of a base without one; the head then comes from the
    # adapter.
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
            ignore_mismatched_sizes=True,  # the mismatched sizes are reported below
            **offline,
        )
        merged = lora.merge(model, bundle.folder) if bundle.base_folder is not None else frozenset()
    except InvalidBundleError:
        raise
    except SafetensorError as error:
        raise InvalidBundleError(
            f"{bundle.uri}: the weights, {weights}/*.safetensors, are damaged or incomplete: {error}; copy "
            "or download them again"
        ) from error
    except Exception as error:  # libraries raise errors of any class for files that they cannot read
        raise InvalidBundleError(
            f"{bundle.uri} cannot be loaded as a sequence-classification model: {error}"
        ) from error
    finally:
        transformers_logging.set_verbosity(level)
    if missing := sorted(set(loaded["missing_keys"]) - merged):
        raise InvalidBundleError(
            f"{bundle.uri} has no weights for {', '.join(missing[:4])}: it was not trained as a classifier; "
            "fine-tune it first"
        )
    odd = {name: sizes for name, *sizes in loaded["mismatched_keys"] if name not in merged}
    if odd:
        name, (stored, built) = min(odd.items())
        raise InvalidBundleError(
            f"{bundle.uri}: the weight {name} has the shape {tuple(stored)}; expected {tuple(built)} by "
            f"config.json ({config.num_labels} labels); both files must be of the same model"
        )
    if model.config.num_labels != len(bundle.manifest.labels):
        raise InvalidBundleError(
            f"{bundle.uri}: the model has {model.config.num_labels} labels, the manifest has "
            f"{len(bundle.manifest.labels)}; create the manifest with the model's labels"
        )
    tokenizer = load_tokenizer(bundle.folder if has_tokenizer else weights, where=bundle.uri)
    return model, tokenizer


def _max_length(limit: int | None, tokenizer: Any, model: PreTrainedModel) -> int:
    """Return the bundle's limit, or else the tokenizer's, but at most the model's number of positions."""
    positions = getattr(model.config, "max_position_embeddings", None) or 0
    if positions <= 0:  # such as XLNet's -1, for no limit
        positions = _DEFAULT_MAX_LENGTH + first_position(model)
    return int(min(limit or tokenizer.model_max_length, positions - first_position(model)))


def _refuse_unembedded(tokenizer: Any, model: PreTrainedModel, where: str) -> None:
    """Raise InvalidBundleError if a text may contain a token without an embedding."""
    embeddings = int(model.get_input_embeddings().weight.shape[0])
    added = tokenizer.added_tokens_decoder
    special = {i for i, token in added.items() if token.special}  # texts do not contain these
    if beyond := {i for i in tokenizer.get_vocab().values() if i >= embeddings} - special:
        raise InvalidBundleError(
            f"{where}: the tokenizer has token ids up to {max(beyond)}, the model has only "
            f"{embeddings} embeddings: {len(beyond)} tokens have none; save the tokenizer that the "
            "model was trained with, or resize the model's embeddings and continue its training"
        )


def _activation(model: PreTrainedModel) -> str:
    """Return the function from logits to scores: softmax, or sigmoid for multi-label models."""
    independent = model.config.problem_type == "multi_label_classification" or model.config.num_labels == 1
    return "sigmoid" if independent else "softmax"
