"""The first example that a newcomer runs, as it stands in the repository."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from millstream.testing import LiveCollector

pytestmark = pytest.mark.process

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart.py"


def test_the_quickstart_delivers_what_it_says(collector: LiveCollector) -> None:
    """Both events are with the collector when the program has ended, and the id it prints is there."""
    environment = {
        **os.environ, "MILLSTREAM_HOST": collector.url, "MILLSTREAM_WRITE_KEY": "quickstart", "NO_PROXY": "127.0.0.1",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, QUICKSTART], env=environment, capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, "")
    identified, tracked = collector.events
    assert (identified["type"], identified["userId"]) == ("identify", "user-17")
    assert (tracked["event"], tracked["properties"]["revenue"]) == ("Item Purchased", 39.95)
    assert done.stdout == f"delivered: track {tracked['messageId']}\n"
