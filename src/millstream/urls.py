"""URLs from users: checks them, and removes secrets from them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

__all__ = ["hidden", "objection", "origin", "redacted"]

HIDDEN = "…"
_SCHEME = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//")
_AT = "@\ufe6b\uff20"
_QUERY = re.compile(r"[?#].", re.DOTALL)  # compiled: at the end of the interpreter, `re.sub` can import nothing
_QUOTED = re.compile(rf"//[^\s/?#]*[{_AT}]")


def objection(url: str, *schemes: str) -> str:
    """Return the requirement that a base URL or proxy URL does not meet; empty if it is valid.

    `schemes`: allowed schemes; by default `http` and `https`.
    """
    if not url.isprintable() or re.search(r"[ \\]", url):
        return "a URL without spaces, backslashes and invisible characters: percent-encode them"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in (schemes or ("http", "https")) and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        encode = "; percent-encode special characters in its user and password" if _has_password(url) else ""
        return f"an absolute URL such as 'https://api.segment.io'{encode}"
    if "?" in url or "#" in url:
        return "a URL without a ?query and a #fragment"
    return ""


def redacted(url: str) -> str:
    """Return a URL without user, password and query, also if it cannot be parsed.

    If the password's place is uncertain, more is removed.
    """
    scheme, rest, authority = _taken_apart(url)
    if _has_password(url):
        rest = HIDDEN + "@" + re.split(f"[{_AT}]", rest)[-1]
    elif secret := re.match(r"[^\[:]*:(?!\d{0,5}$)", authority):  # as if the URL ended within user and password
        rest = secret[0] + HIDDEN
    query = _QUERY.search(rest)
    return scheme + (rest if query is None else rest[: query.start() + 1] + HIDDEN)


def origin(url: str) -> str:
    """Return the scheme, host and port of a URL, as they may be shown."""
    scheme, _, authority = _taken_apart(redacted(url))
    return scheme + authority.rpartition("@")[2]


def hidden(text: str) -> str:
    """Remove users and passwords from URLs that a text may quote."""
    return _QUOTED.sub(f"//{HIDDEN}@", text)


def _has_password(url: str) -> bool:
    """Whether a URL may have a user or a password: an at sign after a colon, or in place of the host."""
    _, rest, authority = _taken_apart(url)
    return any(at in rest for at in _AT) and any(sign in authority for sign in f":{_AT}")


def _taken_apart(url: str) -> tuple[str, str, str]:
    """Split a URL into its scheme, the rest, and the authority within the rest."""
    scheme = _SCHEME.match(url)
    begin = scheme.end() if scheme else 0
    return url[:begin], url[begin:], re.split(r"[/?#\\]", url[begin:], maxsplit=1)[0]
