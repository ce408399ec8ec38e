"""The first example that a newcomer runs, as it stands in the repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from examples.demo.children import Child

pytestmark = pytest.mark.process

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart.py"


def test_the_quickstart_delivers_what_it_says(tmp_path: Path) -> None:
    """Both events are on the collector's disk when the program has ended, and the id it prints is there."""
    serve = Child("collector", "penstock", "serve", "--port", "0", "--data", str(tmp_path), log=tmp_path / "log")
    with serve as collector:
        host = collector.start(until=r"penstock collector: (http://\S+)")
        environment = {**os.environ, "PENSTOCK_HOST": host, "PENSTOCK_WRITE_KEY": "quickstart", "NO_PROXY": "127.0.0.1"}
        done = subprocess.run(
            [sys.executable, QUICKSTART], env=environment, capture_output=True, text=True, check=False, timeout=30
        )
    assert (done.returncode, done.stderr) == (0, "")
    [file] = tmp_path.glob("*.jsonl")
    identified, tracked = map(json.loads, file.read_text().splitlines())
    assert (identified["type"], identified["userId"]) == ("identify", "user-17")
    assert (tracked["event"], tracked["properties"]["revenue"]) == ("Item Purchased", 39.95)
    assert done.stdout == f"delivered: track {tracked['messageId']}\n"
