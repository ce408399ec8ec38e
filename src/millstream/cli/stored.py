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
from millstream.log import PREFIX, Record, records_in, stored_files
from millstream.types import Event

__all__ = ["Selection", "Stored", "files_in", "moment", "stored"]

RECEIVERS_OWN = ("receivedAt", "originalTimestamp", "sentAt", "sourceId")
"""Members that the collector added: the next receiver adds its own (docs/decisions/0018)."""
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


@dataclass(frozen=True)
class Stored:
    """A stored event: its place, and its time of receipt. `end` is the number of bytes read up to here."""

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


def files_in(directory: Path) -> list[tuple[Path, int]]:
    """List the files of events, the oldest first, with their current sizes: later events are not read.

    Raises:
        SettingsError: the directory does not exist.
    """
    try:
        files = [(path, path.stat().st_size) for path in stored_files(directory)]
    except OSError as error:
        raise SettingsError(f"cannot read the events in {directory}: {error.strerror}") from error
    if not files:
        raise SettingsError(f"no events in {directory}: it has no {PREFIX}*.jsonl files")
    return files


def stored(files: list[tuple[Path, int]], selection: Selection) -> Iterator[Stored]:
    """Yield the selected events, in order of receipt, and faults in their places.

    The last file may end in an incomplete line, which is being written; in other files it is damaged.
    """
    done = 0
    for number, (path, size) in enumerate(files, 1):
        try:
            for record in records_in(path, size):
                if record.ended or number < len(files):
                    item = _item(path, record, done + record.position + len(record.data), selection)
                    if item is not None:
                        yield item
        except FileNotFoundError:
            pass  # deleted by retention
        except OSError as error:
            yield Stored(path.name, 0, done, fault=f"unreadable file: {error.strerror}")
        done += size


def _item(path: Path, record: Record, end: int, selection: Selection) -> Stored | None:
    try:
        head = _head.decode(record.data)
    except (msgspec.DecodeError, RecursionError) as exc:
        return Stored(path.name, record.position, end, fault=f"unreadable: {exc}")
    if not selection.has(head):
        return None
    return Stored(path.name, record.position, end, head.received_at, head.type, record.data)
