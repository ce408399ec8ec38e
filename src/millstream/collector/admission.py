"""Who may write, and how much of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

from .request import RequestRefused, body_key, header_key, header_token, source_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from msgspec import Raw


class TokenVerifier(Protocol):
    """Knows which OAuth tokens are good."""

    def accepts(self, token: str, now: float) -> bool: ...


class Admission:
    """Lets requests in by their write key, their token and their source's rate.

    Args:
        keys: the write keys that may write; None is all of them, and none at all.
        tokens: with these, every request needs a good OAuth token as well. It does not name the source: the key does.
        rate: events per second for each write key, in the long run; None is without a limit.
    """

    def __init__(
        self, keys: Collection[str] | None = None, *, tokens: TokenVerifier | None = None, rate: Rate | None = None
    ) -> None:
        self._keys = None if keys is None else frozenset(keys)
        self._tokens = tokens
        self._rate = rate

    def admit(self, headers: Mapping[str, str], in_body: Raw, events: int, now: float) -> str:
        """What stands for the write key of a request with so many events, at `now` in seconds since the epoch.

        Raises:
            RequestRefused: 401 for a token or a key that is not known here, 429 for too many events.
        """
        if self._tokens is not None and not self._tokens.accepts(header_token(headers), now):
            raise RequestRefused(401, "invalid_token", "no valid token: get one from /token and send it as Bearer")
        key = header_key(headers) or body_key(in_body)
        if self._keys is not None and key not in self._keys:
            if not key:
                raise RequestRefused(401, "no_key", "no write key: send it as Basic auth or as writeKey")
            raise RequestRefused(401, "unknown_key", "this write key is not known here")
        source = source_of(key)
        if self._rate is not None and (wait := self._rate.take(source, events, now)):
            raise RequestRefused(429, "rate_limited", "too many events for this write key", retry_after=math.ceil(wait))
        return source


class Rate:
    """A bucket for each source, which fills with the events that may come, and holds those of `burst` seconds.

    What finds something in it may overdraw it: a batch is let in as a whole, and paid for afterwards.

    Args:
        rate: events per second.
        burst: seconds.
    """

    def __init__(self, rate: float, burst: float = 1.0) -> None:
        self._rate = rate
        self._burst = burst
        self._full_at: dict[str, float] = {}  # when a bucket will be full again; one that is full is not listed

    def take(self, source: str, count: int, now: float) -> float:
        """Take so many; or, if there is nothing left, say in how many seconds there will be."""
        full_at = max(self._full_at.get(source, now), now)
        if full_at - now > _LONGEST:  # the clock was set back
            full_at = now
        wait = full_at - now - self._burst
        if wait > -0.5 / self._rate and count:  # half an event is none, and a sum of fractions may be off
            return max(0.0, wait) + 1 / self._rate
        if len(self._full_at) >= _MAX_SOURCES and source not in self._full_at:
            self._forget(now)
        self._full_at[source] = full_at + count / self._rate
        return 0.0

    def _forget(self, now: float) -> None:
        """Drop the full buckets, and of the others so many that there is room."""
        self._full_at = {source: at for source, at in self._full_at.items() if at > now}
        for source in list(self._full_at)[: len(self._full_at) - _MAX_SOURCES // 2]:
            del self._full_at[source]


_MAX_SOURCES = 10_000
"""Anybody can make up write keys, where none are configured."""
_LONGEST = 86_400.0
"""Seconds: no debt is as large as this."""
