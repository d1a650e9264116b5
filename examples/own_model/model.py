"""Tiny classifier from a configuration, saved as any fine-tuned Hugging Face model is.

Its weights are random, so its answers mean nothing: it stands for the folder that your own training saves.
"""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

LABELS = ("delivery", "price", "quality")
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_MAX_LENGTH = 128
_CORPUS = (
    "The parcel arrived two days late and the box was open.",
    "This is too expensive for what it does.",
    "The fabric feels soft and the colour is exactly as shown.",
)
"""Texts from which the tokenizer learns its pieces; single letters make it read all other words."""


def build(folder: Path) -> Path:
    """Save model and tokenizer into a folder, and return the folder."""
    torch.manual_seed(0)
    tokenizer = _tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=_MAX_LENGTH,
        pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer() -> PreTrainedTokenizerFast:
    pieces = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer(lowercase=True)
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    alphabet = list("abcdefghijklmnopqrstuvwxyz0123456789.,!?'")
    trainer = trainers.WordPieceTrainer(
        vocab_size=400, initial_alphabet=alphabet, special_tokens=list(_SPECIAL), show_progress=False
    )
    pieces.train_from_iterator([*_CORPUS, " ".join(alphabet)], trainer)
    cls, sep = pieces.token_to_id("[CLS]"), pieces.token_to_id("[SEP]")
    pieces.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", cls), ("[SEP]", sep)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=_MAX_LENGTH,
    )
