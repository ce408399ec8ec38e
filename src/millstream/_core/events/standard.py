"""The standard date and time classes, whatever a test tool has put in their place.

freezegun replaces `datetime.datetime` and `datetime.date`, and every module's names for them, by subclasses: code that
needs the standard classes must have them under a name that it does not find.
"""

from __future__ import annotations

import datetime as dt
from typing import TypeVar

__all__ = ["Standard"]

T = TypeVar("T")


def _standard(kind: type[T]) -> type[T]:
    """Return the class itself, or the standard one that it replaces: this module may be loaded under a frozen clock."""
    return next(base for base in kind.__mro__ if base.__module__ == "datetime")


class Standard:
    """The classes, as attributes: freezegun searches modules, not classes."""

    date = _standard(dt.date)
    datetime = _standard(dt.datetime)
