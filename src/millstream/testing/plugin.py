"""Fixtures. pytest loads them by the entry point `pytest11`; `-p no:millstream` disables them."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from millstream import testing

if TYPE_CHECKING:
    from millstream.testing import Capture, LiveCollector

__all__ = ["capture", "collector"]


@pytest.fixture
def collector() -> Generator[LiveCollector, None, None]:
    """A Millstream collector for this test: on a free port, in memory. See millstream.testing."""
    with testing.collector() as running:
        yield running


@pytest.fixture
def capture() -> Generator[Capture, None, None]:
    """An HTTP client that captures events: Analytics("key", http_client=capture). See millstream.testing."""
    with testing.capture() as capturing:
        yield capturing
