"""The standard classes of dates and times, whatever a test tool has put in their place.

freezegun sets `datetime.datetime` and `datetime.date`, and every module's own name for one of them, to subclasses:
where a value of the standard class is to be made or recognised, the name has to be one that it does not find.
"""

from __future__ import annotations

import datetime as dt
from typing import TypeVar

__all__ = ["Standard"]

T = TypeVar("T")


def _standard(kind: type[T]) -> type[T]:
    """The class itself, or the standard one that it stands in for: this module may be loaded under a frozen clock."""
    return next(base for base in kind.__mro__ if base.__module__ == "datetime")


class Standard:
    """The classes, as attributes: freezegun looks through modules, and not through classes."""

    date = _standard(dt.date)
    datetime = _standard(dt.datetime)
