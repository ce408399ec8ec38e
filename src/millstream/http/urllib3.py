"""The default HTTP client: urllib3 with keep-alive, a deadline for each request, and no surprising redirects."""

from __future__ import annotations

import codecs
import os
import socket
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.exceptions import DecodeError
from urllib3.util import parse_url

from .._clock import monotonic
from .._public import publish
from ..types import Request, Response
from ._common import MAX_BODY, Attempt, check_end, no_answer
from ._environment import authorities, is_socks, need_socks, proxies

__all__ = ["Urllib3Client", "pool_for"]

PIECE = 16_384
"""Bytes of an answer that are read at a time."""

TRUST = {"ca_certs", "ca_cert_dir", "ca_cert_data", "cert_reqs", "ssl_context"}
"""Options that say whose certificates are trusted."""

codecs.lookup("idna")  # resolving a name loads it: now, rather than in a thread while the process forks


class Urllib3Client:
    """Sends requests with urllib3.

    Subclass it and call `super().send(...)` with a changed request to add headers; pass options of
    `urllib3.PoolManager` (`cert_file`, `key_file`, `ca_certs`, `ssl_context` …) for mutual TLS.

    Args:
        proxy: URL of a proxy for every request. Without it `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`
            count.
        options: passed on to urllib3's PoolManager.
    """

    def __init__(self, *, proxy: str | None = None, **options: Any) -> None:
        self._options: dict[str, Any] = {"maxsize": 16, "retries": False, **options}
        self._pools: dict[str | None, urllib3.PoolManager] = {}
        self._process = os.getpid()
        self._proxy_for = proxies(proxy)

    def send(self, request: Request) -> Response:
        """Exchange one request for its answer.

        The timeout covers connecting, each read, and the body of the answer as a whole; but not a head that comes byte
        by byte. A redirect that keeps method and body (307, 308) is followed on the same host; any other is returned.

        Raises:
            TransportError: there was no whole answer; what was raised below (by urllib3, for one) is the cause.
        """
        attempt = Attempt(request)
        response = self._exchange(request, attempt)
        while attempt.goes_on(response):
            response = self._exchange(request, attempt)
        return response

    def close(self) -> None:
        """Close the kept connections."""
        pools = self._own_pools()
        for manager in pools.values():
            for key in manager.pools.keys():  # noqa: SIM118 - a container that cannot be iterated
                # By hand: urllib3 leaves it to finalizers, which do nothing any more at the end of a process.
                manager.pools[key].close()
        pools.clear()

    def _exchange(self, request: Request, attempt: Attempt) -> Response:
        try:
            proxy = self._proxy_for(attempt.url)
            answer = self._pool(proxy).urlopen(
                request.method,
                attempt.url,
                body=request.body,
                headers=dict(request.headers),
                timeout=_timeout(attempt, proxy),
                redirect=False,
                retries=False,
                preload_content=False,
            )
            try:
                check_end(answer.status, answer.headers, http11=answer.version == 11)
                body = _read(answer, attempt)
            except BaseException:
                answer.close()
                raise
            return Response(answer.status, answer.headers, body)
        except Exception as exc:  # what instruments urllib3 may raise anything
            raise no_answer(attempt.url, exc) from exc

    def _pool(self, proxy: str | None) -> urllib3.PoolManager:
        pools = self._own_pools()
        if proxy not in pools:
            pools.setdefault(proxy, pool_for(proxy, self._options))
        return pools[proxy]

    def _own_pools(self) -> dict[str | None, urllib3.PoolManager]:
        """The pools of this process: in a forked child, what was here is the parent's, connections and locks."""
        if self._process != os.getpid():
            self._parents = self._pools  # kept: to let go of them would close them
            self._pools, self._process = {}, os.getpid()
        return self._pools


def pool_for(proxy: str | None, options: Mapping[str, Any]) -> urllib3.PoolManager:
    """Make the pool for what goes through this proxy, or through none.

    User and password in the proxy's URL are sent to it. Without options that say so, the environment says whose
    certificates are trusted.

    Raises:
        MissingExtra: it is a SOCKS proxy, and what speaks to one is not installed.
        OSError: the environment names a file that does not exist.
    """
    options = dict(options)
    if not options.keys() & TRUST:
        options["ca_certs"], options["ca_cert_dir"] = authorities()
    if proxy is None:
        return urllib3.PoolManager(**options)
    url = parse_url(proxy)
    bare = url._replace(auth=None).url
    if is_socks(proxy):
        need_socks(proxy)
        from urllib3.contrib.socks import SOCKSProxyManager  # noqa: PLC0415 - an extra

        user, _, password = (url.auth or "").partition(":")
        return SOCKSProxyManager(bare, unquote(user) or None, unquote(password) or None, **options)
    headers: dict[str, str] = dict(options.pop("proxy_headers", None) or {})
    if url.auth:
        headers |= urllib3.make_headers(proxy_basic_auth=unquote(url.auth))
    return urllib3.ProxyManager(bare, proxy_headers=headers, **options)


def _timeout(attempt: Attempt, proxy: str | None) -> urllib3.Timeout:
    """An equal share of the time for each step, so that some is left for the answer.

    The steps are a connection to each of the server's addresses, as the first may not answer; then the tunnel, and TLS.
    """
    tls = attempt.url.startswith("https:")
    steps = _count_addresses(urlsplit(proxy or attempt.url).hostname, int(monotonic() // 60)) + tls
    left = attempt.left()
    return urllib3.Timeout(total=left, connect=left / (steps + (tls and proxy is not None) + 1))


@lru_cache(maxsize=16)
def _count_addresses(host: str | None, minute: int) -> int:  # noqa: ARG001 - in the next one they are counted again
    try:
        return len(socket.getaddrinfo(host, None, 0, socket.SOCK_STREAM))
    except (OSError, ValueError):  # urllib3 says so, if it has to connect
        return 1


def _read(answer: urllib3.BaseHTTPResponse, attempt: Attempt) -> bytes:
    """Read a body to its end, or as far as it is worth reading."""
    connection, body = getattr(answer, "connection", None), bytearray()  # an answer that a test tool plays has none
    try:
        while len(body) <= MAX_BODY:
            attempt.left()
            piece = answer.read1(PIECE)
            if not piece:
                return bytes(body) or answer.data or b""  # who instruments urllib3 may have read it
            body += piece
        answer.close()
    except DecodeError:
        raise
    except Exception:  # before the end, urllib3 has closed the connection; after it, the answer is whole all the same
        whole = getattr(answer, "length_remaining", None) == 0
        if not whole and not (answer.closed and connection and not connection.is_closed):
            raise
    return bytes(body[:MAX_BODY])


publish("millstream", Urllib3Client)
