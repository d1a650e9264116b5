"""Tests of the documentation: length and form of the pages, links, and the options of documented commands."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
DECISIONS = sorted((DOCS / "adr").glob("0*.md"))
GUIDES = [page for page in PAGES if page not in DECISIONS]
FIGURES = [DOCS / "benchmarks.md", *(DOCS / "benchmarks").glob("*.md")]
MAKEFILE = (ROOT / "Makefile").read_text()
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """Return the page without code blocks and tables."""
    lines = FENCE.sub("", page.read_text()).splitlines()
    return "\n".join(line for line in lines if not line.startswith("|"))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_has_at_most_1800_words_and_120_characters_a_line(page: Path) -> None:
    assert len(prose(page).split()) <= 1800
    lines = enumerate(page.read_text().splitlines(), 1)
    assert [number for number, line in lines if len(line) > 120 and not line.startswith("|")] == []


@pytest.mark.parametrize("page", GUIDES, ids=name)
def test_a_page_begins_with_its_reader_and_the_shortest_command(page: Path) -> None:
    heading, first, *_ = page.read_text().split("\n\n")
    assert heading.startswith("# ")
    # The glossary and the style guide describe words, not a program.
    command = (
        r"" if page.name in ("glossary.md", "style.md") else r".*Shortest (start|command)[^`]*:\s`[^`]+`"
    )
    assert re.match(rf"For {command}", first, re.DOTALL)


@pytest.mark.parametrize("page", [page for page in GUIDES if page not in FIGURES], ids=name)
def test_figures_and_limits_have_one_location(page: Path) -> None:
    text = page.read_text()
    assert not re.findall(r"^#+ .*(?:[Mm]easured|[Nn]ot (?:been )?shown)", text, re.MULTILINE)
    assert "python -m benchmarks" not in text
    assert page.name == "limits.md" or "ot shown:" not in text


def test_the_index_lists_every_page() -> None:
    def linked(page: Path) -> set[Path]:
        return {(page.parent / target).resolve() for target, _ in links(page)}

    indexes = [DOCS / "index.md", DOCS / "benchmarks.md", DOCS / "adr/index.md"]
    listed = set().union(*map(linked, indexes)) | {DOCS / "index.md"}
    assert sorted(map(name, set(PAGES) - listed)) == []


def links(page: Path) -> Iterator[tuple[str, str]]:
    """Yield the relative path and the anchor of each link of a page to a file of the repository."""
    for target in re.findall(r"\]\((?![a-z]+:)([^)\s]+)\)", FENCE.sub("", page.read_text())):
        path, _, anchor = target.partition("#")
        yield path or page.name, anchor


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).exists()]


@pytest.mark.parametrize("page", tracked(), ids=name)
def test_links_lead_to_files_and_anchors(page: Path) -> None:
    dead = []
    for path, anchor in links(page):
        target = page.parent / path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(f"{path}#{anchor}")
    assert dead == []


def test_the_code_names_existing_pages() -> None:
    code = ("*.py", "*.toml", "*.tf", "*.yml", "Makefile")
    listed = subprocess.run(
        ["git", "grep", "-IohE", r"\bdocs/[a-z0-9/-]+\.md", "--", *code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    named = set(listed.stdout.split())
    assert "docs/reliability.md" in named
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


def test_the_readme_fits_on_one_screen() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 60
    assert [language for language, _ in FENCE.findall(text)] == ["bash", "bash"]
    assert "](docs/page.png)" in text
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 120


def commands() -> list[str]:
    """Return the pages' commands that run this project's programs or its Makefile, without comments."""
    found = set()
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *GUIDES]:
        text = page.read_text()
        for language, block in FENCE.findall(text):
            if language == "bash":
                found |= set(block.replace("\\\n", " ").splitlines())
        found |= set(re.findall(r"`([^`]+)`", FENCE.sub("", text)))
    # Keep the first program of a line, without its comment and without command substitutions.
    lines = (re.split(r"\s#|&&|;|\||\$\(", line)[0].split() for line in found)
    return sorted(
        {" ".join(words) for words in lines if words[:1] == ["make"] or words[:2] == ["python", "-m"]}
    )


OURS = re.compile(r"python -m (?:serve_app|train|cluster|loadtest|tests|benchmarks)\b")
PYTHON = [command for command in commands() if OURS.match(command)]
MAKE = [command for command in commands() if command.startswith("make ")]


@pytest.mark.parametrize("command", MAKE)
def test_a_documented_target_and_its_variables_exist(command: str) -> None:
    words = [word for word in command.split()[1:] if "…" not in word]
    variables = [word.partition("=")[0] for word in words if "=" in word]
    targets = [word for word in words if re.fullmatch(r"[a-z][a-z/-]*", word)]
    assert targets, "no target"
    assert [target for target in targets if not re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)] == []
    # Variables such as AWS_… reach the programs through the environment.
    known = re.findall(r"\b[A-Z][A-Z_]+\b", MAKEFILE)
    assert [variable for variable in variables if variable not in known] == []


@pytest.mark.parametrize("command", PYTHON)
def test_the_options_of_a_documented_command_exist(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module, *words = command.split()[2:]
    options = {word.partition("=")[0] for word in words if word.startswith("--")} - {"--help"}
    verbs = []
    for word in words:
        if not re.fullmatch(r"[a-z][a-z_-]*", word):
            break
        verbs.append(word)
    monkeypatch.setattr(sys, "argv", [module, *verbs, "--help"])
    with warnings.catch_warnings(), pytest.raises(SystemExit) as ended:
        warnings.simplefilter("ignore")
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    help_text = capsys.readouterr().out
    assert ended.value.code == 0
    assert sorted(option for option in options if not re.search(rf"{option}\b", help_text)) == []
