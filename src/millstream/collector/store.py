"""Stores events: in a directory with a log of JSON lines, or in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec

from millstream._public import publish
from millstream.log import Done, FileLog, FileReader, MemoryLog, Position

from .clock_skew import json_of
from .rejects import Rejects
from .timing import Timing


class Store(Protocol):
    """Stores events, as lines. For one event loop."""

    def append(self, text: bytes, done: Done) -> None:
        """Keep events, as `Log.append` does: `text` is whole lines, each with its end."""

    def quarantine(self, lines: Sequence[bytes]) -> None:
        """Put what was not kept where people can look at it: each line is a JSON object."""

    def recent(self, since: datetime) -> Iterator[tuple[str, str]]:
        """Yield the sources and messageIds of events received since then, the latest file first."""
        ...

    def close(self) -> None:
        """Release the directory. Nothing may be in progress."""


_any = msgspec.json.Decoder(dict[str, Any])


class Memory:
    """Stores events in a list, for tests: `events`, decoded."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.log = MemoryLog()

    def append(self, text: bytes, done: Done) -> None:
        try:
            events = _any.decode_lines(text)
        except msgspec.DecodeError as error:
            done(error)
            return
        self.events += events
        self.log.append(text, done)

    def quarantine(self, lines: Sequence[bytes]) -> None:
        pass

    def recent(self, since: datetime) -> Iterator[tuple[str, str]]:  # noqa: ARG002
        yield from ()

    def close(self) -> None:
        pass


class Files:
    """Stores events in a directory: append-only files `events-<position>.jsonl`, one after the other.

    What `append` has reported as kept is on the disk, and survives a loss of power.

    Args:
        directory: made if it is missing; no other collector may use it at the same time.
        segment_bytes: when a file has so many, the next one is begun.
        max_bytes: the oldest files are deleted when all together have more, also those that a destination has yet to
            be sent; None is never.
        max_age: seconds after which a file is deleted that has nothing younger, and nothing that a destination has yet
            to be sent; None is never.
        sync_interval: seconds after which what was written is forced to the disk; 0 is before `append` reports it as
            kept. With more, a loss of power costs what came since; the death of this process still costs nothing.

    Raises:
        SettingsError: the directory cannot be used.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        segment_bytes: int = 64 << 20,
        max_bytes: int | None = None,
        max_age: float | None = None,
        sync_interval: float = 0.0,
    ) -> None:
        self.path = Path(directory)
        self.timing = Timing()
        self.log = FileLog(
            directory,
            segment_bytes=segment_bytes,
            max_bytes=max_bytes,
            max_age=max_age,
            sync_interval=sync_interval,
            on_write=self.timing.add,
        )
        self.rejects = Rejects(self.path)

    def append(self, text: bytes, done: Done) -> None:
        self.log.append(text, done)

    def quarantine(self, lines: Sequence[bytes]) -> None:
        if self.rejects.offer(lines):
            self.log.soon(partial(self.rejects.write, lines))

    def recent(self, since: datetime) -> Iterator[tuple[str, str]]:
        earliest = json_of(since)[1:-1].decode()
        with closing(FileReader(self.path, is_record=_anything)) as reader:
            end, seen = reader.durable(), {True}
            while end > reader.first() and seen != {False}:
                start = reader.checkpoint(end - 1)
                seen = set[bool]()  # whether events of this file are recent
                for ids in _ids_between(reader, start, end):
                    recent = ids.received_at >= earliest
                    seen.add(recent)
                    if recent and ids.message_id:
                        yield ids.source_id, ids.message_id
                end = start

    def close(self) -> None:
        self.log.close()


class _Ids(msgspec.Struct, gc=False, rename="camel"):
    message_id: str = ""
    source_id: str = ""
    received_at: str = ""


_ids = msgspec.json.Decoder(_Ids)


def _anything(_: bytes) -> bool:
    return True  # what is no event has no ids


def _ids_between(reader: FileReader, start: Position, end: Position) -> Iterator[_Ids]:
    while start < end:
        records, after = reader.read(start, 10_000, 1 << 20)
        for record in records:
            if record.start >= end:
                break
            try:
                yield _ids.decode(record.data)
            except (msgspec.DecodeError, RecursionError):  # not ours, then
                continue
        if after == start:
            break
        start = after


publish("millstream.collector", Files, Memory, Store)
