"""Queries: SQL over a collector's stored events."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import duckdb
from duckdb import DuckDBPyConnection

from millstream._public import publish
from millstream.errors import QueryError

from .database import OnProgress, locked
from .reader import Period
from .snapshot import ALWAYS, Snapshot, take

__all__ = ["Result", "connect", "explained", "query"]

_log = logging.getLogger("millstream")

_QUESTIONS = {"SELECT", "EXPLAIN", "CALL", "PRAGMA", "MULTI"}
"""DuckDB's types of statements that return rows. DESCRIBE, SHOW and SUMMARIZE are a kind of SELECT."""
_ROWS = 1_000
"""Rows fetched at a time."""


class Result:
    """The result of a query. Iterate once over its rows, as they are computed.

    `columns` are names with DuckDB's types; `files` is the number of files read, `unreadable` the number of their lines
    that are not events. `omitted` counts the values of a view that are in no column, by reason. `warnings` say both in
    words.
    """

    def __init__(self, snapshot: Snapshot, columns: list[tuple[str, str]]) -> None:
        self.columns = columns
        self.files = snapshot.files
        self.unreadable = snapshot.unreadable
        self.omitted = snapshot.omitted
        self.warnings = snapshot.warnings
        self._database = snapshot.database

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        while rows := self._fetch():
            yield from rows

    def __enter__(self) -> Result:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the snapshot."""
        self._database.close()

    def _fetch(self) -> list[tuple[Any, ...]]:
        with explained():
            return self._database.attend(lambda: self._database.connection.fetchmany(_ROWS))


def query(
    directory: str | os.PathLike[str],
    sql: str,
    *,
    received: Period = ALWAYS,
    on_progress: OnProgress | None = None,
) -> Result:
    """Query the events in a collector's directory, also while it runs.

    Args:
        directory: the `--data` directory of `millstream serve`.
        sql: one statement in DuckDB's SQL.
        received: only events received in this period.
        on_progress: called with the progress of reading, from 0 to 1.

    Raises:
        QueryError: the statement fails.
        SettingsError: the directory does not exist.
    """
    tables = _tables_in(sql)
    snapshot = take(directory, tables or None, received=received, on_progress=on_progress)
    database = snapshot.database
    try:
        database.lock()
        with explained():
            found = database.attend(lambda: database.connection.execute(sql))
            return Result(snapshot, [(name, str(kind)) for name, kind, *_ in found.description or ()])
    except BaseException:
        database.close()
        raise


def connect(
    directory: str | os.PathLike[str], *, received: Period = ALWAYS, external_access: bool = False
) -> DuckDBPyConnection:
    """Open a DuckDB connection with all views of the warehouse at this moment: for notebooks and data frames.

    The database is in memory and the caller's own: its changes affect no event. The counts of lines and values that are
    left out of the views are logged as warnings.

    Args:
        directory: the `--data` directory of `millstream serve`.
        received: only events received in this period.
        external_access: whether its SQL may use files, extensions and the network: COPY, ATTACH, INSTALL, `read_csv`.
            Otherwise DuckDB refuses them: SQL from users who may see the events reaches nothing else.

    Raises:
        SettingsError: the directory does not exist.
        QueryError: its files cannot be read.
    """
    snapshot = take(directory, received=received)
    for warning in snapshot.warnings:
        _log.warning("%s: %s", directory, warning)
    if not external_access:
        snapshot.database.lock()
    return snapshot.database.detach()


def _tables_in(sql: str) -> set[str]:
    """Return the tables that a query names; none if that is unknown before they exist.

    Raises:
        QueryError: the statement is not a query.
    """
    with locked() as nothing, explained():
        # Older versions parse a PIVOT as two statements: the first makes a type.
        kinds = [statement.type.name for statement in nothing.extract_statements(sql)]
        if wrong := [kind for kind in kinds if kind not in {*_QUESTIONS, "CREATE"}]:
            raise QueryError(f"{wrong[0]} is not a query, which only reads events; `millstream export` writes files")
        if (count := sum(kind in _QUESTIONS for kind in kinds)) != 1:
            raise QueryError(f"{count} statements: pass one at a time")
        try:
            return {name.lower() for name in nothing.get_table_names(sql)}
        except duckdb.PermissionException:
            raise
        except duckdb.Error:
            return set()


@contextmanager
def explained() -> Generator[None, None, None]:
    """Translate DuckDB's exceptions into ours, with a remedy where known."""
    try:
        yield
    except duckdb.PermissionException as error:
        raise QueryError(f"{error}\nA query reads events, not files; `millstream export` writes files.") from error
    except duckdb.CatalogException as error:
        remedy = "\n`show tables` lists the views." if "Table" in str(error) else ""
        raise QueryError(f"{error}{remedy}") from error
    except duckdb.Error as error:
        raise QueryError(str(error)) from error


publish("millstream.warehouse", Result, connect, query)
