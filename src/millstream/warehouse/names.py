"""Names of tables and columns: the warehouse rules, and quoting in SQL."""

from __future__ import annotations

import re
from collections.abc import Collection

__all__ = ["identifier", "literal", "quoted", "snake_case"]

# Upper case and digits, then lower case and digits: `orderId2 HTTPStatus` is order, Id2, HTTPStatus. Letters that
# are not ASCII have no case here.
_WORD = re.compile(r"[A-Z0-9]+[^\W_A-Z]*|[^\W_A-Z]+")

_LONGEST = 127
"""Bytes of a name, which is used for files, too."""


def snake_case(text: str) -> str:
    """Join the words of a name with underscores, in lower case; empty if it has no letter or digit."""
    return "_".join(_WORD.findall(text)).lower()


def identifier(text: str, *, not_free: Collection[str]) -> str:
    """Make a name that SQL accepts without quotes.

    Args:
        text: the name of an event, a property or a trait.
        not_free: reserved names: SQL keywords, and existing columns or views. One of these, and one that begins with a
            digit, gets an underscore in front.
    """
    name = snake_case(text).encode()[:_LONGEST].decode(errors="ignore")
    return f"_{name}" if not name or name[0].isdecimal() or name in not_free else name


def quoted(name: str) -> str:
    """Quote a name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a string for SQL."""
    return "'" + text.replace("'", "''") + "'"
