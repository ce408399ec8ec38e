"""A few seconds of the soak. `make soak` lasts longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.soak import soak

pytestmark = pytest.mark.process


@pytest.mark.timeout(180)
def test_every_event_is_counted_in_any_weather(tmp_path: Path) -> None:
    """Every fault at random, over clients in threads, on loops and across forks: what they say, the collector confirms.

    Each recorded event is delivered, failed, dropped or kept; all that is delivered is in the collector; nothing came
    twice whose answer was read.
    """
    result = soak(5, seed=1, directory=tmp_path)
    assert result.problems == []
    assert result.stored
    assert result.forks
    assert result.suffered.total() > 3
