"""Proxies and certificate authorities from the environment.

The variables are those of requests, httpx and curl; `urllib.request` reads most of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from ..errors import MissingExtra

__all__ = ["authorities", "is_socks", "need_socks", "proxies", "proxy_from_environment"]


def proxy_from_environment(url: str) -> str | None:
    """Return this URL's proxy: `HTTPS_PROXY` or `HTTP_PROXY`, else `ALL_PROXY`; None if `NO_PROXY` exempts it."""
    parts, known = urlsplit(url), getproxies()
    proxy = known.get(parts.scheme) or known.get("all")
    if not proxy or (parts.hostname and _goes_direct(parts.hostname, parts.port, known.get("no", ""))):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _goes_direct(host: str, port: int | None, no_proxy: str) -> bool:
    """Whether `NO_PROXY` has the host's name, with or without port, or a network with its address."""
    bare = f"[{host}]" if ":" in host else host
    if proxy_bypass(host) or (port and proxy_bypass(f"{bare}:{port}")):
        return True
    return any(_is_in(host, entry.strip()) for entry in no_proxy.split(",") if "/" in entry)


def _is_in(host: str, network: str) -> bool:
    try:
        return ip_address(host) in ip_network(network, strict=False)
    except ValueError:  # the host is a name, or this is not a network
        return False


def proxies(given: str | None) -> Callable[[str], str | None]:
    """Return a function from URL to proxy: the given one, or the environment's.

    It caches: in a large environment a look-up is a large part of a request.
    """
    return (lambda _: given) if given else lru_cache(maxsize=16)(proxy_from_environment)


def is_socks(proxy: str | None) -> bool:
    """Whether it is a SOCKS proxy."""
    return proxy is not None and urlsplit(proxy).scheme.startswith("socks")


def need_socks(proxy: str | None) -> None:
    """Raise MissingExtra if it is a SOCKS proxy and urllib3's support for it is not installed."""
    if is_socks(proxy) and find_spec("socks") is None:
        raise MissingExtra("a SOCKS proxy", "socks")


def authorities() -> tuple[str | None, str | None]:
    """Return the file, or the directory, of certificates in `REQUESTS_CA_BUNDLE` or `CURL_CA_BUNDLE`.

    (OpenSSL itself reads `SSL_CERT_FILE` and `SSL_CERT_DIR`.)

    Raises:
        OSError: the file does not exist.
    """
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        named = os.environ.get(variable)
        if named:
            if not Path(named).exists():
                raise OSError(f"${variable} names a file that does not exist")
            return (None, named) if Path(named).is_dir() else (named, None)
    return None, None
