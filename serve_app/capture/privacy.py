"""What of a text is kept: all of it, what is left without what points to a person, or nothing but a hash."""

from __future__ import annotations

import hashlib
import re

from serve_app.settings import LogPrivacy

# The time of each is linear in the text: quantifiers are possessive (never give back), and no character is
# read again from a later start. For that, _MAIL also matches a run that begins no mail address, with group 1
# unset: a search would otherwise read the run again from each of its characters.
_URL = re.compile(r"\b(?:https?://|www\.)\S++", re.IGNORECASE)
_MAIL = re.compile(r"[\w.+-]++(@[\w-]++(?:\.[\w-]++)++)?")
_NAME = re.compile(r"(?<!\w)@\w++")
_NUMBER = re.compile(r"\d++(?:[.,:/ -]\d++)*+")


def kept_text(text: str, privacy: LogPrivacy) -> str | None:
    """The text as the log may hold it; None where it may not."""
    if privacy == "full":
        return text
    return redacted(text) if privacy == "redacted" else None


def redacted(text: str) -> str:
    """The text with mail addresses, URLs, @names and numbers replaced by <mail>, <url>, <name>, <number>.

    Names of people that are plain words stay: no pattern tells them from other words.
    """
    text = _URL.sub("<url>", text)
    if "@" in text:
        text = _MAIL.sub(lambda found: "<mail>" if found[1] else found[0], text)
    return _NUMBER.sub("<number>", _NAME.sub("<name>", text))


def digest(text: str) -> str:
    """SHA-256 of the text as it was sent, UTF-8, in hexadecimal.

    It tells equal texts from others. Who can guess a text can check the guess: it is no secret.
    """
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
