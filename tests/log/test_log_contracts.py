"""The contracts, over a directory and over memory."""

from __future__ import annotations

from pathlib import Path

from millstream.log import (
    CursorStore,
    FileCursorStore,
    FileLog,
    Log,
    MemoryCursorStore,
    MemoryLog,
)
from millstream.testing.contracts import CursorStoreContract, LogContract


class TestFileLog(LogContract):
    async def open(self, directory: Path) -> Log:
        return FileLog(directory)


class TestFileLogOfManySegments(LogContract):
    async def open(self, directory: Path) -> Log:
        return FileLog(directory, segment_bytes=100)


class TestFileLogSyncedLate(LogContract):
    async def open(self, directory: Path) -> Log:
        return FileLog(directory, sync_interval=0.001)


class TestMemoryLog(LogContract):
    async def open(self, directory: Path) -> Log:
        return self.logs.setdefault(directory, MemoryLog())

    logs: dict[Path, MemoryLog] = {}  # noqa: RUF012 - a test's directory has the same log again


class TestFileCursorStore(CursorStoreContract):
    def open(self, directory: Path) -> CursorStore:
        return FileCursorStore(directory)


class TestMemoryCursorStore(CursorStoreContract):
    def open(self, directory: Path) -> CursorStore:
        return self.stores.setdefault(directory, MemoryCursorStore())

    stores: dict[Path, MemoryCursorStore] = {}  # noqa: RUF012 - as those of two processes
