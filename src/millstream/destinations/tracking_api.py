"""The Tracking API as a destination: Segment, and every server that speaks its protocol."""

from __future__ import annotations

import gzip
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from .._core.delivery.retry import judge
from .._core.delivery.verdicts import Verdict
from .._core.events.timestamps import from_epoch
from .._public import publish
from .._version import __version__
from ..secret import Secret
from ..types import Request, Response
from .base import Event, Limits, Part

__all__ = ["TrackingAPI"]

SEGMENT = "Segment.io"
"""The name of a client's own Tracking API, as in the Node library."""

_HEAD = b'{"batch":['


class TrackingAPI:
    """Turns batches into `POST /v1/batch` requests, and answers into verdicts.

    The body is a join of the events' bytes: nothing is encoded a second time. It has the three keys that the API's
    specification names: `batch`, `writeKey`, and `sentAt`, which is new for every attempt.

    Args:
        write_key: the source's key.
        host: base URL of the Tracking API.
        path: of its batch method.
        timeout: seconds for one request.
        compress: whether bodies are sent with gzip.
        oauth: whether a token takes the place of the write key in the header.
        name: what `integrations` and `ctx.deliveries` call it.
    """

    type: ClassVar[str] = "tracking_api"
    alternative_names: ClassVar[Sequence[str]] = ()
    deduplicates: ClassVar[str] = "by `messageId`: Segment for about a day, a collector for its `window`"

    def __init__(
        self,
        write_key: Annotated[Secret | str, Meta(description="The source's key.", examples=["${WRITE_KEY}"])],
        *,
        host: Annotated[
            str, Meta(description="Base URL of the Tracking API.", examples=["https://collector.example"])
        ] = "https://api.segment.io",
        path: Annotated[str, Meta(description="Path of its batch method.")] = "/v1/batch",
        timeout: Annotated[float, Meta(description="Seconds for one request.", gt=0)] = 10.0,
        compress: Annotated[bool, Meta(description="Whether bodies are sent with gzip.")] = False,
        oauth: Annotated[bool, Meta(description="Whether a token takes the place of the key.")] = False,
        name: Annotated[str, Meta(description="What `integrations` calls it.")] = SEGMENT,
    ) -> None:
        self.name = name
        key = write_key.reveal() if isinstance(write_key, Secret) else write_key
        basic = b64encode(f"{key}:".encode()).decode()
        self.obeys_all = name != SEGMENT
        """`{"All": false}` does not keep an event from `Segment.io`; its own name does (as in the Node library)."""
        # What an answer might quote; the key of a client that has none is no secret.
        self._secrets = {"key": Secret(key), "basic": Secret(basic)} if key else {}
        self._url = host.rstrip("/") + path
        self._oauth = oauth
        self._timeout = timeout
        self._compress = compress
        self._tail = b'],"writeKey":' + msgspec.json.encode(key) + b',"sentAt":"'
        self._headers = {
            "Content-Type": "application/json",
            "User-Agent": f"millstream/{__version__}",
            "Authorization": f"Basic {basic}",
        }
        if compress:
            self._headers["Content-Encoding"] = "gzip"
        self.limits = Limits(overhead=len(self._body([], 0.0)), timeout=timeout)

    def prepare(self, event: Event, options: Mapping[str, Any]) -> tuple[Part, ...]:  # noqa: ARG002
        """Return the event as it is."""
        return (Part(event.data),)

    def request(self, parts: Sequence[Part], attempt: int, now: float) -> Request:
        """Build the request for a batch. From the second attempt on it says how many came before (`X-Retry-Count`)."""
        body = self._body([part.data for part in parts], now)
        if self._compress:
            # Level 1 is within a tenth of the size of level 9 at a fifth of its time, on events.
            body = gzip.compress(body, compresslevel=1, mtime=0)
        headers = self._headers
        if attempt > 1:
            headers = {**headers, "X-Retry-Count": str(attempt - 1)}
        return Request("POST", self._url, headers, body, self._timeout)

    def judge(self, response: Response, parts: Sequence[Part], now: float) -> Verdict:  # noqa: ARG002
        """Return what the answer means: the same for every event of the batch."""
        return judge(response, now, oauth=self._oauth)

    def _body(self, events: list[bytes], now: float) -> bytes:
        tail = self._tail + from_epoch(now).encode() + b'"}'
        if not events:
            return _HEAD + tail
        # The ends are put on before: to put them on a joined half of a megabyte copies it each time (0.2 ms a request).
        events[0] = _HEAD + events[0]
        events[-1] += tail
        return b",".join(events)


publish("millstream.destinations", TrackingAPI)
