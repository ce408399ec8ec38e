"""The rules that the default HTTP clients have in common, and that a user should not have to learn twice."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from ..errors import TransportError
from ..urls import hidden

__all__ = ["MAX_BODY", "MAX_HOPS", "cached_proxies", "no_answer", "proxy_from_environment", "redirected"]

MAX_BODY = 1 << 20
"""Bytes of an answer that are read: an answer to a batch is short, and an endless one must not fill the memory."""
MAX_HOPS = 3
MAX_REASON = 200
"""Characters of what a library says about a failure: it may quote a server's answer."""


def redirected(url: str, status: int, location: str) -> str | None:
    """Where the same request is to be sent next, if anywhere.

    A redirect that keeps method and body (307, 308) is followed on the same host; any other is not, because following
    it would turn the POST into a GET and lose the events.
    """
    if status not in {307, 308}:
        return None
    target = urljoin(url, location)
    return target if target != url and _same_host(url, target) else None


def _same_host(one: str, other: str) -> bool:
    """Same host and port, or the step from http to https on one host: anywhere else the key has no business."""
    a, b = urlsplit(one), urlsplit(other)
    upgrade = a.scheme == "http" and b.scheme == "https" and a.hostname == b.hostname
    return (a.scheme, a.netloc) == (b.scheme, b.netloc) or upgrade


def proxy_from_environment(url: str) -> str | None:
    """The proxy that `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` name for this URL."""
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy is None or (parts.hostname and proxy_bypass(parts.netloc)):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def cached_proxies() -> Callable[[str], str | None]:
    """The same, asked once for each URL: in an environment of 70 variables that takes 70 µs, a third of a request."""
    return lru_cache(maxsize=16)(proxy_from_environment)


def no_answer(url: str, exc: BaseException) -> TransportError:
    """The library's exception as one of ours, without what the URL may hold of secrets."""
    return TransportError(f"no answer from {urlsplit(url).netloc.rpartition('@')[2]}: {_reason(exc)}")


def _reason(exc: BaseException) -> str:
    """The exception in a few words: urllib3 wraps the one that says something in several that do not."""
    inner = getattr(exc, "reason", None)
    exc = inner if isinstance(inner, BaseException) else exc
    said = getattr(exc, "message", "") or str(exc).rpartition(": ")[2] or str(exc)  # aiohttp's text quotes the URL
    first_line = hidden(next(iter(str(said).splitlines()), ""))[:MAX_REASON].rstrip(": ")
    return f"{type(exc).__name__}: {first_line}" if first_line else type(exc).__name__
