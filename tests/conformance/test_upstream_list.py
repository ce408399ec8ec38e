"""The list of the reference library's own tests, each answered by one of ours, or with a reason."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
NUMBERED = {"N": 74, "L": 23, "M": 6, "P": 17, "C": 114, "G": 12}
T_IDS = {*(f"T{n:02d}" for n in range(1, 23)), "T05b", "T04'", "T19'", "T20'"}
ALL = T_IDS | {f"{letter}{n}" for letter, last in NUMBERED.items() for n in range(1, last + 1)}
ID = re.compile(r"([NLMPTCG])(\d+)(b?'?)(?:-[NLMPTCG](\d+))?")


def test_every_upstream_test_is_accounted_for() -> None:
    """Each id is cited by a test here, or stands in README.md with the reason why it is not; none is in both."""
    cited, listed = set(_cited()), set(_elsewhere())
    assert cited | listed == ALL
    assert not cited & listed


def test_the_readme_lists_the_tests_that_there_are() -> None:
    """The table in README.md is the one that the docstrings make."""
    rows = [f"| {one} | {', '.join(sorted(names))} |" for one, names in sorted(_cited().items(), key=_in_order)]
    table = "\n".join(rows)
    assert table in (HERE / "README.md").read_text(), f"README.md needs this table:\n{table}"


def _cited() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in sorted(HERE.glob("test_*.py")):
        if path.name == Path(__file__).name:
            continue
        for function in ast.parse(path.read_text()).body:
            if isinstance(function, ast.FunctionDef) and function.name.startswith("test_"):
                for one in _ids((ast.get_docstring(function) or "").partition(":")[0]):
                    found.setdefault(one, set()).add(f"`{path.stem.removeprefix('test_')}::{function.name}`")
    return found


def _elsewhere() -> Iterator[str]:
    _, _, table = (HERE / "README.md").read_text().partition("## Answered elsewhere, or not at all")
    for row in re.findall(r"^\| ([^|]+) \| .+ \|$", table, re.MULTILINE):
        yield from _ids(row)


def _ids(text: str) -> Iterator[str]:
    for letter, first, rest, last in ID.findall(text):
        width = 2 if letter == "T" else 0
        numbers = range(int(first), int(last or first) + 1)
        yield from (f"{letter}{n:0{width}d}{rest}" if width else f"{letter}{n}{rest}" for n in numbers)


def _in_order(item: tuple[str, object]) -> tuple[str, int, str]:
    letter, digits, rest = re.fullmatch(r"(.)(\d+)(.*)", item[0]).groups()  # type: ignore[union-attr]
    return letter, int(digits), rest
