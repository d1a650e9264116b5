"""Tiny random models of many architectures, saved like any Hugging Face model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerFast

LETTERS = "abcdefghijklmnopqrstuvwxyz"
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
_COMMON = {"num_labels": 3, "id2label": {0: "bad", 1: "so so", 2: "good"}, "pad_token_id": 0}
_BERT_LIKE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 80,
}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "bert": _BERT_LIKE,
    "roberta": _BERT_LIKE,
    "xlm-roberta": _BERT_LIKE,
    "electra": _BERT_LIKE,
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 80},
    "mpnet": _BERT_LIKE,
    "deberta-v2": _BERT_LIKE,
    "bart": {
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "max_position_embeddings": 80,
        "bos_token_id": 2,
        "decoder_start_token_id": 3,
        "eos_token_id": 3,
    },
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 80},
}
PACKED = ("bert", "roberta", "xlm-roberta", "electra", "distilbert")


def tokenizer(vocabulary: int = 100) -> PreTrainedTokenizerFast:
    """Return a tokenizer of one- and two-letter words, which is enough for texts made of them."""
    words = [*_SPECIAL, *LETTERS, *(a + b for a in LETTERS for b in LETTERS)][:vocabulary]
    backend = Tokenizer(
        models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]")
    )
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
    )


def save(folder: Path, architecture: str = "bert", *, seed: int = 0, **changes: Any) -> Path:
    """Save a random model of an architecture, with weights large enough that its answers differ."""
    torch.manual_seed(seed)
    size = {**_COMMON, **ARCHITECTURES[architecture], **changes}
    config = AutoConfig.for_model(architecture, vocab_size=100, **size)
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.15)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder
