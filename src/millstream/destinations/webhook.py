"""A webhook: events as they are, to a URL of your own, signed if there is a secret."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from .._core.delivery.retry import CREDENTIALS, judge
from .._core.delivery.verdicts import Verdict
from .._public import publish
from .._version import __version__
from ..errors import SettingsError
from ..secret import Secret
from ..types import Request, Response
from ._arguments import endpoint, secret_of
from .base import Event, Limits, Part

__all__ = ["Webhook"]


class Webhook:
    """Posts events to a URL, as a JSON array or one to a request.

    With a secret each request is signed: `X-Millstream-Signature` is the HMAC-SHA256, in hexadecimal, of the text in
    `X-Millstream-Timestamp` (seconds since the epoch), a full stop and the body.
    `X-Signature` is the HMAC-SHA1 of the body, which receivers of Segment's webhooks know.

    Args:
        url: where to; it may have a query.
        secret: signs requests.
        headers: headers that every request has, such as `Authorization`; their values are never shown.
        batch: whether a request is an array of events; else it is one event.
        max_events: events in a request, at most.
        timeout: seconds for one request.
        name: what `integrations` and `ctx.deliveries` call it.

    Raises:
        SettingsError: an argument cannot be used.
    """

    type: ClassVar[str] = "webhook"
    alternative_names: ClassVar[Sequence[str]] = ("Webhook", "Webhooks", "Actions Webhook", "Webhooks (Actions)")
    deduplicates: ClassVar[str] = "by `messageId`, if the receiver does"

    def __init__(
        self,
        url: Annotated[
            str, Meta(description="Where events go; it may have a query.", examples=["https://me.example/in"])
        ],
        *,
        secret: Annotated[
            Secret | str | None, Meta(description="Signs requests.", examples=["${WEBHOOK_SECRET}"])
        ] = None,
        headers: Annotated[
            Mapping[str, Secret | str] | None,
            Meta(description="Headers that every request has.", examples=[{"Authorization": "${WEBHOOK_TOKEN}"}]),
        ] = None,
        batch: Annotated[
            bool, Meta(description="Whether a request is an array of events; else it is one event.")
        ] = True,
        max_events: Annotated[int, Meta(description="Events in a request, at most.", ge=1)] = 1000,
        timeout: Annotated[float, Meta(description="Seconds for one request.", gt=0)] = 10.0,
        name: Annotated[str, Meta(description="What `integrations` calls it.")] = "Webhook",
    ) -> None:
        self.name = name
        self._url = endpoint("url", url)
        self._secret = None if secret is None else secret_of("secret", secret)
        self._given = {header: secret_of(f"headers: {header}", value) for header, value in (headers or {}).items()}
        for header in self._given:
            if not header.isascii() or not header.replace("-", "").replace("_", "").isalnum():
                raise SettingsError(f"headers: {header!r} is no name of a header")
        self._batch = batch
        self.limits = Limits(max_events if batch else 1, overhead=2, timeout=timeout)

    def prepare(self, event: Event, options: Mapping[str, Any]) -> tuple[Part, ...]:  # noqa: ARG002
        """Return the event as it is."""
        return (Part(event.data),)

    def request(self, parts: Sequence[Part], attempt: int, now: float) -> Request:
        """Build a request, and sign it. From the second attempt on it says how many came before."""
        body = b",".join([part.data for part in parts])
        if self._batch:
            body = b"[" + body + b"]"
        headers = {"Content-Type": "application/json", "User-Agent": f"millstream/{__version__}"}
        headers |= {name: value.reveal() for name, value in self._given.items()}
        if attempt > 1:
            headers["X-Retry-Count"] = str(attempt - 1)
        if self._secret is not None:
            key, timestamp = self._secret.reveal().encode(), str(int(now))
            signature = hmac.new(key, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
            headers |= {"X-Millstream-Timestamp": timestamp, "X-Millstream-Signature": signature}
            headers["X-Signature"] = hmac.new(key, body, hashlib.sha1).hexdigest()
        return Request("POST", self._url, headers, body, self.limits.timeout)

    def judge(self, response: Response, parts: Sequence[Part], now: float) -> Verdict:  # noqa: ARG002
        """Return what the status means: any 2xx is all of them delivered."""
        pauses = CREDENTIALS | {404, 410}
        return judge(response, now, credentials="`secret` and `headers`", address="`url`", pauses=pauses)


publish("millstream.destinations", Webhook)
