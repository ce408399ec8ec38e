"""The events in a collector's data directory, as they were before the collector received them."""

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
"""What the collector has added to an event: another receiver has its own to say (docs/decisions/0018)."""
_AGO = re.compile(r"(\d+)\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class _Head(msgspec.Struct, rename="camel"):
    """What is asked of every event, the unwanted ones included: cheaper than decoding them."""

    received_at: str = ""
    type: str = ""
    event: str | None = None
    source_id: str = ""


_head = msgspec.json.Decoder(_Head)


@dataclass(frozen=True)
class Selection:
    """Which events are wanted. Times are those of the collector's receipt, as `moment` writes them."""

    since: str = ""
    until: str = ""
    types: frozenset[str] = frozenset()
    events: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()

    def has(self, head: _Head) -> bool:
        """Whether an event is among them."""
        return (
            self.since <= head.received_at
            and (not self.until or head.received_at < self.until)
            and (not self.types or head.type in self.types)
            and (not self.events or head.event in self.events)
            and (not self.sources or head.source_id in self.sources)
        )


@dataclass(frozen=True)
class Stored:
    """One stored event: where it is, and when it was received. `end` is how many bytes have been read with it."""

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
        """The event without what the collector has added. Its `timestamp` is the true time, by the collector's clock.

        Raises:
            msgspec.DecodeError: it cannot be read after all.
        """
        event = decode(self.record)
        for name in RECEIVERS_OWN:
            event.pop(name, None)
        return event


def moment(text: str, name: str) -> str:
    """A time as the collector writes it, for a time in ISO 8601, or for how long ago it was: `90m`, `2h`, `7d`.

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
    """The files with events, the oldest first, and how long they are now: what comes later is not ours.

    Raises:
        SettingsError: there is no such directory.
    """
    try:
        files = [(path, path.stat().st_size) for path in stored_files(directory)]
    except OSError as error:
        raise SettingsError(f"cannot read the events in {directory}: {error.strerror}") from error
    if not files:
        raise SettingsError(f"there are no events in {directory}: it has no {PREFIX}*.jsonl files")
    return files


def stored(files: list[tuple[Path, int]], selection: Selection) -> Iterator[Stored]:
    """The selected events, in the order of their receipt, and what could not be read.

    A line without an end is being written, in the last file; in any other, it is damaged.
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
            pass  # it was too old to be kept any longer
        except OSError as error:
            yield Stored(path.name, 0, done, fault=f"the file cannot be read: {error.strerror}")
        done += size


def _item(path: Path, record: Record, end: int, selection: Selection) -> Stored | None:
    try:
        head = _head.decode(record.data)
    except (msgspec.DecodeError, RecursionError) as exc:
        return Stored(path.name, record.position, end, fault=f"it cannot be read: {exc}")
    if not selection.has(head):
        return None
    return Stored(path.name, record.position, end, head.received_at, head.type, record.data)
