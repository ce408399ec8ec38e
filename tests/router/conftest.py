"""Destinations on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.api import Api


@pytest.fixture
def apis() -> Iterator[list[Api]]:
    """Three destinations."""
    made = [Api() for _ in range(3)]
    yield made
    for each in made:
        each.close()


@pytest.fixture
def one(apis: list[Api]) -> Api:
    return apis[0]
