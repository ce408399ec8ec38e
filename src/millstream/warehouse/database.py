"""A DuckDB database in memory, whose work can be watched, stopped with Ctrl-C, and kept away from files."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar

import duckdb
from duckdb import DuckDBPyConnection

from .names import literal

__all__ = ["Database", "OnProgress", "locked"]

T = TypeVar("T")

OnProgress = Callable[[float], object]
"""Is told about ten times a second how much is done, from 0 to 1."""

_OFTEN = 0.1

_NO_EXTENSIONS = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
_LOCK = {"enable_external_access": "false", "lock_configuration": "true"}
"""With these, no statement can read, write or load a file, or ask the network; there is no way back."""


def locked() -> DuckDBPyConnection:
    """An empty database for looking at a user's SQL. To name its tables DuckDB binds it, which opens files."""
    return duckdb.connect(config={**_NO_EXTENSIONS, **_LOCK})


class Database:
    """An empty database.

    `connection` is DuckDB's own; `share` is which part of the whole work is done now, from 0 to 1.

    All that takes long goes through `run` or `attend`, which work in a thread of their own: on the main thread DuckDB
    would keep Ctrl-C waiting.
    """

    def __init__(self, on_progress: OnProgress | None = None, share: tuple[float, float] = (0, 1)) -> None:
        self.connection = duckdb.connect(config=dict(_NO_EXTENSIONS))
        # What does not fit into memory goes there. DuckDB makes the directory when it needs it, and takes it away.
        spill = os.path.join(tempfile.gettempdir(), f"millstream-{uuid.uuid4().hex}")  # noqa: PTH118
        self.set("temp_directory", literal(spill))
        self.set("TimeZone", "'UTC'")
        if on_progress:
            self.set("enable_progress_bar", "true")  # or it would not know how far it is
            self.set("enable_progress_bar_print", "false")
        self.share = share
        self._on_progress = on_progress
        self._thread = ThreadPoolExecutor(1, "millstream-query")

    def set(self, option: str, value: str) -> None:
        """Set one of DuckDB's options. `value` is SQL."""
        self.connection.execute(f"SET {option} = {value}")

    def run(self, sql: str, parameters: object = None, *, part: tuple[float, float] = (0, 0)) -> list[tuple[Any, ...]]:
        """The rows that a statement has.

        Args:
            sql: one statement.
            parameters: for it.
            part: which part of `share` this is; (0, 0.6) is the first three fifths.
        """
        return self.attend(lambda: self.connection.execute(sql, parameters).fetchall(), part=part)

    def attend(self, work: Callable[[], T], *, part: tuple[float, float] = (0, 0)) -> T:
        """The result of `work`, which uses the connection."""
        result = self._thread.submit(work)
        try:
            while not wait([result], _OFTEN).done:
                self._tell(*part)
        except KeyboardInterrupt:
            self.connection.interrupt()
            raise
        return result.result()

    def lock(self) -> None:
        """From now on, nothing that is asked of it can read, write or load a file. There is no way back."""
        for option, value in _LOCK.items():
            self.set(option, value)

    def detach(self) -> DuckDBPyConnection:
        """The connection alone, for a caller that goes on with it."""
        self._thread.shutdown()
        return self.connection

    def close(self) -> None:
        """Let go of everything."""
        self._thread.shutdown()
        self.connection.close()

    def _tell(self, begin: float, end: float) -> None:
        if self._on_progress and end:
            of_this = max(self.connection.query_progress(), 0.0) / 100
            first, last = self.share
            self._on_progress(first + (last - first) * (begin + (end - begin) * of_this))
