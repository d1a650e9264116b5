"""Tiny random classifiers of many architectures, saved with `save_pretrained` like any model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoConfig, PreTrainedTokenizerFast

LABELS = ("bad", "so so", "good")
# fmt: off
WORDS = (
    "the", "a", "and", "i", "it", "is", "was", "we", "you", "room", "staff", "service", "food", "film",
    "book", "price", "very", "not", "never", "too", "good", "great", "fine", "lovely", "bad", "poor",
    "awful", "slow", "dirty", "clean", "friendly", "late", "early", "cold", "warm", "again", "would",
    "come", "back", "recommend", "money", "time", "place", "night", "day", "one", "two", "three",
    "four", "first", "second", "last", "but", "because", "of", "to", "in", "at", "for", "with", "on",
    "my", "our", "their", "this", "that", "there", "were", "had", "has", "have",
)
# fmt: on
_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
VOCABULARY = 320

_ENCODER = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 130,
}
_DECODER = {**_ENCODER, "num_key_value_heads": 2, "head_dim": 8}
_GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
_SEQ2SEQ = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 128,
    "decoder_start_token_id": 2,
}
_T5 = {"d_model": 32, "d_ff": 48, "d_kv": 8, "num_layers": 1, "num_decoder_layers": 1, "num_heads": 4}
_T5["decoder_start_token_id"] = 1
_XLM = {"emb_dim": 32, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 128}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "albert": {**_ENCODER, "embedding_size": 16},
    "bert": _ENCODER,
    "big_bird": {**_ENCODER, "attention_type": "original_full"},
    "camembert": _ENCODER,
    "convbert": {**_ENCODER, "embedding_size": 32},
    "data2vec-text": _ENCODER,
    "deberta": {**_ENCODER, "pooler_hidden_size": 32},
    "deberta-v2": {**_ENCODER, "pooler_hidden_size": 32},
    "distilbert": {
        "dim": 32,
        "n_layers": 2,
        "n_heads": 4,
        "hidden_dim": 48,
        "max_position_embeddings": 128,
    },
    "electra": {**_ENCODER, "embedding_size": 16},
    "ernie": _ENCODER,
    "esm": {**_ENCODER, "position_embedding_type": "absolute", "mask_token_id": 4},
    "eurobert": _DECODER,
    "flaubert": _XLM,
    "fnet": {**_ENCODER, "tpu_short_seq_length": 16},
    "funnel": {"block_sizes": [1, 1], "d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 48},
    "ibert": _ENCODER,
    "lilt": {**_ENCODER, "hidden_size": 48},
    "longformer": {**_ENCODER, "attention_window": 8},
    "megatron-bert": _ENCODER,
    "mobilebert": {**_ENCODER, "embedding_size": 16, "intra_bottleneck_size": 16, "true_hidden_size": 16},
    "modernbert": _ENCODER,
    "mpnet": _ENCODER,
    "nomic_bert": _ENCODER,
    "nystromformer": {**_ENCODER, "num_landmarks": 8, "segment_means_seq_len": 8},
    "rembert": {**_ENCODER, "input_embedding_size": 16, "output_embedding_size": 16},
    "roberta": _ENCODER,
    "roberta-prelayernorm": _ENCODER,
    "roformer": {**_ENCODER, "embedding_size": 32},
    "squeezebert": {**_ENCODER, "embedding_size": 32},
    "xlm": _XLM,
    "xlm-roberta": _ENCODER,
    "xlm-roberta-xl": _ENCODER,
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48},
    "xmod": {**_ENCODER, "languages": ["en_XX"], "default_language": "en_XX", "adapter_reduction_factor": 2},
    "bart": _SEQ2SEQ,
    "mbart": _SEQ2SEQ,
    "mvp": _SEQ2SEQ,
    "plbart": _SEQ2SEQ,
    "mt5": _T5,
    "t5": _T5,
    "umt5": _T5,
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "ctrl": {"n_embd": 32, "n_layer": 2, "n_head": 4, "dff": 48, "n_positions": 128},
    "falcon": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
    "gemma": _DECODER,
    "gemma2": _DECODER,
    "gpt2": _GPT,
    "gpt_bigcode": _GPT,
    "gpt_neo": {
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
        "max_position_embeddings": 128,
    },
    "gpt_neox": _ENCODER,
    "gptj": {**_GPT, "rotary_dim": 4},
    "llama": _DECODER,
    "mistral": _DECODER,
    "mixtral": {**_DECODER, "num_local_experts": 4},
    "openai-gpt": _GPT,
    "opt": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "ffn_dim": 48,
        "word_embed_proj_dim": 32,
        "max_position_embeddings": 128,
    },
    "phi": _ENCODER,
    "phi3": {**_ENCODER, "num_key_value_heads": 2},
    "qwen2": _DECODER,
    "qwen3": _DECODER,
    "stablelm": {**_ENCODER, "num_key_value_heads": 2},
}
DECODERS = frozenset(list(ARCHITECTURES)[list(ARCHITECTURES).index("bloom") :])
NO_PAD = frozenset({"gpt2", "gpt_neo", "gptj", "llama", "mistral", "qwen2"})
"""Architectures whose configuration and tokenizer have no pad token here, as on the Hugging Face Hub."""


def build_tokenizer(*, words: tuple[str, ...] = WORDS) -> PreTrainedTokenizerFast:
    """Return an encoder's tokenizer: words, letters as word pieces, RoBERTa's special tokens."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = dict.fromkeys([*_SPECIAL, *words, *letters, *(f"##{c}" for c in letters), *".,!?;'<>/[]"])
    backend = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="<unk>"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        unk_token="<unk>",
        cls_token="<s>",
        sep_token="</s>",
        bos_token="<s>",
        eos_token="</s>",
        mask_token="<mask>",
        model_max_length=64,
    )


def build_decoder_tokenizer(*, pad: bool) -> PreTrainedTokenizerFast:
    """Return a decoder's tokenizer: bytes, and no special tokens around a text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: i for i, piece in enumerate([*_SPECIAL, *alphabet])}
    backend = Tokenizer(models.BPE(vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = {"pad_token": "<pad>"} if pad else {}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", model_max_length=64, **special
    )


def save(
    folder: Path,
    architecture: str = "bert",
    *,
    seed: int = 0,
    scale: float = 0.15,
    head: str = "AutoModelForSequenceClassification",
    labels: tuple[str, ...] = LABELS,
    **changes: Any,
) -> Path:
    """Save a random model; `head` is the transformers class that builds it.

    Its weights are large enough that its answers to different texts differ.
    """
    torch.manual_seed(seed)
    tokens = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    settings = {"vocab_size": VOCABULARY, **tokens, **ARCHITECTURES[architecture], **changes}
    if head.endswith("ForSequenceClassification"):
        settings |= {
            "id2label": dict(enumerate(labels)),
            "label2id": {label: i for i, label in enumerate(labels)},
        }
    if architecture in NO_PAD and "pad_token_id" not in changes:
        settings["pad_token_id"] = None
    config = AutoConfig.for_model(architecture, **settings)
    model = getattr(transformers, head).from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name.lower():
                parameter.normal_(0, scale)
    model.save_pretrained(folder)
    decoder = architecture in DECODERS
    own = build_decoder_tokenizer(pad=architecture not in NO_PAD) if decoder else build_tokenizer()
    own.save_pretrained(folder)
    return folder
