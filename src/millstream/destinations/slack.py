"""Slack: a message for each event, by an incoming webhook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, cast
from urllib.parse import urlsplit

from msgspec import Meta

from .._core.delivery.retry import CREDENTIALS, judge
from .._core.delivery.verdicts import Delivered, Refused, Retry, Verdict
from .._public import publish
from .._version import __version__
from ..errors import Rejected, SettingsError
from ..secret import Secret
from ..types import Request, Response
from ._arguments import endpoint, secret_of
from ._fields import encode
from .base import Event, Limits, Part, Skip

__all__ = ["Slack"]

MAX_TEXT = 4000


class Slack:
    """Posts a message to a channel of Slack for each event.

    The text is made with `str.format_map` from the event's fields, flattened: `{event}`, `{userId}`,
    `{properties.revenue}`. A field that the event does not have is empty.

    Args:
        url: of the incoming webhook; it is a secret.
        text: the message.
        events: names of tracked events, and types, that become messages. By default all do.
        name: what `integrations` and `ctx.deliveries` call it.

    Raises:
        SettingsError: an argument cannot be used.
    """

    type: ClassVar[str] = "slack"
    alternative_names: ClassVar[Sequence[str]] = ("Slack", "Actions Slack", "Slack (Actions)")
    deduplicates: ClassVar[str] = ""
    limits = Limits(max_events=1)

    def __init__(
        self,
        url: Annotated[Secret | str, Meta(description="URL of the incoming webhook.", examples=["${SLACK_URL}"])],
        *,
        text: Annotated[
            str, Meta(description="The message.", examples=["{event}: {properties.revenue} by {userId}"])
        ] = "{type} {event}{name} by {userId}{anonymousId}",
        events: Annotated[
            Sequence[str], Meta(description="Names and types that become messages; all by default.")
        ] = (),
        name: Annotated[str, Meta(description="What `integrations` calls it.")] = "Slack",
    ) -> None:
        self.name = name
        self._url = secret_of("url", url)
        parts = urlsplit(endpoint("url", self._url.reveal()))
        self._path = Secret(parts.path)  # what an error message quotes
        if isinstance(events, str):
            raise SettingsError(f"events is {events!r}; it must be a list of names")
        self._events = frozenset(events)
        self._text = text
        try:
            text.format_map(_Flat({}))
        except (ValueError, TypeError, AttributeError, KeyError, IndexError) as exc:
            raise SettingsError(f"text cannot be formatted: {exc}; write {{{{ and }}}} for braces") from None

    def prepare(self, event: Event, options: Mapping[str, Any]) -> tuple[Part, ...] | Skip:  # noqa: ARG002
        """Return the message."""
        whole = event.whole
        if self._events and not self._events & {whole["type"], whole.get("event"), whole.get("name")}:
            return Skip("it is none of `events`")
        return (Part(encode({"text": self._text.format_map(_Flat(whole))[:MAX_TEXT]})),)

    def request(self, parts: Sequence[Part], attempt: int, now: float) -> Request:  # noqa: ARG002
        """Build the request for a message."""
        headers = {"Content-Type": "application/json", "User-Agent": f"millstream/{__version__}"}
        return Request("POST", self._url.reveal(), headers, parts[0].data, self.limits.timeout)

    def judge(self, response: Response, parts: Sequence[Part], now: float) -> Verdict:  # noqa: ARG002
        """Return what the answer means: `ok`, or a word for what is wrong."""
        if response.status == 200:
            if response.body.strip() == b"ok":
                return Delivered()
            return Retry(Rejected(200, response.body, "this is no answer of Slack's"))
        if response.status == 400:
            return Refused(Rejected(400, response.body, "Slack does not take this message"))
        return judge(response, now, credentials="`url`", address="`url`", pauses=CREDENTIALS | {404, 410})


class _Flat(dict[str, str]):
    """The fields of an event by their paths, as text; an empty one for those that it does not have."""

    def __init__(self, event: Mapping[str, Any]) -> None:
        self._event = event

    def __missing__(self, path: str) -> _Field:
        return _Field(self._event.get(path))


class _Field:
    """A field of an event in a text: `format` asks for what it holds by its attributes."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __getattr__(self, name: str) -> _Field:
        value = self._value
        return _Field(cast("dict[str, Any]", value).get(name) if isinstance(value, dict) else None)

    __getitem__ = __getattr__

    def __format__(self, spec: str) -> str:
        value = self._value
        if value is None:
            return ""
        if isinstance(value, str):
            # Slack's three control characters: <!channel> in a name must not call anybody.
            value = value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        elif isinstance(value, dict | list):
            value = encode(value).decode()
        try:
            return format(value, spec)
        except ValueError:
            return str(value)


publish("millstream.destinations", Slack)
