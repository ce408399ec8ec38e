"""The log: records that are appended in one place and read in many, with positions, a watermark and cursors.

    base          the protocols Log, Reader and CursorStore
    file_log      appends to a directory, in groups; retention
    file_reader   reads a directory, from any process
    file_cursors  cursors in a directory
    memory        all three in memory, for tests
    restart       where a route goes on after a start
    segments      files that are only ever appended to, each named by the position of its first byte
    watermark     how far readers may go; small files of numbers
    holds         how far each reader has come, for retention
    commit        group commit
    quarantine    where what cannot be read is put
    files         opens regular files only, and makes what is made with fixed rights

What a record and a cursor are, without a file, is in `_core/record.py` and `_core/cursor.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._public import lazily

if TYPE_CHECKING:
    from .._core.cursor import Cursor, Mark, Progress
    from .._core.record import Position, Record
    from .base import CursorStore, Done, Log, Reader
    from .file_cursors import FileCursorStore
    from .file_log import FileLog
    from .file_reader import FileReader
    from .memory import MemoryCursorStore, MemoryLog, MemoryReader
    from .restart import Resumed, resume

__all__ = [
    "Cursor",
    "CursorStore",
    "Done",
    "FileCursorStore",
    "FileLog",
    "FileReader",
    "Log",
    "Mark",
    "MemoryCursorStore",
    "MemoryLog",
    "MemoryReader",
    "Position",
    "Progress",
    "Reader",
    "Record",
    "Resumed",
    "resume",
]

_EXPORTS = {
    "Cursor": ".._core.cursor",
    "CursorStore": ".base",
    "Done": ".base",
    "FileCursorStore": ".file_cursors",
    "FileLog": ".file_log",
    "FileReader": ".file_reader",
    "Log": ".base",
    "Mark": ".._core.cursor",
    "MemoryCursorStore": ".memory",
    "MemoryLog": ".memory",
    "MemoryReader": ".memory",
    "Position": ".._core.record",
    "Progress": ".._core.cursor",
    "Reader": ".base",
    "Record": ".._core.record",
    "Resumed": ".restart",
    "resume": ".restart",
}


__getattr__ = lazily(__name__, _EXPORTS)  # a client with a spool loads no event loop
