"""Privacy levels of logged texts: full text, redacted text, or only a hash."""

from __future__ import annotations

import hashlib
import re

from serve_app.settings import LogPrivacy

# Each pattern runs in linear time: quantifiers are possessive (no backtracking), and no character is read
# again from a later start. Therefore _MAIL also matches a run that is not a mail address, with group 1 unset:
# otherwise a search would read the run again from each of its characters.
_URL = re.compile(r"\b(?:https?://|www\.)\S++", re.IGNORECASE)
_MAIL = re.compile(r"[\w.+-]++(@[\w-]++(?:\.[\w-]++)++)?")
_NAME = re.compile(r"(?<!\w)@\w++")
_NUMBER = re.compile(r"\d++(?:[.,:/ -]\d++)*+")


def kept_text(text: str, privacy: LogPrivacy) -> str | None:
    """Return the text as the log may store it, or None if it may not."""
    if privacy == "full":
        return text
    return redacted(text) if privacy == "redacted" else None


def redacted(text: str) -> str:
    """Return the text with mail addresses, URLs, @names and numbers replaced by placeholders such as <mail>.

    Names of people without @ are not replaced: no pattern distinguishes them from other words.
    """
    text = _URL.sub("<url>", text)
    if "@" in text:
        text = _MAIL.sub(lambda found: "<mail>" if found[1] else found[0], text)
    return _NUMBER.sub("<number>", _NAME.sub("<name>", text))


def digest(text: str) -> str:
    """Return the SHA-256 of the text in UTF-8, in hexadecimal.

    It identifies equal texts. It does not hide a text from somebody who can guess it.
    """
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
