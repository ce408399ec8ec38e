"""What each tool is held against: a program in a process of its own, and a Tracking API that it delivers to."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from delivered import Run

from support.api import Api
from support.processes import environment

PROGRAMS = Path(__file__).with_name("programs")
OFFLINE = {
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
    "DD_TRACE_AGENT_URL": "http://127.0.0.1:9",
    "PYTHONWARNINGS": "ignore",  # those of other people's
}


@pytest.fixture
def api() -> Iterator[Api]:
    """A Tracking API on loopback that answers as scripted, and with 200 otherwise."""
    server = Api()
    yield server
    server.close()


@pytest.fixture
def run(api: Api) -> Run:
    """Runs a program with a client, and returns what it says. Our side must not have failed with a traceback."""

    def run(program: str, client: str = "Analytics") -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, PROGRAMS / f"{program}.py", api.url, client],
            env={**environment(), **OFFLINE},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    return run
