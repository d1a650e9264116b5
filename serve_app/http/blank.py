"""Detection of blank texts: texts without a visible character."""

from __future__ import annotations

import re

# White space, control characters, and Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt):
# zero-width spaces and joiners, byte order mark, soft hyphen, direction marks, variation selectors, tags.
_VISIBLE = re.compile(
    r"[^\s\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    r"\U000e0000-\U000e0fff]"
)


def is_blank(text: str) -> bool:
    """Return whether a text has no visible character."""
    return _VISIBLE.search(text) is None
