"""The warehouse: the collector's stored events as tables for SQL, and as files for other tools.

    names      names of tables and columns
    shapes     columns and types from the shapes of JSON objects
    tables     the tables, and the SQL of each
    database   DuckDB, in memory
    reader     the collector's files as rows
    inference  infers the columns of a table
    snapshot   all tables at one moment
    querying   a query and its result
    exporting  tables as files

    from millstream.warehouse import connect

    connect("millstream-data").sql("select event, count(*) from tracks group by 1")

The collector may be running at the same time. Nothing in its directory is changed.
"""

from __future__ import annotations

from millstream.errors import MissingExtra

try:
    from .exporting import export
    from .querying import Result, connect, query
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "duckdb":
        raise
    raise MissingExtra("SQL over stored events", "duckdb") from error

__all__ = ["Result", "connect", "export", "query"]
