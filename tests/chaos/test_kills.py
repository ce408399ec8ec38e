"""kill -9 at any moment loses no event whose call had returned."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.kills import WEATHER, kill

pytestmark = pytest.mark.process


@pytest.mark.timeout(180)
def test_what_had_been_recorded_arrives_after_a_kill(tmp_path: Path) -> None:
    """Twenty processes are killed at random moments, under load; every event whose call had returned arrives."""
    tallies = kill(20, seed=1, directory=tmp_path / "spool")
    assert sum(tally.kills for tally in tallies.values()) >= 20
    assert all(tallies[weather].returned for weather in WEATHER)
    assert {weather: tally.lost for weather, tally in tallies.items()} == dict.fromkeys(WEATHER, 0)
    assert not list((tmp_path / "spool").glob("*/*.jsonl")), "what has arrived is still in the spool"
