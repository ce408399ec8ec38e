"""Clock skew: the time of an event by the receiver's clock.

    timestamp = receivedAt − (sentAt − originalTimestamp)

The sender stamps the event and the request by its own clock. Their difference is right even where that clock is
wrong (Segment's rule: Spec, common fields, "Timestamps").
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import msgspec

from millstream._core.events.standard import Standard
from millstream._core.events.timestamps import iso
from millstream.errors import InvalidEvent
from millstream.spec import STORED_TIME

_UTC = timezone.utc
_moment = msgspec.json.Decoder(Standard.datetime)
_string = msgspec.json.Decoder(str)
_encode = msgspec.json.Encoder().encode
_WITH_FRACTION = len('"2026-01-02T03:04:05.678901Z"')
_1970 = datetime(1970, 1, 1, tzinfo=_UTC)

_is_stored_time = re.compile(f'"{STORED_TIME}"'.encode()).fullmatch
# Ten digits are seconds and thirteen are milliseconds, both of the years 2001 to 2286; as a number or as a string.
_since_1970 = re.compile(rb'("?)(?:([1-9]\d{9})|([1-9]\d{9})(\d{3}))(?:\.(\d+))?\1').fullmatch
# Forms of ISO 8601 that other readers do not know, and forms in which languages print a time: without
# separators, `… UTC`, a space before the offset, the name of the zone behind it.
_is_written = re.compile(
    r"(\d{4})(-?)(\d\d)\2(\d\d)"
    r"(?:[Tt ](\d\d)(:?)(\d\d)(?:\6(\d\d)([.,]\d{1,30})?)? ?(?:(Z|z|UTC|GMT)|([+-]\d\d(?::?\d\d)?)(?: [A-Z]{3,5})?)?)?",
    re.ASCII,
).fullmatch


def moment_of(json: bytes | msgspec.Raw) -> datetime | None:
    """Parse a time from a JSON value, to UTC; None if its meaning is not certain. Without a zone it is taken as UTC.

    ISO 8601, with or without separators, `UTC` or `GMT` in place of `Z`; or seconds or milliseconds since 1970.
    """
    try:
        moment = _moment.decode(json)
    except msgspec.DecodeError:
        return _otherwise_written(bytes(json))
    if moment.tzinfo is _UTC:
        return moment
    if moment.tzinfo is None:
        return moment.replace(tzinfo=_UTC)
    try:
        return moment.astimezone(_UTC)
    except OverflowError:
        return None


def json_of(moment: datetime) -> bytes:
    """Format a time in UTC as a JSON string: ISO 8601 with milliseconds and `Z`."""
    if type(moment) is not Standard.datetime:  # a clock that a test tool has frozen
        moment = Standard.datetime.combine(moment.date(), moment.timetz())
    text = _encode(moment)  # with six digits of a second or none
    return text[:24] + b'Z"' if len(text) == _WITH_FRACTION else text[:20] + b'.000Z"'


def as_stored(json: bytes) -> bytes:
    """Return a time as it is stored: unchanged if it has the stored shape or is no time, else in UTC."""
    if _is_stored_time(json):
        return json
    moment = moment_of(json)
    return json if moment is None else json_of(moment)


def _otherwise_written(json: bytes) -> datetime | None:
    if found := _since_1970(json):
        _, seconds, of_milliseconds, thousandths, fraction = found.groups()
        digits = (thousandths or b"") + (fraction or b"")
        microseconds = int(digits[:6].ljust(6, b"0"))
        return _1970 + timedelta(seconds=int(seconds or of_milliseconds), microseconds=microseconds)
    try:
        if not (written := _is_written(_string.decode(json))):
            return None
        year, _, month, day, hour, _, minute, second, fraction, utc, offset = written.groups()
        zone = "Z" if utc else offset or ""
        text = f"{year}-{month}-{day}T{hour or '00'}:{minute or '00'}:{second or '00'}{fraction or ''}{zone}"
        return datetime.fromisoformat(iso(text)[:-1]).replace(tzinfo=_UTC)
    except (msgspec.DecodeError, InvalidEvent):
        return None
