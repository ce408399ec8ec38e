"""The pages of the documentation, taken apart: blocks of code, links, headings, tables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
_FENCE = re.compile(r"^ {0,3}```(\S*)")
_NOT_RUN = re.compile(r"^<!-- not run: (.+) -->$")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_CODE_SPAN = re.compile(r"`[^`]*`")


@dataclass(frozen=True)
class Block:
    """A fenced block. `line` is the number of its first line of code; `not_run` is the reason why it is not run."""

    language: str
    code: str
    line: int
    not_run: str = ""


@dataclass(frozen=True)
class Page:
    path: Path

    def __str__(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def text(self) -> str:
        return self.path.read_text("utf-8")

    def blocks(self, *languages: str) -> list[Block]:
        """The fenced blocks in one of these languages (in any, if none is named), in order."""
        return [block for block in _blocks(self.text) if not languages or block.language in languages]

    def links(self) -> list[str]:
        """Targets of all links outside code."""
        return [target for line in _prose(self.text) for target in _LINK.findall(_CODE_SPAN.sub("``", line))]

    def anchors(self) -> set[str]:
        """What the headings can be linked as."""
        headings = [line.lstrip("#").strip() for line in _prose(self.text) if line.startswith("#")]
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

    def rows(self, heading: str = "") -> list[list[str]]:
        """The cells of all table rows (or of those under a heading), headings and rulers included."""
        text = self.text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0] if heading else self.text
        lines = [line for line in _prose(text) if line.startswith("|")]
        return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]] for line in lines]

    def defined(self, heading: str = "") -> dict[str, list[str]]:
        """Rows whose first cell is names in code: name to the other cells. A name stands in one row only."""
        found: dict[str, list[str]] = {}
        for first, *rest in self.rows(heading):
            for name in re.findall(r"`([^`]+)`", first):
                assert name not in found, f"{self} has two rows for {name}"
                found[name] = rest
        return found


def pages() -> list[Page]:
    """Every page that we ship."""
    at_the_top = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    return [Page(path) for path in (*at_the_top, *sorted(DOCS.rglob("*.md")))]


def page(name: str) -> Page:
    return Page(ROOT / name)


@cache
def _blocks(text: str) -> list[Block]:
    found: list[Block] = []
    inside: tuple[str, int, str] | None = None
    code: list[str] = []
    before = ""
    for number, line in enumerate(text.splitlines(), 1):
        fence = _FENCE.match(line)
        if inside is None and fence:
            marker = _NOT_RUN.match(before)
            inside, code = (fence[1], number + 1, marker[1] if marker else ""), []
        elif inside is not None and fence:
            language, start, reason = inside
            found.append(Block(language, "\n".join(code) + "\n", start, reason))
            inside = None
        elif inside is not None:
            code.append(line)
        if line.strip():
            before = line.strip()
    assert inside is None, "a block is not closed"
    return found


def _prose(text: str) -> list[str]:
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        if _FENCE.match(line):
            inside = not inside
        elif not inside:
            lines.append(line)
    return lines
