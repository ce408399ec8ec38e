"""Privacy: plugins that redact events, obey consent, and keep a sample of users."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .._core.consent import refused
from .._core.context import Context
from .._core.fql.paths import value_at
from .._core.redaction import Redaction
from .._core.sampling import is_kept, names_of
from .._public import publish
from ..errors import SettingsError
from .base import Plugin

__all__ = ["EventPlugin", "consent", "redact", "sample"]


class EventPlugin(Plugin):
    """A plugin that is a function of an event: as a plugin of the library, and as a transformation in a router.

    Args:
        name: of the plugin.
        change: changes an event in place, and returns why it is dropped, or an empty text.
    """

    type = "before"

    def __init__(self, name: str, change: Callable[[dict[str, Any]], str]) -> None:
        self.name = name
        self._change = change

    def __call__(self, event: dict[str, Any]) -> dict[str, Any] | None:
        """Change an event in place, and return it; None: it is dropped."""
        return None if self._change(event) else event

    def track(self, ctx: Context) -> None:
        """Change or drop the event."""
        if reason := self._change(ctx.event):
            ctx.cancel(reason)

    identify = page = screen = group = alias = track


def redact(
    *, keys: Sequence[str] = (), patterns: Sequence[str | re.Pattern[str]] = (), salt: str | bytes | None = None
) -> EventPlugin:
    """Make a plugin that takes personal data out of events.

    Args:
        keys: names of members to remove, wherever they are, in any spelling (`eMail`, `e_mail`); with dots a path from
            the event: `context.ip`.
        patterns: regular expressions; what they match in a text is replaced by `[redacted]`.
        salt: hash instead of removing and replacing, with HMAC-SHA256: equal values stay equal. A secret.

    Raises:
        SettingsError: an argument cannot be used.
    """
    redaction = Redaction(keys, patterns, salt)

    def change(event: dict[str, Any]) -> str:
        redaction.apply(event)
        return ""

    return EventPlugin("redact", change)


def consent(categories: Mapping[str, Sequence[str]], *, without_consent: bool = True) -> EventPlugin:
    """Make a plugin that keeps events from destinations that their users have not agreed to.

    An event says so in `context.consent.categoryPreferences`, as Segment's libraries write it.

    Args:
        categories: the categories of each destination, by its name; all must be agreed to. One that is not named gets
            every event.
        without_consent: whether an event that says nothing of consent goes everywhere, as at Segment.

    Raises:
        SettingsError: an argument cannot be used.
    """
    for name, needed in categories.items():
        if isinstance(needed, str):
            raise SettingsError(f"the categories of {name} must be a list of str, got {needed!r}")

    def change(event: dict[str, Any]) -> str:
        names = [*refused(event, categories, without=without_consent)]
        if names:
            integrations = event.get("integrations")
            event["integrations"] = {
                **(integrations if isinstance(integrations, dict) else {}),
                **dict.fromkeys(names, False),
            }
        return ""

    return EventPlugin("consent", change)


def sample(percent: float, *, path: str = "") -> EventPlugin:
    """Make a plugin that keeps a share of users, and of these every event.

    Args:
        percent: the share, from 0 to 1: 0.1 keeps one user in ten, and always the same.
        path: the value that decides, such as `context.groupId`; without one, `userId`, or `anonymousId`.

    Raises:
        SettingsError: an argument cannot be used.
    """
    if not 0 <= percent <= 1:
        raise SettingsError(f"percent must be from 0 to 1 (0.1 keeps one in ten), got {percent!r}")
    names = names_of(path)

    def change(event: dict[str, Any]) -> str:
        value = value_at(event, names) if names else event.get("userId") or event.get("anonymousId")
        return "" if is_kept(value, percent) else f"a sample of {percent:.4g} is kept, and this user is not in it"

    return EventPlugin("sample", change)


publish("millstream.plugins", consent, redact, sample)
