"""The end of a process at any moment loses no event whose call had returned, without a spool."""

from __future__ import annotations

import pytest

from chaos.ends import WAYS, end

pytestmark = pytest.mark.process


@pytest.mark.timeout(180)
@pytest.mark.parametrize("way", WAYS)
def test_what_had_been_recorded_arrives_at_the_end(way: str) -> None:
    """While threads go on recording, processes get SIGTERM, end, or are forked: every event arrives once."""
    tally = end(8, seed=1, ways=[way])[way]
    assert tally.ends >= 8
    assert tally.events > 100
    assert (tally.lost, tally.twice, tally.said) == (0, 0, 0)
