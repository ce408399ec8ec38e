"""Trials, which are begun together and waited for one by one; and what they measured, as a table (`pytest -v`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from faults.trial import HEADINGS, Trial
from support.faults import Names

_rows: list[str] = []


@pytest.fixture(scope="module")
def trial() -> Iterator[Callable[..., Trial]]:
    """One client under one fault, which has begun and ended.

    The same for every test that asks for the same: so the pauses before the next attempt pass while others are tried.
    """
    made: dict[str, Trial] = {}

    def make(name: str, **settings: Any) -> Trial:
        if name not in made:
            made[name] = Trial(name, **settings)
            made[name].suffer()
        return made[name]

    with Names():
        yield make
        for each in made.values():
            _rows.append(each.row())
            each.end()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What each fault cost."""
    if _rows and terminalreporter.verbosity >= 0:
        terminalreporter.section("faults")
        for line in (HEADINGS, *_rows):
            terminalreporter.write_line(line)
