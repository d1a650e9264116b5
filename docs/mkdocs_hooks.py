"""MkDocs hooks: files of the repository outside docs/ that pages link to, and the script of the diagrams."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_LOG = logging.getLogger("mkdocs.hooks.repository_links")
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")
_OUTSIDE = "repository/"
_MERMAID = "build/mermaid/package/dist/mermaid.min.js"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add each file outside docs/ that a page links to, and Mermaid if `make docs` has fetched it."""
    root = Path(config.config_file_path).parent
    pages = list(files.documentation_pages())
    while pages:
        page = pages.pop()
        for link in _LINK.findall(page.content_string):
            target = _target(page.src_uri, link)
            path = root / target
            if not path.is_file():
                _LOG.warning("%s: the link to %s leads to no file", _repository_path(page.src_uri), link)
            elif not files.get_file_from_path(_site_path(target)):
                added = File.generated(config, _site_path(target), content=path.read_text())
                files.append(added)
                pages += [added] if added.is_documentation_page() else []
    if (root / _MERMAID).is_file():
        files.append(File.generated(config, "assets/mermaid.min.js", abs_src_path=str(root / _MERMAID)))
        config.extra_javascript.append("assets/mermaid.min.js")
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page with links of the repository replaced by links of the site."""
    source = page.file.src_uri
    folder = PurePosixPath(source).parent
    return _LINK.sub(lambda link: os.path.relpath(_site_path(_target(source, link[1])), folder), markdown)


def _target(source: str, link: str) -> str:
    """Return the path in the repository that a link of the page `source` of the site leads to."""
    return os.path.normpath(PurePosixPath(_repository_path(source)).parent / link)


def _repository_path(source: str) -> str:
    return source.removeprefix(_OUTSIDE) if source.startswith(_OUTSIDE) else f"docs/{source}"


def _site_path(target: str) -> str:
    """Return the path in the site of a file of the repository; a file that is no page becomes a text file."""
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    return f"{_OUTSIDE}{target}" if target.endswith(".md") else f"{_OUTSIDE}{target}.txt"
