"""What is in a collector's directory at one moment, as the tables of the warehouse, in a database of its own."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from .database import Database, OnProgress
from .looking import look
from .names import identifier
from .reading import Period, read
from .tables import STANDARD, Table, event_table

__all__ = ["ALWAYS", "MAX_TABLES", "Snapshot", "take"]

MAX_TABLES = 1_000
"""Tables for events, the most frequent first: names that are data (`Order 17 Paid`) must not make tables without
end."""

ALWAYS: Period = (None, None)


@dataclass(frozen=True)
class Snapshot:
    """A database with the tables of the warehouse.

    `tables` are all that there are; those that were asked for have a view. `files` were read; in them, `unreadable`
    lines were no events.
    """

    database: Database
    tables: dict[str, Table]
    files: int
    unreadable: int


def take(
    directory: str | os.PathLike[str],
    tables: Collection[str] | None = None,
    *,
    received: Period = ALWAYS,
    on_progress: OnProgress | None = None,
    share: tuple[float, float] = (0, 1),
) -> Snapshot:
    """A snapshot of a collector's directory.

    Args:
        directory: what `millstream serve` has as `--data`.
        tables: the ones that are wanted: only what they need is read. None is all, and so is one that does not exist.
        received: when the events were received.
        on_progress: see OnProgress.
        share: which part of the whole work this is.

    Raises:
        SettingsError: there is no such directory.
        QueryError: its files cannot be read.
    """
    database = Database(on_progress, share)
    try:
        wanted = None if tables is None else [STANDARD.get(name) or event_table(name) for name in tables]
        files = read(database, Path(directory), STANDARD.values() if wanted is None else wanted, received)
        ((unreadable,),) = database.run("SELECT count(*) FROM store.events WHERE type IS NULL")
        not_free = _keywords(database)
        known = {**STANDARD, **_event_tables(database, not_free)}
        if tables is None or known.keys() >= set(tables):
            chosen = known if tables is None else {name: known[name] for name in tables}
            for name, (members, context) in look(database, chosen, not_free=not_free).items():
                database.run(known[name].view(name, members, context))
            return Snapshot(database, known, files, unreadable)
    except BaseException:
        database.close()
        raise
    database.close()
    return take(directory, received=received, on_progress=on_progress, share=share)


def _keywords(database: Database) -> set[str]:
    """The words that SQL takes for its own."""
    rows = database.run("SELECT keyword_category, keyword_name FROM duckdb_keywords()")
    words = {category: {word for kind, word in rows if kind == category} for category, _ in rows}
    return words["reserved"] | (words["type_function"] - words["column_name"])


def _event_tables(database: Database, not_free: set[str]) -> dict[str, Table]:
    """A table for each name in SQL that tracked events have; `store.named` says which events are in it."""
    rows = database.run(
        "SELECT event_text, count(*) FROM store.events WHERE event_text IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    names = {text: identifier(text, not_free=not_free | STANDARD.keys()) for text, _ in rows}
    database.run(
        "CREATE TABLE store.names AS SELECT unnest(?::VARCHAR[]) AS event_text, unnest(?::VARCHAR[]) AS event",
        [list(names), list(names.values())],
    )
    database.run(
        "CREATE VIEW store.named AS SELECT stored.*, stored.rowid AS seq, names.event "
        "FROM store.events AS stored LEFT JOIN store.names AS names USING (event_text) WHERE type IS NOT NULL"
    )
    return {event: event_table(event) for event in list(dict.fromkeys(names.values()))[:MAX_TABLES]}
