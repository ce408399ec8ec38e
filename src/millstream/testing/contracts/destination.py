"""What every destination must do, as tests: inherit from the class, and say how yours is made.

    class TestMine(DestinationContract):
        def make(self):
            return Mine(token="a-token-for-tests")

Its methods are found by pytest, and can be called without it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from millstream._core.delivery.verdicts import (
    Delivered,
    Limited,
    Partial,
    Paused,
    Refused,
    Retry,
    Split,
    Unauthorized,
    Verdict,
)
from millstream._public import publish
from millstream.destinations import Destination, Event, Part, Skip
from millstream.destinations._masking import masked, secrets_of
from millstream.destinations._preview import requests_of
from millstream.types import Response

__all__ = ["DestinationContract"]

_CONTEXT: dict[str, Any] = {
    "ip": "203.0.113.7",
    "locale": "de-DE",
    "page": {"url": "https://shop.example/x"},
    "device": {"type": "ios"},
    "app": None,
    "os": [],
    "userAgent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0",
    "library": {"name": "x"},
}
_PROPERTIES: dict[str, Any] = {
    "revenue": 39.95,
    "nothing": None,
    "nested": {"a": [1, {"b": 2}]},
    "städte": "Zürich ✓",
    "flag": True,
}
_BODIES: tuple[bytes, ...] = (
    b"",
    b"\xff\xfe",
    b"<html>",
    b"null",
    b"[]",
    b"{}",
    b'{"code":200}',
    b'{"status":0}',
    b'{"error":{"a":[1]}}',
    b"x" * 10**6,
    b'{"failed_records":[{"index":99},{"index":"0"},7]}',
    b'{"events_with_invalid_fields":{"time":[0,99,"1"]}}',
    b"[" * 5000,
)
_STATUSES = (
    *(100, 200, 201, 202, 204, 207, 301, 302, 307, 400, 401, 402, 403, 404),
    *(408, 409, 410, 413, 422, 429, 451, 500, 503, 599),
)
_VERDICTS = (Delivered, Limited, Partial, Paused, Refused, Retry, Split, Unauthorized)
NOW = 1_779_010_260.0
"""A minute after the events."""


class DestinationContract:
    """Tests that hold for every destination."""

    secret: ClassVar[str] = ""
    """A secret that `make` gives to the destination: it may stand in requests, and nowhere else."""

    def make(self) -> Destination:
        """Return the destination."""
        raise NotImplementedError

    def events(self) -> Sequence[Mapping[str, Any]]:
        """Return the events that it is tried with: each type, with little in it and with much."""
        return list(_events())

    def test_the_same_event_gives_the_same_parts(self) -> None:
        """A replay sends the same bytes and ids."""
        for event in self._stored():
            first, again = self.make().prepare(event, {}), self.make().prepare(Event(event.data), {})
            assert first == again

    def test_an_event_becomes_parts_or_is_skipped_or_refused(self) -> None:
        """`prepare` returns a tuple of parts, each of which fits a request alone, and leaves the event as it was."""
        destination = self.make()
        for event in self._stored():
            before = event.data
            prepared = destination.prepare(event, {})
            assert event.data == before
            if isinstance(prepared, Skip | Refused):
                continue
            assert isinstance(prepared, tuple), f"prepare returned a {type(prepared).__name__}"
            for part in prepared:
                assert len(part.data) + destination.limits.overhead <= destination.limits.max_bytes

    def test_requests_keep_the_limits_and_the_order(self) -> None:
        """The body of a request holds its parts in order, and no more bytes than the limits allow."""
        destination = self.make()
        for parts in self._batches():
            request = destination.request(parts, 1, NOW)
            assert request.method in {"POST", "PUT", "PATCH"}
            assert len(request.body) <= destination.limits.max_bytes
            at = -1
            for part in parts:
                at = request.body.find(part.data, at + 1)
                assert at >= 0, f"a part is missing, or out of order: {part.data[:200]!r}"

    def test_a_second_attempt_sends_the_same_events(self) -> None:
        """Only headers, and times that say when something was sent, may differ."""
        destination = self.make()
        for parts in self._batches():
            request = destination.request(parts, 2, NOW + 60)
            assert all(part.data in request.body for part in parts)

    def test_every_answer_is_judged(self) -> None:
        """Whatever a server answers, `judge` returns a verdict; no 4xx is a delivery, and each part has a verdict."""
        destination = self.make()
        for parts in self._batches():
            for response in _responses():
                self._check(destination.judge(response, parts, NOW), response, parts)

    def test_a_limited_rate_is_a_reason_to_wait(self) -> None:
        """A 429 with `Retry-After` is no failure of the events."""
        destination = self.make()
        for parts in self._batches():
            verdict = destination.judge(Response(429, {"Retry-After": "7"}), parts, NOW)
            assert isinstance(verdict, Limited)
            assert verdict.seconds == 7

    def test_secrets_are_shown_nowhere(self) -> None:
        """No secret is in a repr, in what is skipped or refused, in a verdict, or in a request as it is shown."""
        destination = self.make()
        secrets = secrets_of(destination)
        assert not self.secret or any(self.secret in secret for secret in secrets), "keep it as a Secret"
        shown = [repr(destination), str(destination.limits)]
        for event in self._stored():
            prepared = destination.prepare(event, {})
            shown += [repr(prepared)] if isinstance(prepared, Skip | Refused) else []
        for parts in self._batches():
            request = masked(destination, destination.request(parts, 1, NOW))
            shown += [repr(request), request.url, str(request.headers), request.body.decode("utf-8", "replace")]
            shown += [repr(destination.judge(response, parts, NOW)) for response in _responses()]
        for secret in secrets:
            assert not any(secret in text for text in shown)

    def test_a_probe_holds_no_event(self) -> None:
        """A request that proves the credentials stores nothing."""
        destination = self.make()
        probe = getattr(destination, "probe", None)
        request = None if probe is None else probe(NOW)
        if request is not None:
            assert not any(part.data in request.body for parts in self._batches() for part in parts)

    # -- what they are made of ------------------------------------------------------------------------

    def _stored(self) -> Iterator[Event]:
        for event in self.events():
            yield Event(msgspec.json.encode(event))

    def _batches(self) -> Iterator[list[Part]]:
        """Parts as they share requests: by key, in random sizes."""
        destination, chance = self.make(), random.Random(7)  # noqa: S311 - the same in every run
        keys: dict[str, list[Part]] = {}
        for event in self._stored():
            prepared = destination.prepare(event, {})
            for part in () if isinstance(prepared, Skip | Refused) else prepared:
                keys.setdefault(part.key, []).append(part)
        for parts in keys.values():
            left = parts
            while left:
                size = chance.randint(1, min(len(left), destination.limits.max_events))
                batch, left = left[:size], left[size:]
                if len(list(requests_of(destination, batch, NOW))) == 1:
                    yield batch

    def _check(self, verdict: Verdict, response: Response, parts: Sequence[Part]) -> None:
        assert isinstance(verdict, _VERDICTS), f"{response.status}: judge returned {verdict!r}"
        if isinstance(verdict, Partial):
            assert len(verdict.verdicts) == len(parts), f"{response.status}: one verdict for each part"
        elif not 200 <= response.status < 300:
            assert not isinstance(verdict, Delivered), f"{response.status} is no delivery"


def _responses() -> Iterator[Response]:
    for status in _STATUSES:
        for body in _BODIES:
            yield Response(status, {}, body)
    for retry_after in ("", "soon", "-1", "1e9", "Wed, 21 Oct 2099 07:28:00 GMT", "3"):
        yield Response(503, {"Retry-After": retry_after})
    yield Response(302, {"Location": "https://elsewhere.example/"})


def _events() -> Iterator[dict[str, Any]]:
    own: dict[str, list[dict[str, Any]]] = {
        "track": [
            {"event": "Order Completed", "properties": {**_PROPERTIES, "products": [{"name": "A", "price": 1}, 7]}},
            {"event": "a b/ç", "properties": None},
            {"event": "X" * 300, "properties": {f"p{n}": "v" * 200 for n in range(60)}},
        ],
        "identify": [{"traits": {"email": "a@b.example", "createdAt": "2020-01-01"}}, {}],
        "page": [{"name": "Home", "properties": {"url": "https://shop.example/"}}, {}],
        "screen": [{"name": "Home"}, {}],
        "group": [{"groupId": "g1", "traits": {"name": "Initech"}}, {"groupId": 7}],
        "alias": [{"previousId": "old"}],
    }
    people = (
        {"userId": "user-1", "anonymousId": "anon-1"},
        {"userId": 12345},
        {"anonymousId": "anon-2", "userId": None},
    )
    for kind, variants in own.items():
        for fields in variants:
            for who in people:
                for context in (_CONTEXT, {}, None):
                    yield {
                        "type": kind,
                        "messageId": f"m-{kind}-{len(str(fields))}-{len(str(who))}-{len(str(context))}",
                        "timestamp": "2026-05-17T09:30:00.123Z",
                        "integrations": {},
                        "context": context,
                        **who,
                        **fields,
                    }


publish("millstream.testing.contracts", DestinationContract)
