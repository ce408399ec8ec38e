"""A collector that can be looked at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.watched import Served


@pytest.fixture
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.stop()
