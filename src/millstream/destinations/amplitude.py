"""Amplitude: events by `/2/httpapi`, people by `/identify`, groups by `/groupidentify`, ids by `/usermap`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar
from urllib.parse import quote_plus

from msgspec import Meta

from .._core.delivery.retry import judge
from .._core.delivery.verdicts import Delivered, Limited, Partial, Refused, Retry, Verdict
from .._public import publish
from .._version import __version__
from ..errors import Rejected
from ..secret import Secret
from ..types import Request, Response
from ._arguments import base_url, secret_of
from ._fields import (
    NO_FIELDS,
    Fields,
    encode,
    epoch_ms,
    fields_of,
    indexes,
    object_in,
    objects_in,
    renamed,
    section,
    value_of,
)
from .base import Event, Limits, Part, Skip

__all__ = ["Amplitude"]

CONTEXT: Mapping[str, Any] = {
    "locale": "language",
    "app": {"version": "app_version"},
    "device": {"manufacturer": "device_manufacturer", "model": "device_model", "brand": "device_brand"},
    "library": {"name": "library"},
    "location": {"country": "country", "region": "region", "city": "city"},
    "network": {"carrier": "carrier"},
    "os": {"name": "os_name", "version": "os_version"},
}
CONTEXT_OF_EVENTS: Mapping[str, Any] = {
    "ip": "ip",
    "device": {"advertisingId": ("idfa", "adid"), "id": "idfv"},
    "location": {"latitude": "location_lat", "longitude": "location_lng"},
}
ATTRIBUTION: Mapping[str, Any] = {
    "campaign": {
        "source": "utm_source",
        "medium": "utm_medium",
        "name": "utm_campaign",
        "term": "utm_term",
        "content": "utm_content",
    },
    "page": {"referrer": "referrer"},
}
PLATFORMS = {"ios": "iOS", "android": "Android"}
INVALID = ("events_with_invalid_fields", "events_with_missing_fields", "events_with_invalid_id_lengths")
THROTTLED_FOR = 30.0
"""Seconds after which Amplitude takes events of a user who had too many."""
PATHS = {"": "/2/httpapi", "identify": "/identify", "groupidentify": "/groupidentify", "usermap": "/usermap"}
FORMS = {"identify": "identification", "groupidentify": "identification", "usermap": "mapping"}


class Amplitude:
    """Sends events to an Amplitude project.

    Args:
        api_key: the project's API key.
        host: base URL of the API; `https://api.eu.amplitude.com` for a project in the EU.
        group_type: the type of groups that `group` calls speak of, such as `company`; without it they are skipped.
        min_id_length: characters that user and device ids have at least. Amplitude's own default is 5.
        name: what `integrations` and `ctx.deliveries` call it.

    Raises:
        SettingsError: an argument cannot be used.
    """

    type: ClassVar[str] = "amplitude"
    alternative_names: ClassVar[Sequence[str]] = ("Amplitude", "Actions Amplitude", "Amplitude (Actions)")
    deduplicates: ClassVar[str] = "by `insert_id`, which is `messageId`, for 7 days"

    def __init__(
        self,
        api_key: Annotated[Secret | str, Meta(description="The project's API key.", examples=["${AMPLITUDE_API_KEY}"])],
        *,
        host: Annotated[
            str, Meta(description="Base URL of the API.", examples=["https://api.eu.amplitude.com"])
        ] = "https://api2.amplitude.com",
        group_type: Annotated[
            str | None, Meta(description="The type of groups that `group` calls speak of.", examples=["company"])
        ] = None,
        min_id_length: Annotated[
            int | None, Meta(description="Characters that user and device ids have at least.", ge=1)
        ] = None,
        name: Annotated[str, Meta(description="What `integrations` calls it.")] = "Amplitude",
    ) -> None:
        self.name = name
        self._key = secret_of("api_key", api_key)
        self._host = base_url("host", host)
        self._group_type = group_type
        options = {} if min_id_length is None else {"min_id_length": min_id_length}
        self._tail = (b',"options":' + encode(options) if options else b"") + b"}"
        self._min_id_length = min_id_length
        # Identifications are percent-encoded: three bytes for most signs of JSON.
        self.limits = Limits(max_events=1000, max_bytes=900_000, overhead=200)

    def prepare(self, event: Event, options: Mapping[str, Any]) -> tuple[Part, ...] | Skip:
        """Return an event, or what is to be said of its user, its group or its ids."""
        fields = fields_of(event)
        match fields.type:
            case "track" | "page" | "screen":
                return self._events(fields, options)
            case "identify":
                person = self._person(fields)
                if traits := fields.traits:
                    person["user_properties"] = {**traits, **person.get("user_properties", NO_FIELDS)}
                return (_form("identify", person),)
            case "group":
                return self._group(fields)
            case _:
                return (_form("usermap", {"user_id": fields.previous_id, "global_user_id": fields.user_id}),)

    def request(self, parts: Sequence[Part], attempt: int, now: float) -> Request:  # noqa: ARG002
        """Build a request for parts of one endpoint."""
        key, path = parts[0].key, PATHS[parts[0].key]
        host, api_key = self._host, self._key.reveal()
        kind = "application/x-www-form-urlencoded" if key else "application/json"
        headers = {"Content-Type": kind, "User-Agent": f"millstream/{__version__}"}
        if key == "usermap":
            host = host.replace("//api2.", "//api.")
        if key:
            listed = b"%2C".join([part.data for part in parts])
            body = f"api_key={quote_plus(api_key)}&{FORMS[key]}=%5B".encode() + listed + b"%5D"
            if key == "identify" and self._min_id_length is not None:
                body += b"&options=" + quote_plus(encode({"min_id_length": self._min_id_length})).encode()
        else:
            listed = b",".join([part.data for part in parts])
            body = b'{"api_key":' + encode(api_key) + b',"events":[' + listed + b"]" + self._tail
        return Request("POST", host + path, headers, body, self.limits.timeout)

    def judge(self, response: Response, parts: Sequence[Part], now: float) -> Verdict:
        """Return what the answer means. Of a batch with invalid events nothing is stored: the others are sent again."""
        status, answer = response.status, object_in(response.body)
        if status == 200:
            if parts[0].key or (answer is not None and answer.get("code") == 200):
                return Delivered()
            return Retry(Rejected(200, response.body, "this is no answer of Amplitude's"))
        if status == 400 and answer is not None and (bad := _invalid(answer, len(parts))):
            error = Rejected(400, response.body, "Amplitude does not take this event")
            again = Limited(0.0, error)
            return Partial(tuple(Refused(error) if n in bad else again for n in range(len(parts))))
        verdict = judge(response, now, credentials="`api_key`", address="`host`")
        if status == 429 and isinstance(verdict, Retry):
            return Limited(THROTTLED_FOR, Rejected(429, response.body, "too many events of one user or device"))
        return verdict

    def probe(self, now: float) -> Request:
        """Build a request without events: the answer names the key if it is wrong."""
        return self.request((Part(b""),), 1, now)

    def _person(self, fields: Fields) -> dict[str, Any]:
        """Return what events and identifications say alike."""
        context = fields.context or NO_FIELDS
        person = renamed(context, CONTEXT)
        device = section(context, "device")
        if user := fields.user:
            person["user_id"] = user
        if device_id := device.get("id") or fields.anonymous:
            person["device_id"] = device_id
        if section(context, "library").get("name") == "analytics.js":
            person["platform"] = "Web"
        elif type(kind := device.get("type")) is str:
            person["platform"] = PLATFORMS.get(kind.lower(), kind)
        if attribution := renamed(context, ATTRIBUTION):
            first = {f"initial_{name}": value for name, value in attribution.items()}
            person["user_properties"] = {"$set": attribution, "$setOnce": first}
        return person

    def _events(self, fields: Fields, options: Mapping[str, Any]) -> tuple[Part, ...]:
        properties = fields.properties or NO_FIELDS
        event = self._person(fields) | renamed(fields.context or NO_FIELDS, CONTEXT_OF_EVENTS)
        event["event_type"] = fields.title
        event["event_properties"] = properties
        event["time"] = epoch_ms(fields.timestamp)
        event["insert_id"] = fields.message_id
        if "session_id" in options:
            event["session_id"] = options["session_id"]
        if fields.event != "Order Completed":
            return (Part(encode(event)),)
        sold = [
            event
            | {"event_type": "Product Purchased", "event_properties": product}
            | {"insert_id": f"{fields.message_id}:{n}"}
            for n, product in enumerate(objects_in(value_of(properties, "products")))
        ]
        if "revenue" in properties:
            event["revenue"] = properties["revenue"]
            event["revenueType"] = properties.get("revenueType", "Purchase")
        return tuple(Part(encode(each)) for each in (event, *sold))

    def _group(self, fields: Fields) -> tuple[Part, ...] | Skip:
        kind = self._group_type
        if kind is None or fields.group_id is None:
            return Skip("`group_type` is not set" if kind is None else "it has no groupId")
        group = {"group_type": kind, "group_value": fields.group_id, "group_properties": fields.traits or NO_FIELDS}
        member = {**self._person(fields), "groups": {kind: fields.group_id}}
        return (_form("identify", member), _form("groupidentify", group))


def _form(key: str, value: Mapping[str, Any]) -> Part:
    """Return a part of a form field that is a list in JSON."""
    return Part(quote_plus(encode(value)).encode(), key)


def _invalid(answer: Mapping[str, Any], count: int) -> set[int]:
    """Return the indexes of the events that Amplitude does not take."""
    bad = indexes(answer.get("silenced_events"), count)
    for name in INVALID:
        for each in objects_in([answer.get(name)]):
            for numbers in each.values():
                bad |= indexes(numbers, count)
    return bad


publish("millstream.destinations", Amplitude)
