"""Contracts: what every log, cursor store and destination promises, as tests to inherit.

    class TestMine(DestinationContract):
        def make(self):
            return Mine(token="a-token-for-tests")

    class TestMyLog(LogContract):
        async def open(self, directory):
            return MyLog(directory)

A class of yours says how to make the thing; pytest finds the tests that it inherits.
"""

from __future__ import annotations

from .cursor_store import CursorStoreContract
from .destination import DestinationContract
from .log import LogContract

__all__ = ["CursorStoreContract", "DestinationContract", "LogContract"]
