"""The lines of a collector's files as rows: `store.events`.

They are read once. What is written later is not in the snapshot, so that its columns and its rows agree. The collector
may be writing meanwhile: a line that is not finished yet is left out, and if a file has gone before it was read,
reading begins anew.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from datetime import datetime
from pathlib import Path

import duckdb

from millstream.errors import QueryError, SettingsError

from .database import Database
from .names import literal, quoted
from .tables import OBJECTS, Table, moment

__all__ = ["Period", "read"]

Period = tuple["datetime | None", "datetime | None"]
"""From when (included) until when (not included) events were received."""

_TRIES = 5
"""How often reading begins anew because a file has gone: retention takes one now and then, not one after another."""

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
}
_MOMENTS = {
    "timestamp": "timestamp",
    "originalTimestamp": "original_timestamp",
    "sentAt": "sent_at",
    "receivedAt": "received_at",
}


def read(database: Database, directory: Path, tables: Collection[Table], period: Period, *, tries: int = _TRIES) -> int:
    """Make `store.events` with what these tables need; how many files it was read from.

    Raises:
        SettingsError: there is no such directory.
        QueryError: its files cannot be read.
    """
    files = _files(directory)
    database.run("CREATE SCHEMA IF NOT EXISTS store")
    try:
        database.run(_statement(files, tables, period), part=(0, 0.6))
    except duckdb.IOException as error:
        if tries > 1 and not all(map(os.path.exists, files)):
            return read(database, directory, tables, period, tries=tries - 1)
        raise QueryError(f"cannot read the events in {directory}: {error}") from error
    return len(files)


def _files(directory: Path) -> list[str]:
    """The files of events, in the order in which they were written."""
    try:
        return sorted(entry.path for entry in os.scandir(directory) if entry.name.endswith(".jsonl"))
    except OSError as error:
        raise SettingsError(f"cannot read events in {directory}: {error.strerror}") from error


def _statement(files: Collection[str], tables: Collection[Table], period: Period) -> str:
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
    # A line that cannot be read is a row without anything: it is kept to be counted.
    where = f"type IS NULL OR ({' AND '.join(conditions)})" if conditions else "true"
    return f"CREATE TABLE store.events AS SELECT {', '.join(columns)} FROM {_source(files, fields)} WHERE {where}"


def _source(files: Collection[str], fields: dict[str, str]) -> str:
    if not files:
        nothing = ", ".join(f"CAST(NULL AS {kind}) AS {quoted(name)}" for name, kind in fields.items())
        return f"(SELECT {nothing} LIMIT 0)"
    listed = ", ".join(map(literal, files))
    shape = ", ".join(f"{literal(name)}: '{kind}'" for name, kind in fields.items())
    return f"read_json([{listed}], format = 'newline_delimited', ignore_errors = true, columns = {{{shape}}})"
