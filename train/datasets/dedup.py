"""Normalisation keys of texts, of letters and digits, and their hashes: equal keys mean the same text.

Keys are compared by 64 bits of their SHA-256: among ten million texts, two different ones share a hash with a
probability of about 3 in a million (birthday bound, n² / 2⁶⁵).
"""

import hashlib
import unicodedata


def text_key(text: str) -> str:
    """Return the key of a text: NFKC, case folded, letters and digits only."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


def word_keys(text: str) -> list[str]:
    """Return the keys of the words that have letters or digits, in order; joined, they are `text_key`."""
    return [key for word in text.split() if (key := text_key(word))]


def hash64(text: str) -> int:
    """Return the first 8 bytes of the SHA-256 as a number: uniform over 0 to 2^64 - 1, deterministic."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


NO_KEY = hash64("")
"""Hash of a text without a letter or a digit."""
