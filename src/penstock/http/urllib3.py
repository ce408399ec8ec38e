"""The default HTTP client: urllib3 with keep-alive, one whole-exchange timeout, and no surprising redirects."""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError

from ..errors import TransportError
from ..types import Request, Response

__all__ = ["Urllib3Client"]

MAX_BODY = 1 << 20
"""Bytes of an answer that are read: an answer to a batch is short, and an endless one must not fill the memory."""
MAX_HOPS = 3


class Urllib3Client:
    """Sends requests with urllib3.

    Subclass it and call `super().send(...)` with a changed request to add headers; pass options of
    `urllib3.PoolManager` (`cert_file`, `key_file`, `ca_certs`, `ssl_context` …) for mutual TLS.

    Args:
        proxy: URL of a proxy for every request. Without it `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` count.
        options: passed on to urllib3's PoolManager.
    """

    def __init__(self, *, proxy: str | None = None, **options: Any) -> None:
        self._proxy = proxy
        self._options: dict[str, Any] = {"maxsize": 16, "retries": False, **options}
        self._pools: dict[str | None, urllib3.PoolManager] = {}

    def send(self, request: Request) -> Response:
        """Exchange one request for its answer.

        A redirect that keeps method and body (307, 308) is followed on the same host; any other is returned as it is,
        because following it would turn the POST into a GET and lose the events.

        Raises:
            TransportError: there was no answer; urllib3's own exception is the cause.
        """
        url = request.url
        response = self._exchange(request, url)
        for _ in range(MAX_HOPS):
            target = urljoin(url, response.headers.get("Location", ""))
            if response.status not in {307, 308} or target == url or not _same_host(url, target):
                break
            url = target
            response = self._exchange(request, url)
        return response

    def close(self) -> None:
        """Close the kept connections."""
        for pool in self._pools.values():
            pool.clear()
        self._pools.clear()

    def _exchange(self, request: Request, url: str) -> Response:
        try:
            answer = self._pool(url).request(
                request.method,
                url,
                body=request.body,
                headers=dict(request.headers),
                timeout=urllib3.Timeout(total=request.timeout),
                redirect=False,
                retries=False,
                preload_content=False,
            )
            try:
                body = answer.read(MAX_BODY, decode_content=True)
                if answer.read(1):
                    answer.close()  # it goes on and on: not worth keeping the connection
            finally:
                answer.release_conn()
        except (HTTPError, OSError, ValueError) as exc:
            raise TransportError(f"no answer from {urlsplit(url).netloc.rpartition('@')[2]}: {_reason(exc)}") from exc
        return Response(answer.status, answer.headers, body)

    def _pool(self, url: str) -> urllib3.PoolManager:
        proxy = self._proxy or _proxy_from_environment(url)
        pool = self._pools.get(proxy)
        if pool is None:
            made = urllib3.ProxyManager(proxy, **self._options) if proxy else urllib3.PoolManager(**self._options)
            pool = self._pools.setdefault(proxy, made)
        return pool


def _same_host(one: str, other: str) -> bool:
    """Same host and port, or the step from http to https on one host: anywhere else the key has no business."""
    a, b = urlsplit(one), urlsplit(other)
    upgrade = a.scheme == "http" and b.scheme == "https" and a.hostname == b.hostname
    return (a.scheme, a.netloc) == (b.scheme, b.netloc) or upgrade


def _proxy_from_environment(url: str) -> str | None:
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy is None or (parts.hostname and proxy_bypass(parts.netloc)):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _reason(exc: BaseException) -> str:
    """The exception in a few words: urllib3 wraps the one that says something in several that do not."""
    inner = getattr(exc, "reason", None)
    exc = inner if isinstance(inner, BaseException) else exc
    said = str(exc).rpartition(": ")[2] or str(exc)
    return f"{type(exc).__name__}: {said}" if said else type(exc).__name__
