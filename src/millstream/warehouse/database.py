"""A DuckDB database in memory: reports progress, can be interrupted, and can be kept from files."""

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
"""Called about ten times a second with the progress, from 0 to 1."""

_OFTEN = 0.1

_NO_EXTENSIONS = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
_LOCK = {"enable_external_access": "false", "lock_configuration": "true"}
"""Keep statements from reading, writing or loading files, and from the network; irreversible."""


def locked() -> DuckDBPyConnection:
    """Make an empty database in which a user's SQL is parsed. To name its tables DuckDB binds it, which opens files."""
    return duckdb.connect(config={**_NO_EXTENSIONS, **_LOCK})


class Database:
    """An empty database.

    `connection` is DuckDB's own; `share` is the part of the progress, from 0 to 1, that the current work makes up.

    Long work goes through `run` or `attend`, which use a thread of their own: on the main thread DuckDB would delay
    Ctrl-C.
    """

    def __init__(self, on_progress: OnProgress | None = None, share: tuple[float, float] = (0, 1)) -> None:
        self.connection = duckdb.connect(config=dict(_NO_EXTENSIONS))
        # Data that does not fit into memory. DuckDB makes the directory when needed, and removes it.
        spill = os.path.join(tempfile.gettempdir(), f"millstream-{uuid.uuid4().hex}")  # noqa: PTH118
        self.set("temp_directory", literal(spill))
        self.set("TimeZone", "'UTC'")
        if on_progress:
            self.set("enable_progress_bar", "true")  # DuckDB reports progress only with this
            self.set("enable_progress_bar_print", "false")
        self.share = share
        self._on_progress = on_progress
        self._thread = ThreadPoolExecutor(1, "millstream-query")

    def set(self, option: str, value: str) -> None:
        """Set a DuckDB option. `value` is SQL."""
        self.connection.execute(f"SET {option} = {value}")

    def run(self, sql: str, parameters: object = None, *, part: tuple[float, float] = (0, 0)) -> list[tuple[Any, ...]]:
        """Execute a statement; return its rows.

        Args:
            sql: one statement.
            parameters: its parameters.
            part: its part of `share`; (0, 0.6) is the first three fifths.
        """
        return self.attend(lambda: self.connection.execute(sql, parameters).fetchall(), part=part)

    def attend(self, work: Callable[[], T], *, part: tuple[float, float] = (0, 0)) -> T:
        """Return the result of `work`, which uses the connection."""
        result = self._thread.submit(work)
        try:
            while not wait([result], _OFTEN).done:
                self._tell(*part)
        except KeyboardInterrupt:
            self.connection.interrupt()
            raise
        return result.result()

    def lock(self) -> None:
        """Keep later statements from files and the network. Irreversible."""
        for option, value in _LOCK.items():
            self.set(option, value)

    def detach(self) -> DuckDBPyConnection:
        """Return the connection, which the caller then owns."""
        self._thread.shutdown()
        return self.connection

    def close(self) -> None:
        """Close the connection."""
        self._thread.shutdown()
        self.connection.close()

    def _tell(self, begin: float, end: float) -> None:
        if self._on_progress and end:
            of_this = max(self.connection.query_progress(), 0.0) / 100
            first, last = self.share
            self._on_progress(first + (last - first) * (begin + (end - begin) * of_this))
