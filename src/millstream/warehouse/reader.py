"""Reads a collector's files as rows: `store.events`.

Later events are not in the snapshot, so that its columns and rows agree. The collector may be writing at the same
time: an incomplete last line is left out, and if a file is deleted before it was read, reading starts over.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from datetime import datetime
from itertools import zip_longest
from pathlib import Path

import duckdb

from millstream.errors import QueryError, SettingsError
from millstream.log import FileReader
from millstream.log.segments import Segment

from .database import Database
from .names import literal, quoted
from .tables import OBJECTS, Table, moment

__all__ = ["Period", "read"]

Period = tuple[datetime | None, datetime | None]
"""The period in which events were received: from (included), until (excluded)."""

_TRIES = 5
"""Attempts, when files are deleted during reading: retention deletes one now and then, not many in a row."""
_LONGEST = 1 << 23
"""Bytes of a line: more than any event has; DuckDB refuses files with lines of twice as many."""
_CHUNK = 1 << 20

_TEXTS = {
    "type": "type",
    "messageId": "id",
    "userId": "user_id",
    "anonymousId": "anonymous_id",
    "event": "event_text",
    "name": "name",
    "category": "category",
    "groupId": "group_id",
    "previousId": "previous_id",
    "sourceId": "source_id",
    "originalTimestamp": "original_timestamp",
    "sentAt": "sent_at",
}
_MOMENTS = {"timestamp": "timestamp", "receivedAt": "received_at"}
"""Times that the collector has written. The sender's times are parsed where a query uses them."""


def read(
    database: Database, directory: Path, tables: Collection[Table], period: Period, *, tries: int = _TRIES
) -> tuple[int, int]:
    """Make `store.events` with the columns that these tables need.

    Returns:
        The number of files read, and of their lines that are not events.

    Raises:
        SettingsError: the directory does not exist.
        QueryError: its files cannot be read.
    """
    log = FileReader(directory, unsynced=True, is_record=_anything)
    files = _files(log)
    database.run("CREATE SCHEMA IF NOT EXISTS store")
    try:
        return len(files), sum(_load(database, log, files, tables, period).values())
    except (duckdb.IOException, duckdb.InvalidInputException, OSError) as error:
        if tries > 1 and not all(file.path.exists() for file in files):
            return read(database, directory, tables, period, tries=tries - 1)
        raise QueryError(f"cannot read the events in {directory}: {error}") from error
    finally:
        log.close()


def _anything(_: bytes) -> bool:
    return True  # what is no event is counted by the database


def _files(log: FileReader) -> list[Segment]:
    try:
        log.path.stat()
        return log.segments()
    except OSError as error:
        raise SettingsError(f"cannot read events in {log.path}: {error.strerror}") from error


def _load(
    database: Database, log: FileReader, files: Sequence[Segment], tables: Collection[Table], period: Period
) -> dict[str, int]:
    """Read the files; how many lines are no events, by the name of the file."""
    suspects: Collection[str] = [file.path.name for file in files]
    paths = [file.path for file in files]
    try:
        suspects = damaged = _load_as_they_are(database, paths, tables, period)
    except duckdb.InvalidInputException:  # a line has no end for megabytes
        damaged = {}
    if suspects:
        with tempfile.TemporaryDirectory(prefix="millstream-") as folder:
            normalized = [
                _repaired(log, file, following, Path(folder)) if file.path.name in suspects else file.path
                for file, following in zip_longest(files, files[1:])
            ]
            if normalized != paths:
                damaged = _load_as_they_are(database, normalized, tables, period)
    return damaged


def _load_as_they_are(
    database: Database, files: Sequence[Path], tables: Collection[Table], period: Period
) -> dict[str, int]:
    database.run(_statement(files, tables, period), part=(0, 0.6))
    rows = database.run("SELECT damaged, count(*) FROM store.events WHERE damaged IS NOT NULL GROUP BY 1")
    return {Path(name).name: count for name, count in rows}


def _repaired(log: FileReader, file: Segment, following: Segment | None, folder: Path) -> Path:
    """A file that DuckDB reads as the collector's other readers do: it, or a copy.

    They end a line at a NUL, too: room that was reserved and never written, and what truncating a file has left, is
    full of them. In the last file, they leave out what the collector has not yet reported as kept.
    """
    if following is not None and not _has_holes(file.path):
        return file.path
    copy = folder / file.path.name
    at = file.base
    end = log.durable() if following is None else following.base
    with copy.open("wb") as lines:
        while at < end:
            records, after = log.read(at, 10_000, _CHUNK)
            for record in records:
                if record.end > end:
                    break
                lines.write(record.data if len(record.data) <= _LONGEST else b"?")
                lines.write(b"\n")
            if after <= at:
                break
            at = after
    return copy


def _has_holes(path: Path) -> bool:
    """Whether a file has NULs, or no line ends for megabytes."""
    line = 0
    with path.open("rb") as file:
        while data := file.read(_CHUNK):
            line = 0 if b"\n" in data else line + len(data)
            if b"\0" in data or line > _LONGEST:
                return True
    return False


def _statement(files: Collection[Path], tables: Collection[Table], period: Period) -> str:
    types = {table.type for table in tables}
    needed = {"context", *(table.objects for table in tables), *(name for table in tables for name in table.own)}
    columns = [
        *(f"{quoted(wire)} AS {name}" for wire, name in _TEXTS.items() if wire != "event"),
        "CASE type WHEN 'track' THEN event END AS event_text",
        *(f"{moment(quoted(wire))} AS {name}" for wire, name in _MOMENTS.items()),
        *(name if name in needed else f"CAST(NULL AS JSON) AS {name}" for name in OBJECTS),
    ]
    fields = {**dict.fromkeys((*_TEXTS, *_MOMENTS), "VARCHAR"), **{name: "JSON" for name in OBJECTS if name in needed}}
    conditions = [f"type IN ({', '.join(map(literal, sorted(types)))})"] if "" not in types else []
    conditions += [
        f"{moment(quoted('receivedAt'))} {operator} {moment(literal(when.isoformat()))}"
        for operator, when in zip((">=", "<"), period, strict=True)
        if when
    ]
    # A line that cannot be parsed becomes an empty row, so that it is counted.
    columns.append("CASE WHEN type IS NULL THEN filename END AS damaged")
    where = f"type IS NULL OR ({' AND '.join(conditions)})" if conditions else "true"
    select = f"SELECT {', '.join(columns)} FROM {_source(files, fields)} WHERE {where}"
    return f"CREATE OR REPLACE TABLE store.events AS {select}"


def _source(files: Collection[Path], fields: dict[str, str]) -> str:
    if not files:
        nothing = ", ".join(f"CAST(NULL AS {kind}) AS {quoted(name)}" for name, kind in fields.items())
        return f"(SELECT {nothing}, '' AS filename LIMIT 0)"
    listed = ", ".join(literal(str(path)) for path in files)
    shape = ", ".join(f"{literal(name)}: '{kind}'" for name, kind in fields.items())
    options = "format = 'newline_delimited', ignore_errors = true, filename = true"
    return f"read_json([{listed}], {options}, columns = {{{shape}}})"
