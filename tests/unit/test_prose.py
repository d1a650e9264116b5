"""Tests of the prose check: the texts that it counts, and the conditions under which it fails."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.lint.prose import PACKAGES, ROOT, Config, Measured, faults, load_config, measure

CONFIG = load_config()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for package in PACKAGES:
        (tmp_path / package).mkdir()
    (tmp_path / "README.md").write_text("")
    return tmp_path


def idioms(tree: Path, package: str) -> dict[str, int]:
    return dict(measure(tree, Config(2.0, {}, CONFIG.idiom))[package].idioms)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("module.py", '"""Held\nagainst the rest."""'),
        ("comment.py", "x = 1  # held against the rest"),
        ("attribute.py", 'x = 1\n"""Held against the rest."""'),
        ("help.py", 'add("--x", help="held against" + " the rest")'),
        ("description.py", 'Field(description=f"{x} held against")'),
        ("error.py", 'raise ValueError(f"{x}: held against {y}")'),
        ("log.py", '_log.warning("held against the rest")'),
        ("message.py", 'reason = [f"{x} is held against {y}"]'),
        ("page.md", "Held against the rest."),
        ("settings.toml", "x = 1  # held against the rest"),
        ("manifest.yaml", "# held against the rest"),
        ("main.tf", '  description = "held against the rest"'),
    ],
)
def test_counts_an_idiom_in(tree: Path, name: str, text: str) -> None:
    (tree / "train" / name).write_text(text)
    assert idioms(tree, "train") == {"held against": 1}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("key.py", 'KEYS = ["held against"]'),
        ("quoted.py", '"""Return `held against`."""'),
        ("page.md", "The option `held against`.\n\n```bash\nsay hello\n```\n"),
        ("part.md", "A wholesale lookup was relayed."),
    ],
)
def test_does_not_count_code_or_parts_of_words(tree: Path, name: str, text: str) -> None:
    (tree / "train" / name).write_text(text)
    assert idioms(tree, "train") == {}


def test_does_not_count_sample_texts(tree: Path) -> None:
    (tree / "train" / "texts.py").write_text('"""Sample texts."""\nTEXTS = ["held against the rest"]')
    config = Config(2.0, {}, CONFIG.idiom, frozenset({"train/texts.py"}))
    assert measure(tree, config)["train"].idioms == {}
    assert measure(tree, config)["train"].words == 2


def test_measures_a_folder_with_its_own_limit_separately(tree: Path) -> None:
    (tree / "train" / "drift").mkdir()
    (tree / "train" / "drift" / "page.md").write_text("Anew.")
    measured = measure(tree, Config(2.0, {"train/drift": 9}, CONFIG.idiom))
    assert (measured["train"].words, measured["train/drift"].words) == (0, 1)


@pytest.mark.parametrize(
    ("idiom_words", "limits", "message"),
    [
        (2, {}, ""),
        (3, {}, "train: 3.0 idiom words per 1,000 words, expected at most 2.0"),
        (3, {"train": 3}, ""),
        (4, {"train": 3}, "expected at most 3"),
        (3, {"train": 4}, "lower it to 3"),
        (2, {"train": 3}, "delete the entry"),
    ],
)
def test_fails_above_the_limit_and_where_a_limit_could_fall(
    idiom_words: int, limits: dict[str, int], message: str
) -> None:
    measured = {"train": Measured(1000, Counter({"anew": idiom_words}))}
    messages = faults(measured, Config(2.0, limits, CONFIG.idiom))
    assert len(messages) == bool(message)
    assert all(message in text for text in messages)


def test_every_limit_of_the_project_is_its_measured_figure_rounded_up() -> None:
    assert faults(measure(ROOT, CONFIG), CONFIG) == []
