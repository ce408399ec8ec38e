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
        # By process: a forked child needs its own. Those of its parent stay here: to let go of them would close them.
        self._pools: dict[tuple[int, str | None], urllib3.PoolManager] = {}
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
        for process, proxy in list(self._pools):
            if process == os.getpid():
                pools = self._pools.pop((process, proxy)).pools
                for key in pools.keys():  # noqa: SIM118 - a container that cannot be iterated
                    # By hand: urllib3 leaves it to finalizers, which do nothing any more at the end of a process.
                    pools[key].close()

    def _exchange(self, request: Request, attempt: Attempt) -> Response:
        url = attempt.url
        try:
            proxy = self._proxy_for(url)
            answer = self._pool(proxy).urlopen(
                request.method,
                url,
                body=request.body,
                headers=dict(request.headers),
                timeout=_timeout(url, proxy, attempt.left()),
                redirect=False,
                retries=False,
                preload_content=False,
            )
            try:
                check_end(answer.status, answer.headers, stays_open=answer.version == 11)
                body = _read(answer, attempt)
            except BaseException:
                answer.close()
                raise
            return Response(answer.status, answer.headers, body)
        except Exception as exc:  # what instruments urllib3 may raise anything
            raise no_answer(url, exc) from exc

    def _pool(self, proxy: str | None) -> urllib3.PoolManager:
        key = os.getpid(), proxy
        if key not in self._pools:
            return self._pools.setdefault(key, pool_for(proxy, self._options))
        return self._pools[key]


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


def _timeout(url: str, proxy: str | None, left: float) -> urllib3.Timeout:
    """An equal share of the time for each step before the answer, so that there is always some left to wait for it.

    The steps are a connection to each of the server's addresses, as the first may not answer; then the tunnel, and TLS.
    """
    tls = url.startswith("https:")
    addresses = _count_addresses(urlsplit(proxy or url).hostname or "", int(monotonic() // 60))
    return urllib3.Timeout(total=left, connect=left / (addresses + tls + (tls and proxy is not None) + 1))


@lru_cache(maxsize=16)
def _count_addresses(host: str, minute: int) -> int:  # noqa: ARG001 - in the next one they are counted again
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
