"""From a request to what became of it: judged, told from duplicates, kept, counted, shown. No HTTP here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from http import HTTPStatus
from itertools import compress
from operator import not_

import msgspec
from msgspec import Raw

from .admission import Admission
from .clock_skew import json_of
from .counts import Counts
from .dedup import Dedup
from .events import Kept
from .feed import Feed
from .judge import Route, Verdict, judge
from .request import RequestRefused
from .store import Store
from .suppression import SuppressionList, leave_out


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(timezone.utc)


class Ingest:
    """Takes requests in. For one event loop.

    Args:
        store: where events are kept.
        gate: who may write.
        window: which messageIds have come lately; it is filled with those that the store still has.
        clock: what time it is, in UTC.
        suppressions: the users of whom no event is kept; None is without such a list.
    """

    def __init__(
        self,
        store: Store,
        gate: Admission,
        window: Dedup,
        *,
        clock: Callable[[], datetime] = utc_now,
        suppressions: SuppressionList | None = None,
    ) -> None:
        self.counts = Counts()
        self.feed = Feed()
        self.window = window
        self._store = store
        self._gate = gate
        self._clock = clock
        self._suppressions = suppressions
        for source, message_id in store.recent(clock() - timedelta(seconds=window.span)):
            if window.full:
                break
            window.remember(source, message_id)

    def take(
        self,
        route: Route,
        headers: Mapping[str, str],
        body: bytes,
        done: Callable[[Verdict], object],
        *,
        strict: bool = False,
    ) -> None:
        """Take one request, and call `done` when its events are stored: a 200 is only ever said of that.

        Without a coroutine, because a task for each request and what it waits for are a seventh of a small one's time.
        """
        now = self._clock()
        verdict = judge(route, headers, body, now, self._gate, strict=strict)
        if self._suppressions is not None and verdict.events and (users := self._suppressions.users()):
            verdict.events, verdict.rejected = leave_out(verdict.events, verdict.rejected, users)
        fresh = self._tell_duplicates(verdict, now.timestamp()) if verdict.events else []
        settled = False

        def kept(error: BaseException | None) -> None:
            nonlocal settled
            settled = True
            if error is not None:
                self._not_stored(verdict, fresh, error)
            try:
                self._publish(verdict, now)
            finally:  # the client is answered, whatever a counter or the page makes of it
                done(verdict)

        if verdict.kept or verdict.duplicates:
            try:
                self._store.append(verdict.kept.text, kept)
            except Exception as error:
                if settled:
                    raise
                kept(error)
        else:
            kept(None)

    def refuse(self, refused: RequestRefused) -> Verdict:
        """Note a request that could not even be read."""
        verdict = Verdict.of(refused)
        self._publish(verdict, self._clock())
        return verdict

    def _tell_duplicates(self, verdict: Verdict, now: float) -> list[str]:
        """Part the events of a verdict. Returns the ids that the window did not have before."""
        events, verdict.events = verdict.events, []
        fresh = self.window.add(verdict.source, [event.message_id for event in events], now)
        if not all(fresh):
            verdict.duplicates = list(compress(events, map(not_, fresh)))
            events = list(compress(events, fresh))
        verdict.kept = Kept.of(events)
        return [event.message_id for event in events]

    def _not_stored(self, verdict: Verdict, fresh: Sequence[str], error: BaseException) -> None:
        """Forget the ids first: when the events are sent again, they are no duplicates."""
        self.window.forget(verdict.source, fresh)
        verdict.status = HTTPStatus.SERVICE_UNAVAILABLE
        why = error.strerror if isinstance(error, OSError) else error
        verdict.reason, verdict.message = "not_stored", f"the events could not be stored: {why}"

    def _publish(self, verdict: Verdict, now: datetime) -> None:
        stored = verdict.status != HTTPStatus.SERVICE_UNAVAILABLE
        self.counts.note(verdict, stored=stored)
        if stored:
            self.feed.publish("stored", verdict.kept, verdict.source, now)
            if verdict.duplicates:
                self.feed.publish("duplicate", verdict.duplicates, verdict.source, now)
            if verdict.rejected:
                self.feed.publish("rejected", verdict.rejected, verdict.source, now)
        if verdict.reason:
            self.feed.refuse(verdict.reason, verdict.message, verdict.source, now)
        elif verdict.empty:
            self.feed.answer("empty", "", {"success": True}, verdict.source, now)
        if asides := _asides(verdict, now):
            self._store.put_aside(asides)


class _Aside(msgspec.Struct, rename="camel", omit_defaults=True):
    """A line of the file for what was not kept. `index` is an event's place in its request."""

    reason: str
    received_at: Raw
    source_id: str = ""
    index: int | None = None
    event: Raw | msgspec.UnsetType = msgspec.UNSET


def _asides(verdict: Verdict, now: datetime) -> list[bytes]:
    if not (verdict.rejected or verdict.duplicates):
        return []
    received = Raw(json_of(now))
    told = [
        _Aside(event.reason, received, verdict.source, event.index, Raw(event.line) if event.line else msgspec.UNSET)
        for event in verdict.rejected
    ]
    if verdict.status == HTTPStatus.OK:
        told += [_Aside("duplicate", received, verdict.source, event=Raw(event.line)) for event in verdict.duplicates]
    return [msgspec.json.encode(each) for each in told]
