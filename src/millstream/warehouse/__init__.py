"""The collector's stored events as a warehouse: tables that SQL can be asked of, and files for other tools.

    names      what tables and columns are called
    shapes     which columns objects become: from the shapes of all of them, with types
    tables     which tables there are, and the SQL that makes each
    database   DuckDB, in memory
    reading    the collector's files as rows
    looking    the columns of a table
    snapshot   all of it together, at one moment
    querying   a question and its answer
    exporting  tables as files

    from millstream.warehouse import connect

    connect("millstream-data").sql("select event, count(*) from tracks group by 1")

The collector may be writing meanwhile. Nothing in its directory is changed.
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
