"""A snapshot: the tables of a collector's directory at one moment, in a database of its own."""

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
"""Tables of events, the most frequent first: data used as names (`Order 17 Paid`) must not add tables without
end."""

ALWAYS: Period = (None, None)

OMITTED = {
    "same_name": "values hidden by another of the event in the same column",
    "too_many_columns": f"values without a column, as the view has {MAX_COLUMNS:,} already",
    "nul_in_name": "values without a column, as there is a NUL in their name",
    "too_many_views": f"events without a view of their own, as the limit of {MAX_TABLES:,} is reached",
}
"""Why a value is in no column. The JSON in the view `events` has it."""


@dataclass(frozen=True)
class Snapshot:
    """A database with the tables of the warehouse.

    `tables` are all tables; the wanted ones have a view. `files` is the number of files read, `unreadable` the number
    of their lines that are not events. `omitted` counts the values of a view that are in no column, by reason.
    """

    database: Database
    tables: dict[str, Table]
    files: int
    unreadable: int
    omitted: dict[str, dict[str, int]]

    @property
    def warnings(self) -> list[str]:
        """Sentences that count omitted lines and values."""
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
    """Take a snapshot of a collector's directory.

    Args:
        directory: the `--data` directory of `millstream serve`.
        tables: the wanted tables: only their data is read. None is all, and so is an unknown name.
        received: only events received in this period.
        on_progress: see OnProgress.
        share: the part of the whole progress that this makes up.

    Raises:
        SettingsError: the directory does not exist.
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
    """The reserved words of SQL."""
    rows = database.run(
        "SELECT keyword_name FROM duckdb_keywords() GROUP BY 1 HAVING bool_or(keyword_category = 'reserved') "
        "OR (bool_or(keyword_category = 'type_function') AND NOT bool_or(keyword_category = 'column_name'))"
    )
    return {word for (word,) in rows}


def _event_tables(database: Database, not_free: set[str]) -> tuple[dict[str, Table], int]:
    """Make a table for each SQL name of tracked events; return them with the number of events that are in none.

    `store.named` maps events to tables.
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
