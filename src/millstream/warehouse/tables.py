"""The tables of the warehouse, and the SQL that makes each.

    events                                          every event, its objects as JSON
    identifies, pages, screens, groups, aliases     events of one type: a column for every trait or property
    tracks                                          all tracked events, without their properties
    order_completed, …                              tracked events of one name: a column for every property
    users, accounts                                 one row for every user or group, with the latest traits

They are views over `store.named`, which `snapshot` makes. Pure: text in, text out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..spec import STORED_TIME
from .names import literal, quoted
from .shapes import ISO_DATE, Column, Source

__all__ = ["OBJECTS", "STANDARD", "Members", "Table", "event_table", "moment"]

OBJECTS = ("properties", "traits", "context")
"""Fields that hold objects."""

_WHO = ("id", "timestamp", "user_id", "anonymous_id")
_OF_THE_SENDER = ("original_timestamp", "sent_at")
"""Times kept as received: text, parsed where a query uses them."""
_WHENCE = ("original_timestamp", "sent_at", "received_at", "source_id")
_TRACKED = ("event", "event_text")
_NAMED = ("name", "category")


@dataclass(frozen=True)
class Table:
    """A table of the warehouse.

    Args:
        type: of its events; all if empty.
        objects: the field whose members are columns; none if empty.
        own: columns of its own, beside those that every table has.
        taken_in: columns of `own` in which a member of the same name replaces a missing field.
        event: the SQL name of its only event; all if empty.
        latest_by: the column with one row for each value; the row has the latest of every column.
    """

    type: str
    objects: str = ""
    own: tuple[str, ...] = ()
    taken_in: tuple[str, ...] = ()
    event: str = ""
    latest_by: str = ""

    @property
    def first(self) -> tuple[str, ...]:
        """The columns before those from objects."""
        return ("id", "timestamp") if self.latest_by else (*_WHO, *self.own)

    @property
    def last(self) -> tuple[str, ...]:
        """The columns after those from objects."""
        return ("received_at",) if self.latest_by else _WHENCE

    @property
    def not_free(self) -> set[str]:
        """Reserved column names; the same for a table and its latest rows."""
        return {*_WHO, *self.own, *_WHENCE, self.latest_by}

    @property
    def rows(self) -> str:
        """The condition for its events."""
        kind = f"type = {literal(self.type)}" if self.type else "true"
        one = f" AND event = {literal(self.event)}" if self.event else ""
        named = f" AND {self.latest_by} <> ''" if self.latest_by else ""
        return kind + one + named

    def view(self, name: str, members: Members, context: Members) -> str:
        """Make the statement that creates its view.

        Args:
            name: the view's name.
            members: columns from `objects`.
            context: columns from `context`.
        """
        columns = [
            *((column, self._standard(column)) for column in self.first),
            *((column.name, members.value(column)) for column in members.columns),
            *((column.name, context.value(column)) for column in context.columns),
            *((column, self._standard(column)) for column in self.last),
        ]
        taken = "".join(f", {texts}" for texts in (members.texts, context.texts) if texts)
        if self.latest_by:  # by time, as events may arrive out of order
            columns = [(column, f"arg_max({value}, latest)") for column, value in columns]
            columns[0] = ("id", self.latest_by)
            taken += ", row_number() OVER (ORDER BY timestamp NULLS FIRST, seq) AS latest"
        listed = ", ".join(f"{value} AS {quoted(column)}" for column, value in columns)
        source = f"(SELECT *{taken} FROM store.named WHERE {self.rows})"
        grouped = f" GROUP BY {self.latest_by}" if self.latest_by else ""
        return f"CREATE VIEW {quoted(name)} AS SELECT {listed} FROM {source}{grouped}"

    def hidden(self, column: str) -> str:
        """SQL for the number of an event's values that a column of `taken_in` hides."""
        return f"CASE WHEN {column} <> {self._member(column)} THEN 1 ELSE 0 END"

    def _standard(self, column: str) -> str:
        if column in _OF_THE_SENDER:
            return f"CASE WHEN regexp_full_match({column}, {literal(STORED_TIME)}) THEN {moment(column)} END"
        return f"coalesce({column}, {self._member(column)})" if column in self.taken_in else column

    def _member(self, column: str) -> str:
        member = f"{self.objects}, '/{column}'"
        return f"CASE WHEN json_type({member}) <> 'OBJECT' THEN json_extract_string({member}) END"


STANDARD: dict[str, Table] = {
    "events": Table("", own=("type", *_TRACKED, *_NAMED, "group_id", "previous_id", "properties", "traits", "context")),
    "tracks": Table("track", own=_TRACKED),
    "identifies": Table("identify", "traits"),
    "users": Table("identify", "traits", latest_by="user_id"),
    "pages": Table("page", "properties", own=_NAMED, taken_in=_NAMED),
    "screens": Table("screen", "properties", own=_NAMED, taken_in=_NAMED),
    "groups": Table("group", "traits", own=("group_id",)),
    "accounts": Table("group", "traits", latest_by="group_id"),
    "aliases": Table("alias", "traits", own=("previous_id",)),
}
"""Tables that exist in every warehouse."""


def event_table(event: str) -> Table:
    """Make the table of a tracked event, by its SQL name."""
    return Table("track", "properties", own=_TRACKED, event=event)


@dataclass(frozen=True)
class Members:
    """Reads the columns that come from one kind of object.

    Args:
        objects: the column with the objects, as JSON.
        columns: the columns to read.
    """

    objects: str = ""
    columns: Sequence[Column] = ()

    @property
    def texts(self) -> str:
        """SQL for the texts of all sources at once, so that an object is parsed once and not for every column."""
        if not self.columns:
            return ""
        pointers = ", ".join(literal(source.pointer) for source in self._places)
        return f"json_extract_string({self.objects}, [{pointers}]) AS {self.objects}_texts"

    def value(self, column: Column) -> str:
        """SQL for a column's value, in its type."""
        if column.type == "JSON":
            return self._first(column, lambda s: f"nullif(json_extract({self.objects}, {literal(s.pointer)}), 'null')")
        text = self.text(column)
        if column.type == "VARCHAR":
            return text
        return moment(text) if column.type == "TIMESTAMP" else f"TRY_CAST({text} AS {column.type})"

    def text(self, column: Column) -> str:
        """SQL for a column's value as text."""
        return self._first(column, self._text)

    def fits(self, column: Column) -> str:
        """SQL for whether a value fits the column's type without loss."""
        text = self.text(column)
        fits = f"{self.value(column)} IS NOT NULL"
        if column.type == "TIMESTAMP":
            fits = f"{fits} AND regexp_full_match({text}, {literal(ISO_DATE)})"
        if column.type == "DOUBLE":
            fits = f"NOT isinf({self.value(column)})"
        return f"({text} IS NULL OR {fits})"

    def hidden(self, column: Column) -> str:
        """SQL for the number of an event's values that the column hides, because it shows another of the same name."""
        found = [self._guarded(source, self._text(source)) for source in column.sources]
        return f"greatest(len(list_distinct([{', '.join(found)}])) - 1, 0)"

    @cached_property
    def _places(self) -> dict[Source, int]:
        return {source: place for place, source in enumerate((s for c in self.columns for s in c.sources), 1)}

    def _text(self, source: Source) -> str:
        return f"{self.objects}_texts[{self._places[source]}]"

    def _first(self, column: Column, read: Callable[[Source], str]) -> str:
        """SQL for the first value among a column's sources."""
        found = [self._guarded(source, read(source)) for source in column.sources]
        return found[0] if len(found) == 1 else f"coalesce({', '.join(found)})"

    def _guarded(self, source: Source, value: str) -> str:
        conditions = [f"json_type({self.objects}, {literal(each)}) = 'OBJECT'" for each in source.within]
        if source.guarded:
            conditions.append(f"json_type({self.objects}, {literal(source.pointer)}) <> 'OBJECT'")
        return f"CASE WHEN {' AND '.join(conditions)} THEN {value} END" if conditions else value


def moment(text: str) -> str:
    """SQL for a text as a TIMESTAMP in UTC; NULL if it is not one.

    Through the type with a zone, as the other one ignores the offset (DuckDB 1.2 and later). Without the words that
    DuckDB reads as times (`epoch`, `infinity`): a time begins with a digit, and `:` comes after 9.
    """
    return f"CASE WHEN {text} >= '0' AND {text} < ':' THEN CAST(TRY_CAST({text} AS TIMESTAMPTZ) AS TIMESTAMP) END"
