"""The environments in which the tests run are those that pyproject.toml allows."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BY_THE_TESTS = {"tomli"}
"""What pytest asks for in newer versions than we do."""


def allowed() -> dict[str, str]:
    """Each dependency with the oldest version that is allowed."""
    every = [*PROJECT["dependencies"], *(one for extra in PROJECT["optional-dependencies"].values() for one in extra)]
    bounds = re.findall(r"^([a-z0-9-]+)(?:\[\w+\])?>=([\d.]+)", "\n".join(every), re.MULTILINE)
    assert len(bounds) == sum(">=" in one for one in every)
    return dict(bounds)


def pinned(name: str) -> dict[str, str]:
    """What a file of constraints pins."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==([\d.]+)", text, re.MULTILINE))


def test_the_oldest_versions_are_the_lower_bounds() -> None:
    """Each lower bound in pyproject.toml is a version that the tests run with."""
    assert pinned("oldest") == {name: bound for name, bound in allowed().items() if name not in BY_THE_TESTS}


@pytest.mark.parametrize("name", allowed())
def test_the_newest_versions_are_pinned(name: str) -> None:
    """Each dependency is pinned to the newest version that was tried, so that a green run means the same tomorrow."""
    assert name in pinned("newest")
