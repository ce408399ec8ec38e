"""Timestamps: formats a datetime or ISO 8601 text as the Tracking API does."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import cast

from ...errors import InvalidEvent
from . import coerce

__all__ = ["epoch_ms", "from_epoch", "iso"]

_UTC = timezone.utc
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - both sides of the difference are in UTC
_MILLISECOND = timedelta(milliseconds=1)

# ISO 8601's extended form, down to the day or the minute. The basic form (20240517) and weeks are excluded: other
# readers do not know them, and `send` keeps the text unchanged.
_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,30}))?)?(?:[Zz]|([+-])(\d\d)(?::?(\d\d))?)?)?",
    re.ASCII,
)


def iso(value: object, field: str = "timestamp") -> str:
    """Format a time in UTC with milliseconds and `Z`. Without a zone it is taken as UTC.

    Raises:
        InvalidEvent: it is not a time, or outside the years 1 to 9999 in UTC.
    """
    try:
        moment = _moment(value)
    except Exception as exc:  # zones are user code, too
        raise _wrong(field, value) from exc
    if moment is None:
        raise _wrong(field, value)
    if moment.tzinfo is not _UTC:
        try:
            moment = moment.replace(tzinfo=_UTC) if moment.tzinfo is None else moment.astimezone(_UTC)
        except OverflowError:
            raise InvalidEvent(f"{field} is outside the years 1 to 9999 in UTC") from None
    return f"{moment.isoformat(timespec='milliseconds')[:23]}Z"


def from_epoch(seconds: float) -> str:
    """Format seconds since the epoch in the same way; fractions of a millisecond are cut off."""
    milliseconds = int(seconds * 1000)
    moment = datetime.fromtimestamp(milliseconds // 1000, _UTC)
    return f"{moment.isoformat()[:19]}.{milliseconds % 1000:03d}Z"


def epoch_ms(timestamp: str) -> int:
    """Return a time of an event as milliseconds since the epoch.

    Raises:
        InvalidEvent: it is no time.
    """
    if len(timestamp) != 24 or timestamp[23] != "Z":  # not as the library and the collector write it
        timestamp = iso(timestamp)
    return (datetime.fromisoformat(timestamp[:23]) - _EPOCH) // _MILLISECOND


def _moment(value: object) -> datetime | None:
    kind = type(value)
    if issubclass(kind, datetime):
        return coerce.moment(cast("datetime", value))
    if issubclass(kind, str):
        match = _ISO.fullmatch(str.__str__(cast("str", value)))
        return None if match is None else _parsed(*match.groups())
    return None


def _parsed(
    year: str,
    month: str,
    day: str,
    hour: str | None,
    minute: str | None,
    second: str | None,
    fraction: str | None,
    sign: str | None,
    offset_hours: str | None,
    offset_minutes: str | None,
) -> datetime:
    zone = _UTC
    if sign is not None:
        offset = timedelta(hours=int(offset_hours or 0), minutes=int(offset_minutes or 0))
        zone = timezone(-offset if sign == "-" else offset)
    microsecond = int((fraction or "0")[:6].ljust(6, "0"))
    return datetime(
        int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), microsecond, tzinfo=zone
    )


def _wrong(field: str, value: object) -> InvalidEvent:
    came = coerce.type_name(value)
    if issubclass(type(value), str):
        shown = coerce.text(str.__str__(cast("str", value)))
        came = f"str {shown!r}" if 0 < len(shown) <= 40 else f"a str of {len(shown):,} characters"
    return InvalidEvent(f"{field} must be a datetime or an ISO-8601 str such as 2024-05-17T09:30:15Z, got {came}")
