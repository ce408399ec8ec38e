"""SQL over a collector's stored events."""

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
"""What DuckDB calls the statements that have an answer. DESCRIBE, SHOW and SUMMARIZE are a kind of SELECT."""
_ROWS = 1_000
"""Rows that are fetched at once."""


class Result:
    """What a query found. Iterating gives the rows, once, as they are computed.

    `columns` are names with DuckDB's types; `files` were read, in which `unreadable` lines were no events. `omitted`
    says of a view how many values are in none of its columns, by reason. `warnings` say both in words.
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
        """Let go of the snapshot."""
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
    """Ask a question of the events in a collector's directory, also while it runs.

    Args:
        directory: what `millstream serve` has as `--data`.
        sql: one statement in DuckDB's SQL.
        received: from when, and until when, the events that count were received.
        on_progress: is told how much of the reading is done, from 0 to 1.

    Raises:
        QueryError: it cannot be answered.
        SettingsError: there is no such directory.
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
    """A DuckDB connection with all views of the warehouse, as they are at this moment: for a notebook, for data frames.

    The database is in memory and the caller's own: tables that it makes there change no event. The counts of lines and
    values that are left out of the views are logged as warnings.

    Args:
        directory: what `millstream serve` has as `--data`.
        received: from when, and until when, the events that count were received.
        external_access: whether its SQL may use files, extensions and the network: COPY, ATTACH, INSTALL, `read_csv`.
            Without, DuckDB refuses them, so that SQL from users who may see the events reaches nothing else.

    Raises:
        SettingsError: there is no such directory.
        QueryError: its files cannot be read.
    """
    snapshot = take(directory, received=received)
    for warning in snapshot.warnings:
        _log.warning("%s: %s", directory, warning)
    if not external_access:
        snapshot.database.lock()
    return snapshot.database.detach()


def _tables_in(sql: str) -> set[str]:
    """The tables that a question names; none if that cannot be said before they are there.

    Raises:
        QueryError: it is no question.
    """
    with locked() as nothing, explained():
        # A PIVOT is two statements for older versions: it makes a type first.
        kinds = [statement.type.name for statement in nothing.extract_statements(sql)]
        if wrong := [kind for kind in kinds if kind not in {*_QUESTIONS, "CREATE"}]:
            raise QueryError(f"{wrong[0]} is no question: a query only reads events; `millstream export` writes files")
        if (count := sum(kind in _QUESTIONS for kind in kinds)) != 1:
            raise QueryError(f"there are {count} questions: ask one at a time")
        try:
            return {name.lower() for name in nothing.get_table_names(sql)}
        except duckdb.PermissionException:
            raise
        except duckdb.Error:
            return set()


@contextmanager
def explained() -> Generator[None, None, None]:
    """DuckDB's exceptions as ours, with a remedy where we know one."""
    try:
        yield
    except duckdb.PermissionException as error:
        raise QueryError(f"{error}\nA query reads the events and no files; `millstream export` writes some.") from error
    except duckdb.CatalogException as error:
        remedy = "\n`show tables` lists the views that there are." if "Table" in str(error) else ""
        raise QueryError(f"{error}{remedy}") from error
    except duckdb.Error as error:
        raise QueryError(str(error)) from error


publish("millstream.warehouse", Result, connect, query)
