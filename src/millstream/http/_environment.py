"""What the environment says of the way to a host: its proxy, and whose certificates are trusted.

The variables are those that requests, httpx and curl go by; `urllib.request` knows most of them.
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
    """The proxy that `HTTPS_PROXY` or `HTTP_PROXY` names for this URL, or else `ALL_PROXY`; none for `NO_PROXY`."""
    parts, known = urlsplit(url), getproxies()
    proxy = known.get(parts.scheme) or known.get("all")
    if not proxy or (parts.hostname and _goes_direct(parts.hostname, parts.port, known.get("no", ""))):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _goes_direct(host: str, port: int | None, no_proxy: str) -> bool:
    """Whether `NO_PROXY` has the host's name, with or without its port, or a network that its address is in."""
    bare = f"[{host}]" if ":" in host else host
    if proxy_bypass(host) or (port and proxy_bypass(f"{bare}:{port}")):
        return True
    return any(_is_in(host, entry.strip()) for entry in no_proxy.split(",") if "/" in entry)


def _is_in(host: str, network: str) -> bool:
    try:
        return ip_address(host) in ip_network(network, strict=False)
    except ValueError:  # the host is a name, or this is no network
        return False


def proxies(given: str | None) -> Callable[[str], str | None]:
    """Says for a URL which proxy it has: the given one, or what the environment names.

    That is asked once for each URL: in a large environment it takes a third of a request.
    """
    return (lambda _: given) if given else lru_cache(maxsize=16)(proxy_from_environment)


def is_socks(proxy: str | None) -> bool:
    """Whether it is a SOCKS proxy, to which one does not speak HTTP."""
    return proxy is not None and urlsplit(proxy).scheme.startswith("socks")


def need_socks(proxy: str | None) -> None:
    """Raise MissingExtra if it is a SOCKS proxy, and what lets urllib3 speak to one is not installed."""
    if is_socks(proxy) and find_spec("socks") is None:
        raise MissingExtra("a SOCKS proxy", "socks")


def authorities() -> tuple[str | None, str | None]:
    """The file, or the directory, with the certificates that `REQUESTS_CA_BUNDLE` or `CURL_CA_BUNDLE` names.

    (`SSL_CERT_FILE` and `SSL_CERT_DIR` are OpenSSL's own: they count without it.)

    Raises:
        OSError: there is no such file.
    """
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        named = os.environ.get(variable)
        if named:
            if not Path(named).exists():
                raise OSError(f"${variable} names a file that does not exist")
            return (None, named) if Path(named).is_dir() else (named, None)
    return None, None
