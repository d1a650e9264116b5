"""Prose check: idiom words per 1,000 words of docstrings, comments, messages and docs, by package.

    python -m tests.lint.prose

Prints one line per package and exits with 1 if a package is above its limit (tests/lint/prose.toml).
"""

from __future__ import annotations

import ast
import io
import math
import re
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("serve_app", "train", "cluster", "loadtest", "examples", "benchmarks", "tests", "docs")
_CONFIG = Path(__file__).with_suffix(".toml")
_COMMENTED = {".toml", ".yaml", ".yml", ".tf", ".sh", ".in"}
_TEXT_KEYWORDS = {"help", "description", "summary", "epilog"}
_LOG_METHODS = {"debug", "info", "warning", "error", "exception", "critical"}
_MIN_MESSAGE_WORDS = 3
_WORD = re.compile(r"[A-Za-z']+")
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Config:
    """The check's limits and word list.

    Attributes:
        limit: maximum number of idiom words per 1,000 words.
        not_rewritten: higher limit by folder, for packages that are not rewritten yet.
        idiom: matches one idiom.
        sample_texts: files whose strings are sample texts for the model, not messages.
    """

    limit: float
    not_rewritten: Mapping[str, int]
    idiom: re.Pattern[str]
    sample_texts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Measured:
    """The prose of one package: its number of words, and how often each idiom occurs."""

    words: int
    idioms: Counter[str]

    @property
    def per_thousand(self) -> float:
        """Return the number of idiom words per 1,000 words."""
        return 1000 * self.idioms.total() / max(self.words, 1)


def load_config(path: Path = _CONFIG) -> Config:
    """Load the limits and compile the word list."""
    raw = tomllib.loads(path.read_text())
    words = "|".join(word.replace(" ", r"\s+") for word in raw["idioms"]["words"])
    idiom = re.compile(rf"\b(?:{words})\b", re.IGNORECASE)
    return Config(raw["limit"], raw["not_rewritten"], idiom, frozenset(raw["messages"]["sample_texts"]))


def measure(root: Path, config: Config) -> dict[str, Measured]:
    """Measure each package, and separately each folder that has a limit of its own."""
    prose: dict[str, list[str]] = {name: [] for name in (*PACKAGES, *config.not_rewritten)}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*")):
            name = path.relative_to(root).as_posix()
            group = max((key for key in prose if name == key or name.startswith(f"{key}/")), key=len)
            prose[group] += _prose(path)
            if path.suffix == ".py" and package != "tests" and name not in config.sample_texts:
                prose[group] += _messages(path.read_text())
    prose["docs"] += _prose(root / "README.md")
    return {name: _count("\n".join(parts), config) for name, parts in prose.items()}


def faults(measured: Mapping[str, Measured], config: Config) -> list[str]:
    """Return one message for each package that is above its limit and for each limit that is too high."""
    messages = []
    for name, result in measured.items():
        limit, figure = config.not_rewritten.get(name, config.limit), result.per_thousand
        if figure > limit:
            common = ", ".join(f"{word!r} {count}x" for word, count in result.idioms.most_common(8))
            messages.append(
                f"{name}: {figure:.1f} idiom words per 1,000 words, expected at most {limit}; "
                f"most frequent: {common}; docs/style.md lists the plain terms"
            )
        elif name in config.not_rewritten and figure <= config.limit:
            messages.append(
                f"prose.toml, not_rewritten, {name}: the package keeps the limit; delete the entry"
            )
        elif limit > max(config.limit, math.ceil(figure)):
            messages.append(
                f"prose.toml, not_rewritten, {name}: {limit} is above the measured {figure:.1f}; "
                f"lower it to {math.ceil(figure)}"
            )
    return messages


def _count(prose: str, config: Config) -> Measured:
    found = Counter(" ".join(match.lower().split()) for match in config.idiom.findall(prose))
    return Measured(len(_WORD.findall(prose)), found)


def _prose(path: Path) -> Iterator[str]:
    if path.suffix == ".md":
        yield _CODE.sub(" ", path.read_text())
    elif path.suffix == ".py":
        yield from (_CODE.sub(" ", part) for part in _python_prose(path.read_text()))
    elif path.suffix in _COMMENTED:
        yield from re.findall(r"(?:^|\s)#(.*)", path.read_text())
        yield from re.findall(r'\bdescription\s*=\s*"(.*)"', path.read_text())


def _python_prose(source: str) -> Iterator[str]:
    for root in _prose_nodes(ast.parse(source)):
        yield from _strings(root)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def _prose_nodes(tree: ast.Module) -> Iterator[ast.expr]:
    """Yield the expressions whose strings are docstrings, help texts, error messages and log messages."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):  # the docstring of a module, class, function or attribute
            if isinstance(node.value, ast.Constant):
                yield node.value
        elif isinstance(node, ast.keyword) and node.arg in _TEXT_KEYWORDS:
            yield node.value
        elif isinstance(node, ast.Raise) and node.exc is not None:
            yield node.exc
        elif isinstance(node, ast.Call) and _is_log_call(node.func) and node.args:
            yield node.args[0]


def _messages(source: str) -> Iterator[str]:
    """Yield the strings of at least three words that `_python_prose` does not yield."""
    tree = ast.parse(source)
    counted = {id(part) for root in _prose_nodes(tree) for part in ast.walk(root)}
    for node in ast.walk(tree):
        if id(node) in counted:
            continue
        if isinstance(node, ast.JoinedStr):
            text = "".join(_strings(node))
            counted |= {id(part) for part in ast.walk(node)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        if len(text.split()) >= _MIN_MESSAGE_WORDS:
            yield _CODE.sub(" ", text)


def _is_log_call(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and function.attr in _LOG_METHODS


def _strings(node: ast.expr) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def main() -> int:
    """Print each package's figure and what is wrong; return the exit status."""
    config = load_config()
    measured = measure(ROOT, config)
    for name, result in measured.items():
        limit = config.not_rewritten.get(name, config.limit)
        print(
            f"{name:20} {result.words:6} words {result.idioms.total():4} idiom words"
            f" = {result.per_thousand:4.1f} per 1,000 (limit {limit})"
        )
    messages = faults(measured, config)
    print(*messages, sep="\n", file=sys.stderr)
    return 1 if messages else 0


if __name__ == "__main__":
    sys.exit(main())
