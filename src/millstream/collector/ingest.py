"""Takes a request from its verdict to its answer: judge, deduplicate, store, count, publish. No HTTP here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from http import HTTPStatus
from itertools import compress
from operator import not_

import msgspec
from msgspec import Raw

from millstream.log import Position

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
    """Return the time in UTC."""
    return datetime.now(timezone.utc)


class Ingest:
    """Ingests requests. For one event loop.

    Args:
        store: stores events.
        admission: admits requests.
        dedup: deduplicates; it is filled with the ids that the store still has.
        clock: returns the time in UTC.
        suppressions: users whose events are rejected, if any.
    """

    def __init__(
        self,
        store: Store,
        admission: Admission,
        dedup: Dedup,
        *,
        clock: Callable[[], datetime] = utc_now,
        suppressions: SuppressionList | None = None,
    ) -> None:
        self.counts = Counts()
        self.feed = Feed()
        self.failing = False
        """Whether the last events could not be stored."""
        self.dedup = dedup
        self._store = store
        self._admission = admission
        self._clock = clock
        self._suppressions = suppressions
        for source, message_id in store.recent(clock() - timedelta(seconds=dedup.span)):
            if dedup.full:
                break
            dedup.remember(source, message_id)

    def take(
        self,
        route: Route,
        headers: Mapping[str, str],
        body: bytes,
        done: Callable[[Verdict], object],
        *,
        strict: bool = False,
    ) -> None:
        """Ingest one request, and call `done` when its events are stored: only then it is answered 200.

        Without a coroutine: a task for each request would be a large part of the work for a small one.
        """
        now = self._clock()
        verdict = judge(route, headers, body, now, self._admission, strict=strict)
        if self._suppressions is not None and verdict.events and (users := self._suppressions.users()):
            verdict.events, verdict.rejected = leave_out(verdict.events, verdict.rejected, users)
        fresh = self._tell_duplicates(verdict, now.timestamp()) if verdict.events else []
        answered = False

        def kept(outcome: Position | BaseException) -> None:
            nonlocal answered
            answered = True
            self.failing = isinstance(outcome, BaseException)
            if isinstance(outcome, BaseException):
                self._not_stored(verdict, fresh, outcome)
            try:
                self._publish(verdict, now, None if isinstance(outcome, BaseException) else outcome)
            finally:  # the client is answered even if a counter or the page fails
                done(verdict)

        if verdict.kept or verdict.duplicates:
            try:
                self._store.append(verdict.kept.text, kept)
            except Exception as error:
                if answered:
                    raise
                kept(error)
        else:
            kept(0)

    def refuse(self, refused: RequestRefused) -> Verdict:
        """Record a request whose body could not be read."""
        verdict = Verdict.of(refused)
        self._publish(verdict, self._clock())
        return verdict

    def _tell_duplicates(self, verdict: Verdict, now: float) -> list[str]:
        """Separate duplicates from the other events of a verdict. Return the ids that are new."""
        events, verdict.events = verdict.events, []
        fresh = self.dedup.add(verdict.source, [event.message_id for event in events], now)
        if not all(fresh):
            verdict.duplicates = list(compress(events, map(not_, fresh)))
            events = list(compress(events, fresh))
        verdict.kept = Kept.of(events)
        return [event.message_id for event in events]

    def _not_stored(self, verdict: Verdict, fresh: Sequence[str], error: BaseException) -> None:
        """Answer that events were not stored. Their ids are forgotten first: sent again, they are no duplicates."""
        self.dedup.forget(verdict.source, fresh)
        verdict.status = HTTPStatus.SERVICE_UNAVAILABLE
        why = error.strerror if isinstance(error, OSError) else error
        verdict.reason, verdict.message = "not_stored", f"the events could not be stored: {why}"

    def _publish(self, verdict: Verdict, now: datetime, position: Position | None = None) -> None:
        stored = verdict.status != HTTPStatus.SERVICE_UNAVAILABLE
        self.counts.note(verdict, stored=stored)
        if stored:
            self.feed.publish("stored", verdict.kept, verdict.source, now, position)
            if verdict.duplicates:
                self.feed.publish("duplicate", verdict.duplicates, verdict.source, now)
            if verdict.rejected:
                self.feed.publish("rejected", verdict.rejected, verdict.source, now)
        if verdict.reason:
            self.feed.refuse(verdict.reason, verdict.message, verdict.source, now)
        elif verdict.empty:
            self.feed.answer("empty", "", {"success": True}, verdict.source, now)
        if lines := _not_kept(verdict, now):
            self._store.quarantine(lines)


class _NotKept(msgspec.Struct, rename="camel", omit_defaults=True):
    """A line of the file for what was not kept. `index` is an event's place in its request."""

    reason: str
    received_at: Raw
    source_id: str = ""
    index: int | None = None
    event: Raw | msgspec.UnsetType = msgspec.UNSET


def _not_kept(verdict: Verdict, now: datetime) -> list[bytes]:
    if not (verdict.rejected or verdict.duplicates):
        return []
    received = Raw(json_of(now))
    told = [
        _NotKept(event.reason, received, verdict.source, event.index, Raw(event.line) if event.line else msgspec.UNSET)
        for event in verdict.rejected
    ]
    if verdict.status == HTTPStatus.OK:
        told += [_NotKept("duplicate", received, verdict.source, event=Raw(event.line)) for event in verdict.duplicates]
    return [msgspec.json.encode(each) for each in told]
