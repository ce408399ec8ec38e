"""Access control for the live page and its data."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from millstream.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class Forbidden(Exception):  # control flow, not a fault
    """The request is refused. `status` is 401 or 403."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Access:
    """Refuses requests from other machines, and from other sites in the user's browser.

    Without a token only this machine has access. The name in `Host` must be `localhost`, an address, or one of
    `hosts`: in a DNS rebinding attack the browser sends the attacker's name.

    Args:
        token: a secret: browsers show it once, as `?token=`, programs as `Authorization: Bearer`.
        hosts: other names under which the page is served, as behind a proxy; without scheme, port or wildcard.

    Raises:
        SettingsError: the token or a name is invalid.
    """

    def __init__(self, token: str | None = None, hosts: Collection[str] = ()) -> None:
        if token is not None and not _TOKEN.fullmatch(token):
            raise SettingsError("token: ASCII letters, digits and -._~ only, one at least, so that it fits into an URL")
        if isinstance(hosts, str):
            raise SettingsError("hosts is a collection of names: write hosts=[name]")
        for host in hosts:
            if not _NAME.fullmatch(host):
                raise SettingsError(f"hosts: {host!r} is not a host name, such as events.example.com")
        self.token = token
        self._hosts = frozenset(host.lower() for host in hosts)
        # Cookies are shared by all ports of a host: neither the token itself, nor one name for all collectors.
        self.cookie = f"millstream_{_digest('name', token or '')[:8]}"
        self.cookie_value = _digest("value", token or "")

    def check(self, headers: Mapping[str, str], client: str, shown: str = "", *, page: bool = False) -> None:
        """Return if the request is allowed, or raise.

        Args:
            headers: has lower-case names, or ignores case.
            client: the client's address; empty if unknown.
            shown: the token in its query string.
            page: whether it is for the page itself, to which other sites may link.

        Raises:
            Forbidden: with the remedy.
        """
        host = headers.get("host", "")
        self._check_host(_hostname(f"//{host}"))
        self._check_origin(headers.get("origin"), host)
        if not page and headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            raise Forbidden(403, "another site may not read this")
        self._check_token(headers, client, shown)

    def shows_token(self, shown: str) -> bool:
        """Whether this is the token."""
        return self.token is not None and _same(shown, self.token)

    def _check_host(self, name: str) -> None:
        if name == "localhost" or name.endswith(".localhost") or name in self._hosts or _address(name):
            return
        if _NAME.fullmatch(name):
            raise Forbidden(403, f"this page is not served under this name; if it is yours: --allow-host {name}")
        raise Forbidden(403, "this page needs a Host header with the name it is served under")

    def _check_origin(self, origin: str | None, host: str) -> None:
        if origin is None:
            return
        if origin.partition("://")[2].lower() != host.lower() and _hostname(origin) not in self._hosts:
            raise Forbidden(403, "another site may not read this")

    def _check_token(self, headers: Mapping[str, str], client: str, shown: str) -> None:
        if self.token is None:
            if not (address := _address(client)) or not address.is_loopback:
                raise Forbidden(403, "from another machine this page needs a token: millstream serve --token …")
            return
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _same(bearer.strip(), self.token):
            return
        if self.shows_token(shown) or _same(_cookie(headers.get("cookie", ""), self.cookie), self.cookie_value):
            return
        raise Forbidden(401, "this page needs its token: open it once as /?token=…, or send Authorization: Bearer …")


_TOKEN = re.compile(r"[0-9A-Za-z._~-]+")
_NAME = re.compile(r"[0-9A-Za-z_]([0-9A-Za-z_.-]{0,251}[0-9A-Za-z_])?")


def _same(given: str, right: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(given.encode(errors="replace"), right.encode())


def _digest(purpose: str, token: str) -> str:
    return hmac.digest(token.encode(), f"millstream debugger {purpose}".encode(), hashlib.sha256).hex()


def _cookie(header: str, name: str) -> str:
    """Read a cookie. Not by http.cookies: cookies of other applications on this host may be malformed."""
    pairs = (pair.strip().partition("=") for pair in header.split(";"))
    return next((value for key, _, value in pairs if key == name), "")


def _hostname(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)  # ::ffff:127.0.0.1, as a socket for both families has it
    return mapped or address
