"""The default HTTP client: urllib3 with keep-alive, a deadline for each request, and safe redirects."""

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
"""Bytes of a response that are read at a time."""

TRUST = {"ca_certs", "ca_cert_dir", "ca_cert_data", "cert_reqs", "ssl_context"}
"""Options that name trusted certificates."""

codecs.lookup("idna")  # loaded by name resolution: now, not in a thread while the process forks


class Urllib3Client:
    """Sends requests with urllib3.

    Subclass it and call `super().send(...)` with a changed request to add headers; pass options of
    `urllib3.PoolManager` (`cert_file`, `key_file`, `ca_certs`, `ssl_context` …) for mutual TLS.

    Args:
        proxy: URL of a proxy for every request; by default from `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and
            `NO_PROXY`.
        options: passed to urllib3's PoolManager.
    """

    def __init__(self, *, proxy: str | None = None, **options: Any) -> None:
        self._options: dict[str, Any] = {"maxsize": 16, "retries": False, **options}
        self._pools: dict[str | None, urllib3.PoolManager] = {}
        self._process = os.getpid()
        self._proxy_for = proxies(proxy)

    def send(self, request: Request) -> Response:
        """Send a request and return the response.

        The timeout covers connecting, each read, and the body as a whole; but not headers that arrive byte by byte. A
        redirect that keeps method and body (307, 308) is followed on the same host; others are returned.

        Raises:
            TransportError: no complete response; the exception of urllib3, for example, is its cause.
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
                # Explicitly: urllib3 leaves it to finalizers, which no longer run at exit.
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
        except Exception as exc:  # instrumentation of urllib3 may raise anything
            raise no_answer(attempt.url, exc) from exc

    def _pool(self, proxy: str | None) -> urllib3.PoolManager:
        pools = self._own_pools()
        if proxy not in pools:
            pools.setdefault(proxy, pool_for(proxy, self._options))
        return pools[proxy]

    def _own_pools(self) -> dict[str | None, urllib3.PoolManager]:
        """The pools of this process: after a fork, inherited pools and their locks belong to the parent."""
        if self._process != os.getpid():
            self._parents = self._pools  # kept: releasing them would close the parent's connections
            self._pools, self._process = {}, os.getpid()
        return self._pools


def pool_for(proxy: str | None, options: Mapping[str, Any]) -> urllib3.PoolManager:
    """Make the pool for a proxy, or for direct connections.

    User and password in the proxy's URL are sent to the proxy. Trusted certificates are from the options, else from the
    environment.

    Raises:
        MissingExtra: it is a SOCKS proxy, whose support is not installed.
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
    """Split the time evenly between the steps, so that some is left for the answer.

    The steps are one connection for each address of the server, the tunnel, and TLS.
    """
    tls = attempt.url.startswith("https:")
    steps = _count_addresses(urlsplit(proxy or attempt.url).hostname, int(monotonic() // 60)) + tls
    left = attempt.left()
    return urllib3.Timeout(total=left, connect=left / (steps + (tls and proxy is not None) + 1))


@lru_cache(maxsize=16)
def _count_addresses(host: str | None, minute: int) -> int:  # noqa: ARG001 - in the next one they are counted again
    try:
        return len(socket.getaddrinfo(host, None, 0, socket.SOCK_STREAM))
    except (OSError, ValueError):  # urllib3 reports it when it connects
        return 1


def _read(answer: urllib3.BaseHTTPResponse, attempt: Attempt) -> bytes:
    """Read a body, up to MAX_BODY."""
    connection, body = getattr(answer, "connection", None), bytearray()  # responses of test tools have none
    try:
        while len(body) <= MAX_BODY:
            attempt.left()
            piece = answer.read1(PIECE)
            if not piece:
                return bytes(body) or answer.data or b""  # instrumentation of urllib3 may have read it
            body += piece
        answer.close()
    except DecodeError:
        raise
    except Exception:  # before the end, urllib3 has closed the connection; after it, the body is complete
        whole = getattr(answer, "length_remaining", None) == 0
        if not whole and not (answer.closed and connection and not connection.is_closed):
            raise
    return bytes(body[:MAX_BODY])


publish("millstream", Urllib3Client)
