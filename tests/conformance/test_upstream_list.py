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
    """Each id is cited by a test here, or stands in README.md with the reason why it is not."""
    assert set(_cited()) | set(_elsewhere()) == ALL


def test_the_readme_names_tests_that_there_are() -> None:
    """Each row of the table in README.md names tests whose docstrings cite the row's id."""
    cited = _cited()
    for one, names in re.findall(r"^\| ([A-Z]\d+\S*) \| (`.+`) \|$", _part(0), re.MULTILINE):
        assert set(names.split(", ")) <= cited.get(one, set()), f"README.md is wrong about {one}: {cited.get(one)}"


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
    for row in re.findall(r"^\| ([^|]+) \| .+ \|$", _part(1), re.MULTILINE):
        yield from _ids(row)


def _part(number: int) -> str:
    """What README.md says of the tests that are here (0), and of the others (1)."""
    return (HERE / "README.md").read_text().split("## Answered elsewhere, or not at all")[number]


def _ids(text: str) -> Iterator[str]:
    for letter, first, rest, last in ID.findall(text):
        width = 2 if letter == "T" else 0
        numbers = range(int(first), int(last or first) + 1)
        yield from (f"{letter}{n:0{width}d}{rest}" if width else f"{letter}{n}{rest}" for n in numbers)
