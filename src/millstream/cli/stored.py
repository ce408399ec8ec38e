"""Reads the events of a collector's data directory, as they were before the collector received them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec

from millstream._core.events.encode import decode
from millstream._core.events.timestamps import iso
from millstream.errors import SettingsError
from millstream.log import FileReader, Record
from millstream.log.file_reader import PREFIX
from millstream.types import Event

__all__ = ["Selection", "Stored", "moment", "open_log", "stored"]

RECEIVERS_OWN = ("receivedAt", "originalTimestamp", "sentAt", "sourceId")
"""What the collector has added to an event: another receiver has its own to say (docs/decisions/0018)."""
CHUNK_EVENTS, CHUNK_BYTES = 10_000, 1 << 20
"""Events, and their bytes, that are read at once."""
_AGO = re.compile(r"(\d+)\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class _Head(msgspec.Struct, rename="camel"):
    """The members that a selection compares: cheaper than decoding whole events."""

    received_at: str = ""
    type: str = ""
    event: str | None = None
    source_id: str = ""


_head = msgspec.json.Decoder(_Head)


@dataclass(frozen=True)
class Selection:
    """A selection of events. Times are those of receipt, as `moment` writes them."""

    since: str = ""
    until: str = ""
    types: frozenset[str] = frozenset()
    events: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()

    def has(self, head: _Head) -> bool:
        """Whether an event is selected."""
        return (
            self.since <= head.received_at
            and (not self.until or head.received_at < self.until)
            and (not self.types or head.type in self.types)
            and (not self.events or head.event in self.events)
            and (not self.sources or head.source_id in self.sources)
        )

    def wants(self, record: Record) -> bool:
        """Whether a record is an event among them. One that cannot be read is none."""
        try:
            return self.has(_head.decode(record.data))
        except (msgspec.DecodeError, ValueError, RecursionError):
            return False


@dataclass(frozen=True)
class Stored:
    """One stored event: where it is, and when it was received. `end` is the position in the log after it."""

    file: str
    position: int
    end: int
    received_at: str = ""
    type: str = ""
    record: bytes = field(default=b"", repr=False)
    fault: str = ""

    def __str__(self) -> str:
        return f"{self.file}, byte {self.position:,}"

    def original(self) -> Event:
        """Return the event without the collector's members. Its `timestamp` is corrected for clock skew.

        Raises:
            msgspec.DecodeError: it cannot be decoded.
        """
        event = decode(self.record)
        for name in RECEIVERS_OWN:
            event.pop(name, None)
        return event


def moment(text: str, name: str) -> str:
    """Parse a time in ISO 8601, or an age such as `90m`, `2h`, `7d`; return it as the collector writes times.

    Raises:
        SettingsError: it is neither.
    """
    try:
        if ago := _AGO.fullmatch(text.strip()):
            return iso(datetime.now(timezone.utc) - timedelta(**{_UNITS[ago[2]]: int(ago[1])}))
        return iso(text)
    except (ValueError, OverflowError):
        raise SettingsError(
            f"{name} {text!r} must be a time such as 2024-05-17T09:30Z, or as long ago as 90m, 2h, 7d"
        ) from None


def open_log(directory: Path) -> FileReader:
    """Return a reader of the events that are in a directory now, the damaged ones included.

    Raises:
        SettingsError: there is no such directory, or nothing in it.
    """
    reader = FileReader(directory, unsynced=True, is_record=_anything)
    try:
        directory.stat()
        segments = reader.segments()
    except OSError as error:
        raise SettingsError(f"cannot read the events in {directory}: {error.strerror}") from error
    if not segments:
        raise SettingsError(f"no events in {directory}: it has no {PREFIX}*.jsonl files")
    return reader


def _anything(_: bytes) -> bool:
    return True  # what is no event is named with its place


def stored(reader: FileReader, selection: Selection) -> Iterator[Stored]:
    """The selected events, in the order of their receipt, and what could not be read. What comes later is left out."""
    at, end = reader.first(), reader.durable()
    while at < end:
        try:
            records, after = reader.read(at, CHUNK_EVENTS, CHUNK_BYTES)
        except OSError as error:
            segment, _ = reader.where(at)
            yield Stored(segment.path.name, 0, at, fault=f"unreadable file: {error.strerror}")
            after = min((each.base for each in reader.segments() if each.base > at), default=end)
            records = ()
        for record in records:
            if record.end > end:
                return
            item = _item(reader, record, selection)
            if item is not None:
                yield item
        if after <= at:
            return
        at = after


def _item(reader: FileReader, record: Record, selection: Selection) -> Stored | None:
    try:
        head = _head.decode(record.data)
    except (msgspec.DecodeError, RecursionError) as exc:
        segment, offset = reader.where(record.end - len(record.data) - 1)
        return Stored(segment.path.name, offset, record.end, fault=f"unreadable: {exc}")
    if not selection.has(head):
        return None
    segment, offset = reader.where(record.end - len(record.data) - 1)
    return Stored(segment.path.name, offset, record.end, head.received_at, head.type, record.data)
