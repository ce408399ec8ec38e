"""Admission: checks write keys and OAuth tokens, and limits the rate of each source."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .request import RequestRefused, body_key, header_key, header_token, source_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from msgspec import Raw


class TokenVerifier(Protocol):
    """Checks OAuth tokens."""

    def accepts(self, token: str, now: float) -> bool: ...


class Admission:
    """Admits requests by write key, OAuth token and rate limit.

    Args:
        keys: accepted write keys; None accepts any, and requests without one.
        tokens: with these, every request needs a valid OAuth token as well. The write key names the source.
        rate: events per second for each write key, on average; None is unlimited.
        sources: named sources by write key; their keys are accepted, too.
    """

    def __init__(
        self,
        keys: Collection[str] | None = None,
        *,
        tokens: TokenVerifier | None = None,
        rate: Rate | None = None,
        sources: Mapping[str, NamedSource] | None = None,
    ) -> None:
        self._given = None if keys is None else frozenset(keys)
        self._tokens = tokens
        self._rate = rate
        self.use(sources or {})

    def use(self, sources: Mapping[str, NamedSource]) -> None:
        """Let these sources write, and no others that have a name."""
        self.sources = sources
        only_named = frozenset[str]() if sources else None
        keys = only_named if self._given is None else self._given
        self._keys = None if keys is None else keys | sources.keys()

    def admit(self, headers: Mapping[str, str], in_body: Raw, events: int, now: float) -> str:
        """Return the source of a request with this many events, at `now` in seconds since the epoch.

        Raises:
            RequestRefused: 401 for an unknown token or key, 429 for too many events.
        """
        if self._tokens is not None and not self._tokens.accepts(header_token(headers), now):
            raise RequestRefused(401, "invalid_token", "no valid token: get one from /token and send it as Bearer")
        key = header_key(headers) or body_key(in_body)
        if self._keys is not None and key not in self._keys:
            if not key:
                raise RequestRefused(401, "no_key", "no write key: send it as Basic auth or as writeKey")
            raise RequestRefused(401, "unknown_key", "this write key is not known here")
        named = self.sources.get(key)
        source = source_of(key) if named is None else named.name
        if named is not None and named.origins and not _from_one_of(named.origins, headers):
            raise RequestRefused(403, "unknown_origin", "this write key is for the pages of other sites")
        rate = self._rate if named is None or named.rate is None else named.rate
        if rate is not None and (wait := rate.take(source, events, now)):
            raise RequestRefused(429, "rate_limited", "too many events for this write key", retry_after=math.ceil(wait))
        return source


@dataclass(frozen=True)
class NamedSource:
    """A source that has a name: what stands for its write key, and what is special about it."""

    name: str
    rate: Rate | None = None
    origins: frozenset[str] = frozenset()
    ip: str | None = None


def _from_one_of(origins: Collection[str], headers: Mapping[str, str]) -> bool:
    """Whether a request is from a page of one of these sites. One without an origin is from no page."""
    origin = headers.get("origin")
    return origin is None or origin.lower() in origins


class Rate:
    """A token bucket for each source, which holds the tokens of `burst` seconds.

    A bucket that is not empty may be overdrawn: a batch is admitted as a whole, and its debt is paid off by waiting.

    Args:
        rate: events per second.
        burst: seconds.
    """

    def __init__(self, rate: float, burst: float = 1.0) -> None:
        self._rate = rate
        self._burst = burst
        self._full_at: dict[str, float] = {}  # when a bucket will be full again; full ones are not listed

    def take(self, source: str, count: int, now: float) -> float:
        """Take `count` tokens, or return the seconds until there are some."""
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
        """Drop full buckets, and enough of the others to make room."""
        self._full_at = {source: at for source, at in self._full_at.items() if at > now}
        for source in list(self._full_at)[: len(self._full_at) - _MAX_SOURCES // 2]:
            del self._full_at[source]


_MAX_SOURCES = 10_000
"""A limit on sources: where no write keys are configured, clients can make up any number."""
_LONGEST = 86_400.0
"""Seconds that no debt exceeds."""
