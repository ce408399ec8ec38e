"""One request in, one Verdict out: no socket, file or clock, so that every case can be tested as a value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from msgspec import Raw

from .events import Accepted, EventType, Rejected, Stamp, examine
from .wire import MAX_BATCH, MAX_EVENT, Refused, batch_of, body_key, header_key, single_of, text_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

Route: TypeAlias = EventType | Literal["batch"]
"""Which door a request came through. `batch` also stands for `/v1/import`; the others are single events."""


@dataclass(frozen=True)
class Verdict:
    """What is to be answered, and what is to be kept.

    `status` is 200, 400, 401 or 413. Only a 200 has events. `reason` and `message` say why a request was
    refused as a whole; `rejected` says which events of a valid request are not kept.
    """

    status: int
    events: list[Accepted] = field(default_factory=list[Accepted])
    rejected: list[Rejected] = field(default_factory=list[Rejected])
    reason: str = ""
    message: str = ""

    @classmethod
    def of(cls, refused: Refused) -> Verdict:
        return cls(refused.status, reason=refused.reason, message=refused.message)


def judge(
    route: Route,
    headers: Mapping[str, str],
    body: bytes,
    received_at: datetime,
    *,
    keys: Collection[str] | None = None,
) -> Verdict:
    """What the Tracking API makes of one request.

    `headers` has lower-case names, or is indifferent to case; `received_at` is in UTC. With `keys`,
    only these may write.
    """
    try:
        if route == "batch":
            return _batch(headers, body, received_at, keys)
        return _single(route, headers, body, received_at, keys)
    except Refused as refused:
        return Verdict.of(refused)


def _batch(headers: Mapping[str, str], body: bytes, received_at: datetime, keys: Collection[str] | None) -> Verdict:
    batch = batch_of(text_of(headers, body, MAX_BATCH))
    _authorize(headers, batch.write_key, keys)
    if not batch.batch:
        return Verdict(200, reason="empty_batch")
    stamp = Stamp(
        received_at=_received(received_at),
        sent_at=b',"sentAt":%b' % batch.sent_at if bytes(batch.sent_at)[:1] == b'"' else b"",
        defaults={
            name: value
            for name, value in (("context", batch.context), ("integrations", batch.integrations))
            if bytes(value)[:1] == b"{"
        },
    )
    return _examined(batch.batch, stamp)


def _single(
    route: Route, headers: Mapping[str, str], body: bytes, received_at: datetime, keys: Collection[str] | None
) -> Verdict:
    text = text_of(headers, body, MAX_EVENT)
    _authorize(headers, single_of(text).write_key, keys)
    return _examined([Raw(text)], Stamp(received_at=_received(received_at), type=route))


def _examined(items: list[Raw], stamp: Stamp) -> Verdict:
    verdict = Verdict(200)
    for index, raw in enumerate(items):
        found = examine(raw, stamp)
        if isinstance(found, str):
            verdict.rejected.append(Rejected(index, found))
        else:
            verdict.events.append(found)
    return verdict


def _authorize(headers: Mapping[str, str], in_body: Raw, keys: Collection[str] | None) -> None:
    """Refuse a key that is not among `keys`. A Bearer token does not name the source: the body does."""
    if keys is None:
        return
    key = header_key(headers) or body_key(in_body)
    if key not in keys:
        what = "this write key is not known here" if key else "no write key: send it as Basic auth or as writeKey"
        raise Refused(401, "unknown_key" if key else "no_key", what)


def _received(moment: datetime) -> bytes:
    iso = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return b',"receivedAt":"%b"' % iso.encode()
