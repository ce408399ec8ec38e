"""What is in a collector's directory at one moment, as the tables of the warehouse, in a database of its own."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from .database import Database, OnProgress
from .inference import look
from .names import identifier
from .reader import Period, read
from .shapes import MAX_COLUMNS
from .tables import STANDARD, Table, event_table

__all__ = ["ALWAYS", "MAX_TABLES", "OMITTED", "Snapshot", "take"]

MAX_TABLES = 1_000
"""Tables for events, the most frequent first: names that are data (`Order 17 Paid`) must not make tables without
end."""

ALWAYS: Period = (None, None)

OMITTED = {
    "same_name": "values that are not shown, as another of the event has the same column",
    "too_many_columns": f"values without a column, as the view has {MAX_COLUMNS:,} already",
    "nul_in_name": "values without a column, as there is a NUL in their name",
    "too_many_views": f"events without a view of their own, as there are {MAX_TABLES:,} already",
}
"""Why a value is in no column. It is in the JSON of the view `events`."""


@dataclass(frozen=True)
class Snapshot:
    """A database with the tables of the warehouse.

    `tables` are all that there are; those that were asked for have a view. `files` were read; in them, `unreadable`
    lines were no events. `omitted` says of a view how many values are in none of its columns, by reason.
    """

    database: Database
    tables: dict[str, Table]
    files: int
    unreadable: int
    omitted: dict[str, dict[str, int]]

    @property
    def warnings(self) -> list[str]:
        """Sentences that count the lines and values that are left out."""
        told = [f"lines that cannot be read, and are left out: {self.unreadable:,}"] if self.unreadable else []
        return told + [
            f"{view}: {OMITTED[reason]}: {count:,}"
            for view, reasons in self.omitted.items()
            for reason, count in reasons.items()
        ]


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
        files, unreadable = read(database, Path(directory), STANDARD.values() if wanted is None else wanted, received)
        not_free = _keywords(database)
        by_event, without = _event_tables(database, not_free)
        known = {**STANDARD, **by_event}
        if tables is None or known.keys() >= set(tables):
            chosen = known if tables is None else {name: known[name] for name in tables}
            omitted: dict[str, dict[str, int]] = {}
            for name, columns in look(database, chosen, not_free=not_free).items():
                database.run(known[name].view(name, columns.members, columns.context))
                if columns.omitted:
                    omitted[name] = dict(columns.omitted)
            if tables is None and without:
                omitted.setdefault("tracks", {})["too_many_views"] = without
            return Snapshot(database, known, files, unreadable, omitted)
    except BaseException:
        database.close()
        raise
    database.close()
    return take(directory, received=received, on_progress=on_progress, share=share)


def _keywords(database: Database) -> set[str]:
    """The words that SQL takes for its own."""
    rows = database.run(
        "SELECT keyword_name FROM duckdb_keywords() GROUP BY 1 HAVING bool_or(keyword_category = 'reserved') "
        "OR (bool_or(keyword_category = 'type_function') AND NOT bool_or(keyword_category = 'column_name'))"
    )
    return {word for (word,) in rows}


def _event_tables(database: Database, not_free: set[str]) -> tuple[dict[str, Table], int]:
    """A table for each name in SQL that tracked events have, and how many events are in none.

    `store.named` says which events are in it.
    """
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
    with_table = set(list(dict.fromkeys(names.values()))[:MAX_TABLES])
    without = sum(count for text, count in rows if names[text] not in with_table)
    return {event: event_table(event) for event in dict.fromkeys(names.values()) if event in with_table}, without
