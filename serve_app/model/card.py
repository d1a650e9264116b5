"""Model card: what the YAML header of a model's README.md states, as on the Hugging Face hub.

Format: https://huggingface.co/docs/hub/model-cards#model-card-metadata
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_log = logging.getLogger("ray.serve")

_CARD = "README.md"
_FENCE = "---"
_MAX_CHARS = 65_536
"""Maximum length of a header; longer ones are ignored."""


@dataclass(frozen=True, slots=True)
class Card:
    """Statements of a model card; empty where it states nothing.

    Attributes:
        languages: Language codes of the texts that the model is for.
        license: Identifier of the licence, or for the identifier "other" its name.
    """

    languages: tuple[str, ...] = ()
    license: str | None = None


def read_card(folder: Path) -> Card:
    """Read the header of a model's card; a missing, unreadable or invalid one is an empty card."""
    try:
        with (folder / _CARD).open(encoding="utf-8") as file:
            head = file.read(_MAX_CHARS)
    except FileNotFoundError:
        return Card()
    except (OSError, UnicodeDecodeError) as error:
        _log.warning("the model card cannot be read", extra={"error": repr(type(error))})
        return Card()
    lines = head.splitlines()
    if not lines or lines[0] != _FENCE or _FENCE not in lines[1:]:
        return Card()
    try:
        header = yaml.safe_load("\n".join(lines[1 : lines.index(_FENCE, 1)]))
    except (yaml.YAMLError, ValueError, RecursionError):  # such as an impossible date, or deep nesting
        _log.warning("the header of the model card is not YAML")
        return Card()
    if not isinstance(header, dict):
        return Card()
    terms = header.get("license")
    if terms == "other":
        terms = header.get("license_name")
    return Card(languages=_strings(header.get("language")), license=", ".join(_strings(terms)) or None)


def _strings(value: Any) -> tuple[str, ...]:
    """Return the strings of a value that may be one string or a list; YAML reads the code `no` as False."""
    values = value if isinstance(value, list) else [] if value is None else [value]
    return tuple("no" if each is False else each for each in values if each is False or isinstance(each, str))
