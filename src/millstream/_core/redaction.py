"""Redaction: members of an event that are removed or hashed, by their names, and parts of text, by patterns."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

import msgspec

from ..errors import SettingsError
from ..spec import IDS
from .guards import is_list, is_object

__all__ = ["Redaction"]

REPLACEMENT = "[redacted]"
NEEDED = ("type", "messageId", "timestamp", "event", "integrations")
"""Members of the event itself that no name stands for: they say what it is, not who."""
_DEEPEST = 200
_SIGNS = re.compile(r"[\s_-]")


class Redaction:
    """Redacts events.

    Args:
        keys: names of members, wherever they are, in any spelling: `e_mail` is `eMail`. With dots a path from the
            event: `context.ip`.
        patterns: regular expressions; what they match in a text is replaced.
        salt: hash instead: HMAC-SHA256 with this as the key, in hexadecimal digits.

    Raises:
        SettingsError: one of them cannot be used.
    """

    def __init__(
        self, keys: Sequence[str], patterns: Sequence[str | re.Pattern[str]], salt: str | bytes | None
    ) -> None:
        for name, given in (("keys", keys), ("patterns", patterns)):
            if isinstance(given, str | bytes):
                raise SettingsError(f"{name} must be a list, got {type(given).__name__}: write [{given!r}]")
        if not keys and not patterns:
            raise SettingsError("redact needs keys or patterns: without any it would change nothing")
        if salt is not None and not salt:
            raise SettingsError("salt is empty, so that a hash could be looked up: use a long random text")
        self._salt = salt.encode() if isinstance(salt, str) else salt
        self._names = frozenset(_plain(key) for key in keys if "." not in key)
        self._paths = frozenset(tuple(map(_plain, key.split("."))) for key in keys if "." in key)
        self._patterns = [_compiled(pattern) for pattern in patterns]
        if self._salt is None and (ids := [key for key in keys if _plain(key) in ("userid", "anonymousid")]):
            raise SettingsError(f"{ids[0]} cannot be removed, as an event needs one: pass a salt, to have it hashed")

    def apply(self, event: dict[str, Any]) -> None:
        """Redact an event, in place."""
        members = {name: value for name, value in event.items() if name not in NEEDED}
        ids = {name: members[name] for name in IDS if name in members}
        self._object(members, (), 0)
        if self._salt is None:  # users who are all called "[redacted]" would be one
            members.update({name: value for name, value in ids.items() if name in members})
        for name in event.keys() - {*NEEDED}:
            if name in members:
                event[name] = members[name]
            else:
                del event[name]

    def _object(self, members: dict[str, Any], above: tuple[str, ...], depth: int) -> None:
        for name, value in [*members.items()]:
            path = (*above, _plain(name))
            if path[-1] not in self._names and path not in self._paths:
                members[name] = self._value(value, path, depth)
            elif self._salt is None:
                del members[name]
            elif value is not None:
                members[name] = self._hash(value)

    def _value(self, value: Any, path: tuple[str, ...], depth: int) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if (is_object(value) or is_list(value)) and depth > _DEEPEST:
            return REPLACEMENT  # deeper than an event may be: it will be refused, and is not shown as it is
        if is_object(value):
            self._object(value, path, depth + 1)
        elif is_list(value):
            value[:] = [self._value(item, path, depth + 1) for item in value]
        return value

    def _text(self, text: str) -> str:
        replace: str | Callable[[re.Match[str]], str] = REPLACEMENT if self._salt is None else self._hash_of_match
        for pattern in self._patterns:
            text = pattern.sub(replace, text)
        return text

    def _hash_of_match(self, match: re.Match[str]) -> str:
        return self._hash(match[0])

    def _hash(self, value: Any) -> str:
        text = value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()
        return hmac.new(self._salt or b"", text.encode("utf-8", "surrogatepass"), sha256).hexdigest()


def _plain(name: str) -> str:
    return _SIGNS.sub("", name).lower()


def _compiled(pattern: str | re.Pattern[str]) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except (re.error, TypeError) as exc:
        raise SettingsError(f"the pattern {pattern!r} is no regular expression: {exc}") from None
    if compiled.match(""):
        raise SettingsError(
            f"the pattern {compiled.pattern!r} matches the empty text, and so everywhere: name what it is"
        )
    return compiled
