"""Which marks a test needs, by what it does: `process` and `server` decide which tests are the fast ones."""

from __future__ import annotations

import sys
from typing import Any

MARKS = {
    "socket.bind": "server",
    "os.fork": "process",
    "os.forkpty": "process",
    "os.posix_spawn": "process",
    "os.system": "process",
    "subprocess.Popen": "process",
}
"""What Python's audit hooks report, and the mark of a test that does it."""

FIXTURES = frozenset({"api", "auth", "collector", "proxy", "served", "tls_api", "trial"})
"""A test that uses one of these has a server."""


class Watch:
    """Which marks the running test needs, by what it did."""

    def __init__(self) -> None:
        self._needed: set[str] = set()
        sys.addaudithook(self._audit)

    def begin(self) -> None:
        """Forget the test before."""
        self._needed.clear()

    def missing(self, marks: set[str]) -> set[str]:
        """What the test needs and does not carry. One that starts processes may have servers as well."""
        return set() if "process" in marks else self._needed - marks

    def _audit(self, event: str, _: tuple[Any, ...]) -> None:
        if event in MARKS:
            self._needed.add(MARKS[event])
