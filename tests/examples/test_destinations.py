"""The example that sends a shop's events to a stand-in of every service."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]


def test_every_service_takes_what_it_gets() -> None:
    """The stand-ins look at each request as the service would, and refuse nothing."""
    command = [sys.executable, "-W", "error", "-m", "examples.destinations"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "Forward: 8 delivered, 0 of no use to it, 0 failed; 8 items came"
    assert lines[1] == "Webhook: 8 delivered, 0 of no use to it, 0 failed; 8 items came"
    assert len(lines) == 7
    assert all(" 0 failed" in line for line in lines)
