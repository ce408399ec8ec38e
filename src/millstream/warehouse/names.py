"""What a table or a column is called: the warehouse rules for names, and how SQL writes them."""

from __future__ import annotations

import re
from collections.abc import Collection

__all__ = ["identifier", "literal", "quoted", "snake_case"]

# Upper case and digits, then lower case and digits: `orderId2 HTTPStatus` is order, Id2, HTTPStatus. A letter that
# is not ASCII has no case here.
_WORD = re.compile(r"[A-Z0-9]+[^\W_A-Z]*|[^\W_A-Z]+")

_LONGEST = 127
"""Bytes of a name: a file is called by it too."""


def snake_case(text: str) -> str:
    """The words of a name in lower case, with underscores between them; empty if it has no letter or digit."""
    return "_".join(_WORD.findall(text)).lower()


def identifier(text: str, *, not_free: Collection[str]) -> str:
    """A name as SQL takes it without quotes.

    Args:
        text: the name that an event, a property or a trait has.
        not_free: names that mean something else: SQL's own words, and columns or views that are there already.
            One of these, and one that begins with a digit, gets an underscore before it.
    """
    name = snake_case(text).encode()[:_LONGEST].decode(errors="ignore")
    return f"_{name}" if not name or name[0].isdecimal() or name in not_free else name


def quoted(name: str) -> str:
    """A name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string in SQL."""
    return "'" + text.replace("'", "''") + "'"
