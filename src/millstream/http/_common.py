"""The rules that the default HTTP clients have in common, and that a user should not have to learn twice."""

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
"""Bytes of an answer that are read: an answer to a batch is short, and an endless one must not fill the memory."""
MAX_HOPS = 3
MAX_REASON = 200
"""Characters of what a library says about a failure: it may quote a server's answer."""
LIBRARIES = {"millstream", "urllib3", "aiohttp", "aiosignal", "aiohappyeyeballs", "multidict", "yarl", "wrapt"}
"""Packages through which an exception may pass without being their making."""


class Attempt:
    """One attempt at a request: the URL where it goes now, and what is left of its timeout."""

    def __init__(self, request: Request) -> None:
        self.url = request.url
        self._deadline = monotonic() + request.timeout
        self._hops = 0

    def left(self) -> float:
        """Seconds that are left; a TimeoutError if there are none."""
        left = self._deadline - monotonic()
        if left <= 0:
            raise TimeoutError("the answer takes too long")
        return left

    def goes_on(self, response: Response) -> bool:
        """Whether the same request is to be sent again, to a `url` that is new.

        A redirect that keeps method and body (307, 308) is followed on the same host, also from http to https. Any
        other would turn the POST into a GET and lose the events, or take the key elsewhere.
        """
        here, self._hops = self.url, self._hops + 1
        if response.status not in {307, 308} or self._hops > MAX_HOPS:
            return False
        try:
            self.url = urljoin(here, response.headers.get("Location", ""))
            a, b = urlsplit(here), urlsplit(self.url)
            upgrade = (a.scheme, b.scheme, a.hostname) == ("http", "https", b.hostname)
        except ValueError as exc:
            raise no_answer(here, HTTPException("the Location of its redirect is no URL")) from exc
        return self.url != here and (upgrade or (a.scheme, a.netloc) == (b.scheme, b.netloc))


def check_end(status: int, headers: Mapping[str, str], *, http11: bool) -> None:
    """Refuse an answer that does not say where it ends: it may have been cut off, and look whole (RFC 9112 §6.3)."""
    coding, length = headers.get("Transfer-Encoding"), headers.get("Content-Length")
    if coding is not None:
        known = coding.strip().lower() == "chunked"
    elif length is not None:
        known = re.fullmatch("[0-9]{1,19}", length) is not None
    else:
        known = not http11 or "close" in map(str.strip, headers.get("Connection", "").lower().split(","))
    if not known and status not in {204, 304}:
        said = f"Content-Length {length!r:.40}, Transfer-Encoding {coding!r:.40}"
        raise HTTPException(f"the answer does not say where it ends ({said}), or was cut off within its headers")


def no_answer(url: str, exc: BaseException) -> TransportError:
    """The library's exception as one of ours, without what the URL may hold of secrets."""
    return TransportError(f"no answer from {urlsplit(url).netloc.rpartition('@')[2]}: {_reason(exc)}{_origin(exc)}")


def _reason(exc: BaseException) -> str:
    """The exception in a few words: urllib3 wraps the one that says something in several that do not."""
    inner = getattr(exc, "reason", None)
    exc = inner if isinstance(inner, BaseException) else exc
    said = getattr(exc, "message", "") or str(exc).rpartition(": ")[2] or str(exc)  # aiohttp's text quotes the URL
    text = hidden(next(iter(str(said).splitlines()), ""))[:MAX_REASON].rstrip(": ")
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__


def _origin(exc: BaseException) -> str:
    """The module that raised it, if it is neither ours nor the library's: a tracing agent's, for one."""
    module = ""
    for frame, _ in walk_tb(exc.__traceback__):
        name = str(frame.f_globals.get("__name__"))
        package = name.partition(".")[0]
        if package in LIBRARIES:
            module = ""
        elif not module and package not in sys.stdlib_module_names:
            module = name
    return f" (raised in {module})" if module else ""
