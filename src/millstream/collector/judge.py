"""Judges one request: returns a Verdict, without socket, file or clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec
from msgspec import Raw

from millstream.spec import MAX_BATCH_BYTES, MAX_EVENT_BYTES, TYPES, EventType

from .admission import Admission
from .clock_skew import as_stored
from .events import Accepted, Kept, Rejection, Stamp, examine_all, without_key
from .request import ABSENT, RequestRefused, batch_of, read, single_of, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

Route: TypeAlias = EventType | Literal["batch"]
"""The route of a request: a batch, or one event whose type is the route's."""

ROUTES: dict[str, Route] = {
    "batch": "batch",
    "import": "batch",
    "b": "batch",
    **{kind: kind for kind in TYPES},
    **{kind[0]: kind for kind in TYPES},
}
"""Routes by their path after `/v1/`. analytics.js uses the initials."""

_OPEN = Admission()
_NOTHING = Kept()


class Verdict(msgspec.Struct):
    """The answer to a request, and the events to store.

    `status` is 200, 400, 401 or 429 (then with `retry_after`, in seconds), and only a 200 has events. `reason` and
    `message` say why the whole request was refused; `empty` marks a batch without events, which is not refused.
    `rejected` holds the invalid events of a valid request, and `duplicates`, after deduplication, those that are stored
    already. `source` names the write key.
    """

    status: int
    source: str = ""
    events: list[Accepted] = []
    rejected: list[Rejection] = []
    duplicates: list[Accepted] = []
    kept: Kept = _NOTHING
    reason: str = ""
    message: str = ""
    retry_after: int = 0
    empty: bool = False

    @classmethod
    def of(cls, refused: RequestRefused) -> Verdict:
        return cls(refused.status, reason=refused.reason, message=refused.message, retry_after=refused.retry_after)


def judge(
    route: Route,
    headers: Mapping[str, str],
    body: bytes,
    received_at: datetime,
    admission: Admission = _OPEN,
    *,
    strict: bool = False,
) -> Verdict:
    """Judge one request as the Tracking API does.

    `headers` has lower-case names, or ignores case; `received_at` is in UTC; `admission` admits or refuses the request;
    `strict` refuses a batch without events.
    """
    try:
        if route == "batch":
            return _batch(headers, body, received_at, admission, strict=strict)
        return _single(route, headers, body, received_at, admission)
    except RequestRefused as refused:
        return Verdict.of(refused)


def _batch(
    headers: Mapping[str, str], body: bytes, received_at: datetime, admission: Admission, *, strict: bool
) -> Verdict:
    text, batch = read(text_of(headers, body, MAX_BATCH_BYTES), batch_of)
    source = admission.admit(headers, batch.write_key, len(batch.batch), received_at.timestamp())
    if not batch.batch:
        if strict:
            raise RequestRefused(400, "empty_batch", "the batch has no events")
        return Verdict(200, source, empty=True)
    stamp = Stamp(
        received_at,
        source,
        sent_at=_sent_at(bytes(batch.sent_at)),
        defaults={
            name: value
            for name, value in (("context", batch.context), ("integrations", batch.integrations))
            if bytes(value)[:1] == b"{"
        },
    )
    return _verdict(source, batch.batch, examine_all(batch.batch, text, stamp))


def _sent_at(json: bytes) -> Raw:
    """A batch's `sentAt` as its events keep it: a string, not necessarily a time."""
    stored = as_stored(json)
    return Raw(stored) if stored.startswith(b'"') else ABSENT


def _single(
    route: EventType, headers: Mapping[str, str], body: bytes, received_at: datetime, admission: Admission
) -> Verdict:
    text, event = read(text_of(headers, body, MAX_EVENT_BYTES), single_of)
    source = admission.admit(headers, event.write_key, 1, received_at.timestamp())
    items = [Raw(text)]
    return _verdict(source, items, examine_all(items, text, Stamp(received_at, source, type=route)))


def _verdict(source: str, items: list[Raw], found: list[Accepted | str]) -> Verdict:
    events = [each for each in found if not isinstance(each, str)]
    verdict = Verdict(200, source, events)
    if len(events) < len(found):
        verdict.rejected = [
            Rejection(index, each, without_key(items[index]))
            for index, each in enumerate(found)
            if isinstance(each, str)
        ]
    return verdict
