"""The pages hang together: no dead link, no page that nobody finds, and a first screen that helps."""

from __future__ import annotations

import re

import pytest
from docs_pages import DOCS, ROOT, Page, page, pages

from millstream import __version__

MADE_BY_READERS = {"first_events.py", "receipts.py"}
"""Files that the tutorial has its reader save."""


def target_of(source: Page, link: str) -> tuple[Page, str]:
    name, _, anchor = link.partition("#")
    return Page((source.path.parent / name).resolve() if name else source.path), anchor


@pytest.mark.parametrize("source", pages(), ids=str)
def test_links_lead_somewhere(source: Page):
    """Every relative link names a file that exists, and a heading in it if it says so."""
    dead = []
    for link in source.links():
        if link.startswith(("http://", "https://")):
            continue
        target, anchor = target_of(source, link)
        if not target.path.exists() or (anchor and anchor not in target.anchors()):
            dead.append(link)
    assert dead == []


def test_every_page_is_in_the_index():
    """Whoever starts at docs/README.md finds every page."""
    index = page("docs/README.md")
    linked = {target_of(index, link)[0].path for link in index.links()}
    assert {str(found) for found in pages() if found.path.is_relative_to(DOCS)} - {"docs/README.md"} == {
        str(Page(path)) for path in linked if path.is_relative_to(DOCS)
    }


def test_the_first_screen_shows_the_two_commands():
    """Whoever opens the README sees, without scrolling, how to see it work and how to prove it."""
    first_screen = page("README.md").text.splitlines()[:25]
    commands = [line.split("#")[0].strip() for line in first_screen]
    assert "make demo" in commands
    assert "make test" in commands


def test_the_readme_says_how_to_install():
    """The README names both ways to install an unreleased version: from a checkout, and from a built wheel."""
    readme = page("README.md").text
    assert re.search(r"^pip install \.", readme, re.MULTILINE)
    assert "pip install dist/millstream-*.whl" in readme


@pytest.mark.parametrize("document", pages(), ids=str)
def test_no_page_installs_millstream_from_the_index(document: Page):
    """Until a version is released, no command installs `millstream` by name: the index could serve another package."""
    assert not re.search(r"(pip|uv|pipx)\b[^\n`]* install [^\n`]*[ '\"]millstream\b", document.text)
    assert not re.search(r"\buvx millstream\b", document.text)


def test_the_changelog_knows_this_version():
    """The version of the package has an entry in the changelog."""
    assert re.search(rf"^## {re.escape(__version__)}\b", page("CHANGELOG.md").text, re.MULTILINE)


def test_decisions_are_numbered_and_complete():
    """Decisions have consecutive numbers, and each says its context, options, choice and what would change it."""
    found = sorted((DOCS / "decisions").glob("*.md"))
    assert [path.name[:4] for path in found] == [f"{number:04d}" for number in range(1, len(found) + 1)]
    for path in found:
        headings = re.findall(r"^## (.+)$", path.read_text("utf-8"), re.MULTILINE)
        assert headings == ["Context", "Options", "Choice", "What would change our mind"], path.name
        assert len(path.read_text("utf-8").splitlines()) <= 80, f"{path.name} is longer than a page"


def test_what_the_code_refers_to_exists():
    """A page of docs/ that a docstring, comment or message names is there."""
    dead = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in [*(ROOT / "src").rglob("*.py"), ROOT / "pyproject.toml"]
        for name in re.findall(r"docs/[a-z]+/[\w-]+", path.read_text("utf-8"))
        if not list(ROOT.glob(f"{name}*.md"))
    ]
    assert dead == []


def test_the_files_that_a_page_names_exist():
    """A module that a page sends the reader to is there."""
    dead = [
        f"{source}: {name}"
        for source in pages()
        for name in re.findall(r"`((?:\w+/)*\w+\.py)`", source.text)
        if not ((ROOT / "src" / "millstream" / name).exists() or (ROOT / name).exists() or name in MADE_BY_READERS)
    ]
    assert dead == []
