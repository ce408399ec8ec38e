"""When an event happened, by the receiver's clock.

    timestamp = receivedAt − (sentAt − originalTimestamp)

The sender says when the event happened and when it was sent, both by its own clock, so their difference is right
even where that clock is not (Segment's rule: Spec, common fields, "Timestamps").
"""

from __future__ import annotations

from datetime import datetime, timezone

import msgspec

from millstream._core.standard import Standard
from millstream._core.times import iso
from millstream.errors import InvalidEvent

_UTC = timezone.utc
_moment = msgspec.json.Decoder(Standard.datetime)
_string = msgspec.json.Decoder(str)
_encode = msgspec.json.Encoder().encode
_WITH_FRACTION = len('"2026-01-02T03:04:05.678901Z"')


def moment_of(json: bytes | msgspec.Raw) -> datetime | None:
    """The moment that a JSON value names, in UTC; None if it is no ISO 8601 time. One without a zone is in UTC."""
    try:
        moment = _moment.decode(json)
    except msgspec.DecodeError:
        return _leniently(json)
    if moment.tzinfo is _UTC:
        return moment
    if moment.tzinfo is None:
        return moment.replace(tzinfo=_UTC)
    try:
        return moment.astimezone(_UTC)
    except OverflowError:
        return None


def json_of(moment: datetime) -> bytes:
    """A moment in UTC as a JSON string: ISO 8601 with milliseconds and `Z`."""
    if type(moment) is not Standard.datetime:  # a clock that a test tool has stopped
        moment = Standard.datetime.combine(moment.date(), moment.timetz())
    text = _encode(moment)  # with six digits of a second or none; a sixth of the time of isoformat()
    return text[:24] + b'Z"' if len(text) == _WITH_FRACTION else text[:20] + b'.000Z"'


def _leniently(json: bytes | msgspec.Raw) -> datetime | None:
    """What RFC 3339 does not allow and ISO 8601 does: no time of day, no seconds, a comma."""
    try:
        return datetime.fromisoformat(iso(_string.decode(json))[:-1]).replace(tzinfo=_UTC)
    except (msgspec.DecodeError, InvalidEvent):
        return None
