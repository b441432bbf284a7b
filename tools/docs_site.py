"""The site's hook: what GitHub shows right when it shows docs/ must be right in the site, too.

Pages link to files of the repository outside docs/ (CONTRIBUTING.md, examples, the chart). The site has no
such places, so those files come along under repository/ and links lead there. Folders of the navigation
become their pages, so that a new runbook needs no line in mkdocs.yml. mkdocs calls the functions `on_*`. This
module must not import synthray: the site is built from text.
"""

import logging
import posixpath
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).parents[1]
DOCS = "docs"
BROUGHT_IN = "repository/"

_LINK = re.compile(r"(?<=\]\()(?P<path>[^)\s#:]+)(?=[)#])")
_ITEM = re.compile(r"(?P<indent> *)(?:[-*]|[0-9]+\.) ")
_log = logging.getLogger(f"mkdocs.hooks.{Path(__file__).stem}")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Replace folders of the navigation by their pages."""
    docs = Path(config.docs_dir)
    named = {entry for entry in _list_entries(config.nav or []) if not entry.endswith("/")}
    config.nav = _expand(config.nav or [], docs, named)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add each file outside docs/ that a page links to, and what those link to in turn."""
    waiting = [f"{DOCS}/{page.src_uri}" for page in files.documentation_pages()]
    known = set(waiting)
    while waiting:
        source = waiting.pop()
        for target in find_links(source, (REPOSITORY / source).read_text(encoding="utf-8")):
            if target in known or _is_in_docs(target):
                continue
            known.add(target)
            path = str(REPOSITORY / target)
            files.append(File.generated(config, BROUGHT_IN + target, abs_src_path=path))
            if target.endswith(".md"):
                waiting.append(target)
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Lead links between docs/ and the rest to where the site has both; complain about unreadable lists."""
    for number, complaint in find_unreadable_lists(markdown.splitlines()):
        _log.warning("%s: line %d %s", page.file.src_uri, number, complaint)
    return lead_links(page.file.src_uri, markdown)


def find_links(source: str, markdown: str) -> Iterator[str]:
    """The files of the repository that the page at `source` links to, by their paths from the root."""
    for match in _LINK.finditer(markdown):
        target = _resolve(source, match["path"])
        if (REPOSITORY / target).is_file():
            yield target


def lead_links(page: str, markdown: str) -> str:
    """Replace links by those that hold in the site; what leads to no file stays, and mkdocs complains."""
    source = page.removeprefix(BROUGHT_IN) if page.startswith(BROUGHT_IN) else f"{DOCS}/{page}"

    def lead(match: re.Match[str]) -> str:
        target = _resolve(source, match["path"])
        if not (REPOSITORY / target).is_file():
            return match["path"]
        place = target.removeprefix(f"{DOCS}/") if _is_in_docs(target) else BROUGHT_IN + target
        return posixpath.relpath(place, posixpath.dirname(page))

    return _LINK.sub(lead, markdown)


def find_unreadable_lists(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Lines, from 1, of lists that GitHub shows and Python-Markdown takes for text, with what to do."""
    before, in_code = "", False
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("```"):
            in_code = not in_code
        item = None if in_code else _ITEM.match(line)
        if item and len(item["indent"]) % 4:
            yield number, "is an item inside a list: indent it by four spaces"
        elif item and before and not (_ITEM.match(before) or before.startswith((" ", "#", "```"))):
            yield number, "begins a list right after text: put an empty line before it"
        before = line.rstrip()


def _resolve(source: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))


def _is_in_docs(target: str) -> bool:
    return target.startswith(f"{DOCS}/")


def _list_entries(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for entry in nav.values() if isinstance(nav, dict) else nav:
            yield from _list_entries(entry)


def _expand(nav: list[Any], docs: Path, named: set[str]) -> list[Any]:
    expanded: list[Any] = []
    for entry in nav:
        if isinstance(entry, dict):
            expanded.append(
                {
                    name: _expand(value, docs, named) if isinstance(value, list) else value
                    for name, value in entry.items()
                }
            )
        elif entry.endswith("/"):
            pages = (f"{entry}{path.name}" for path in sorted((docs / entry).glob("*.md")))
            expanded.extend(page for page in pages if page not in named)
        else:
            expanded.append(entry)
    return expanded
