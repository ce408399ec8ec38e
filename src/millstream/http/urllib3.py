"""The default HTTP client: urllib3 with keep-alive, one whole-exchange timeout, and no surprising redirects."""

from __future__ import annotations

import codecs
import os
import time
from http.client import HTTPException
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from ..types import Request, Response
from ._common import MAX_HOPS, cached_proxies, no_answer, redirected
from ._strict import POOL_CLASSES

__all__ = ["Urllib3Client"]

codecs.lookup("idna")  # resolving a name loads it: now, rather than in a thread while the process forks


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
        self._process = os.getpid()
        self._proxy_for = cached_proxies()

    def send(self, request: Request) -> Response:
        """Exchange one request for its answer.

        A redirect that keeps method and body (307, 308) is followed on the same host; any other is returned as it is,
        because following it would turn the POST into a GET and lose the events.

        Raises:
            TransportError: there was no answer; urllib3's own exception is the cause.
        """
        url, deadline = request.url, time.monotonic() + request.timeout
        response = self._exchange(request, url, deadline)
        for _ in range(MAX_HOPS):
            target = redirected(url, response.status, response.headers.get("Location", ""))
            if target is None:
                break
            url = target
            response = self._exchange(request, url, deadline)
        return response

    def close(self) -> None:
        """Close the kept connections."""
        for manager in self._own_pools().values():
            for key in manager.pools.keys():  # noqa: SIM118 - a container that cannot be iterated
                # By hand: urllib3 leaves it to finalizers, which do nothing any more at the end of a process.
                manager.pools[key].close()
            manager.clear()
        self._own_pools().clear()

    def _exchange(self, request: Request, url: str, deadline: float) -> Response:
        try:
            answer: Any = self._pool(url).urlopen(
                request.method,
                url,
                body=request.body,
                headers=dict(request.headers),
                timeout=urllib3.Timeout(total=max(deadline - time.monotonic(), 0.001)),
                redirect=False,
                retries=False,
            )
            return Response(answer.status, answer.headers, answer.body)
        except (HTTPError, HTTPException, OSError, ValueError) as exc:
            raise no_answer(url, exc) from exc

    def _pool(self, url: str) -> urllib3.PoolManager:
        proxy = self._proxy or self._proxy_for(url)
        pools = self._own_pools()
        pool = pools.get(proxy)
        if pool is None:
            made = self._proxied(proxy) if proxy else urllib3.PoolManager(**self._options)
            made.pool_classes_by_scheme = POOL_CLASSES
            pool = pools.setdefault(proxy, made)
        return pool

    def _own_pools(self) -> dict[str | None, urllib3.PoolManager]:
        """The pools of this process: in a forked child, what was here is the parent's, connections and locks."""
        if self._process != os.getpid():
            self._parents = self._pools  # kept: to let go of them would close them
            self._pools, self._process = {}, os.getpid()
        return self._pools

    def _proxied(self, proxy: str) -> urllib3.ProxyManager:
        """A pool behind a proxy. User and password in its URL are sent to it: urllib3 leaves that to its caller."""
        parts = urlsplit(proxy)
        options = dict(self._options)
        headers: dict[str, str] = dict(options.pop("proxy_headers", None) or {})
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers |= urllib3.make_headers(proxy_basic_auth=pair)
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        return urllib3.ProxyManager(bare, proxy_headers=headers, **options)
