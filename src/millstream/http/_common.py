"""Rules that the default HTTP clients share: timeouts, redirects, truncated answers, errors."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from http.client import HTTPException
from traceback import walk_tb
from urllib.parse import urljoin, urlsplit

from .._clock import monotonic
from ..errors import TransportError
from ..types import Request, Response
from ..urls import hidden

__all__ = ["MAX_BODY", "Attempt", "check_end", "no_answer"]

MAX_BODY = 1 << 20
"""Bytes of an answer that are read: answers are short, and an endless one must not fill the memory."""
MAX_HOPS = 3
MAX_REASON = 200
"""Characters of an error message that are kept: it may quote a server's answer."""
LIBRARIES = {"millstream", "urllib3", "aiohttp", "aiosignal", "aiohappyeyeballs", "multidict", "yarl", "wrapt"}
"""Packages through which an exception may pass without being raised there."""


class Attempt:
    """An attempt at a request: its current URL, and the rest of its timeout."""

    def __init__(self, request: Request) -> None:
        self.url = request.url
        self._deadline = monotonic() + request.timeout
        self._hops = 0

    def left(self) -> float:
        """Seconds that are left; raises TimeoutError if none."""
        left = self._deadline - monotonic()
        if left <= 0:
            raise TimeoutError("no complete answer in time")
        return left

    def goes_on(self, response: Response) -> bool:
        """Whether to send the request again, to the new `url`, because of a redirect.

        Redirects that keep method and body (307, 308) are followed on the same host, also from http to https. Others
        would turn the POST into a GET and lose the events, or send the key to another host.
        """
        here, self._hops = self.url, self._hops + 1
        if response.status not in {307, 308} or self._hops > MAX_HOPS:
            return False
        try:
            self.url = urljoin(here, response.headers.get("Location", ""))
            a, b = urlsplit(here), urlsplit(self.url)
            upgrade = (a.scheme, b.scheme, a.hostname) == ("http", "https", b.hostname)
        except ValueError as exc:
            raise no_answer(here, HTTPException("the redirect's Location is not a URL")) from exc
        return self.url != here and (upgrade or (a.scheme, a.netloc) == (b.scheme, b.netloc))


def check_end(status: int, headers: Mapping[str, str], *, http11: bool) -> None:
    """Refuse an answer of unknown length: it may be truncated (RFC 9112 §6.3)."""
    coding, length = headers.get("Transfer-Encoding"), headers.get("Content-Length")
    if coding is not None:
        known = coding.strip().lower() == "chunked"
    elif length is not None:
        known = re.fullmatch("[0-9]{1,19}", length) is not None
    else:
        known = not http11 or "close" in map(str.strip, headers.get("Connection", "").lower().split(","))
    if not known and status not in {204, 304}:
        said = f"Content-Length {length!r:.40}, Transfer-Encoding {coding!r:.40}"
        raise HTTPException(f"the answer has no valid length ({said}), or its headers are truncated")


def no_answer(url: str, exc: BaseException) -> TransportError:
    """Wrap a library's exception, without secrets of the URL."""
    return TransportError(f"no answer from {urlsplit(url).netloc.rpartition('@')[2]}: {_reason(exc)}{_origin(exc)}")


def _reason(exc: BaseException) -> str:
    """Summarize an exception: urllib3 wraps the informative one in several others."""
    inner = getattr(exc, "reason", None)
    exc = inner if isinstance(inner, BaseException) else exc
    said = getattr(exc, "message", "") or str(exc).rpartition(": ")[2] or str(exc)  # aiohttp's text quotes the URL
    text = hidden(next(iter(str(said).splitlines()), ""))[:MAX_REASON].rstrip(": ")
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__


def _origin(exc: BaseException) -> str:
    """Name the module that raised it, if it is neither ours nor the library's: a tracing agent, for example."""
    module = ""
    for frame, _ in walk_tb(exc.__traceback__):
        name = str(frame.f_globals.get("__name__"))
        package = name.partition(".")[0]
        if package in LIBRARIES:
            module = ""
        elif not module and package not in sys.stdlib_module_names:
            module = name
    return f" (raised in {module})" if module else ""
