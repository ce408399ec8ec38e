"""The plugin of pytest: fixtures, and calls that raise what is wrong with them.

pytest finds it by the entry point `pytest11`; `-p no:millstream` leaves it out.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from millstream import testing

if TYPE_CHECKING:
    from millstream.testing import Capture, LiveCollector

__all__ = ["capture", "collector"]


ON_INVALID = "MILLSTREAM_ON_INVALID"
_set = pytest.StashKey[bool]()


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Have calls raise InvalidEvent in tests, those of clients that a conftest makes included."""
    if ON_INVALID not in os.environ:
        os.environ[ON_INVALID] = "raise"
        early_config.stash[_set] = True


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave the environment as it was."""
    if config.stash.get(_set, False):
        os.environ.pop(ON_INVALID, None)


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
