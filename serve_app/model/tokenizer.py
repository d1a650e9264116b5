"""Loading of a model's tokenizer, with a check on plain sentences."""

# ruff: noqa: RUF001  # the sentences are in many scripts

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from serve_app.errors import InvalidBundleError

SENTENCES = (
    "I had a good day at work, and the food was great.",
    "The room was clean, but we waited for an hour and nobody came to help us.",
    "Das Zimmer war sauber, aber das Essen kam zu spät.",
    "Le service était rapide et la chambre très propre.",
    "La habitación estaba limpia y la comida era muy buena.",
    "O quarto estava limpo e a comida era muito boa.",
    "La camera era pulita e il cibo era molto buono.",
    "De kamer was schoon en het eten was erg goed.",
    "Pokój był czysty, a jedzenie bardzo dobre.",
    "Oda temizdi ve yemek çok güzeldi.",
    "Phòng sạch sẽ và đồ ăn rất ngon.",
    "Kamarnya bersih dan makanannya enak sekali.",
    "Комната была чистой, а еда очень вкусной.",
    "Το δωμάτιο ήταν καθαρό και το φαγητό πολύ καλό.",
    "החדר היה נקי והאוכל היה טוב מאוד.",
    "كانت الغرفة نظيفة وكان الطعام جيدا جدا.",
    "اتاق تمیز بود و غذا خیلی خوب بود.",
    "कमरा साफ था और खाना बहुत अच्छा था।",
    "ঘরটি পরিষ্কার ছিল এবং খাবার খুব ভালো ছিল।",
    "அறை சுத்தமாக இருந்தது, உணவு மிகவும் நன்றாக இருந்தது.",
    "ห้องสะอาดและอาหารอร่อยมาก",
    "房间很干净，饭菜也很好吃。",
    "部屋はきれいで、料理もとてもおいしかったです。",
    "방은 깨끗했고 음식도 아주 맛있었습니다.",
)
"""Plain sentences in the languages and scripts of most text classifiers, of unequal lengths."""


def load_tokenizer(folder: Path, *, where: str) -> Any:
    """Load a tokenizer, without the padding and truncation that its file may enable.

    Special tokens in a text (`</s>`, `[SEP]`) are tokenised as plain characters.

    Args:
        folder: Folder of the tokenizer's files.
        where: Name of the model in error messages.

    Raises:
        InvalidBundleError: There is no tokenizer, it is not a fast tokenizer, or it knows no word of plain
            sentences.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # libraries raise errors of any class for files that they cannot read
        raise InvalidBundleError(
            f"{where}: the tokenizer in {folder} cannot be loaded: {error}; save it there with "
            "AutoTokenizer.from_pretrained(...).save_pretrained"
        ) from error
    if not getattr(tokenizer, "is_fast", False):
        raise InvalidBundleError(
            f"{where}: the tokenizer is not a fast tokenizer; save one with a tokenizer.json"
        )
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.encode_special_tokens = True
    _refuse_unknown_only(tokenizer, folder, where)
    return tokenizer


def _refuse_unknown_only(tokenizer: Any, folder: Path, where: str) -> None:
    special = {*tokenizer.all_special_ids, tokenizer.unk_token_id}
    for sentence in SENTENCES:
        if not special.issuperset(tokenizer.backend_tokenizer.encode(sentence).ids):
            return
    files = sorted(path.name for path in folder.iterdir() if "token" in path.name or "vocab" in path.name)
    raise InvalidBundleError(
        f"{where}: the tokenizer in {folder} has {len(tokenizer):,} tokens and knows no word of plain "
        f"sentences in {len(SENTENCES)} languages, so it cannot distinguish texts; its files: "
        f"{', '.join(files) or 'none'}; save the model's own tokenizer into the folder"
    )
