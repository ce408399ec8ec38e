"""Mixpanel: events by `/import`, profiles by `/engage` and `/groups`."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from msgspec import Meta, Raw

from .._core.delivery.retry import judge
from .._core.delivery.verdicts import Delivered, Partial, Refused, Retry, Split, Verdict
from .._public import publish
from .._version import __version__
from ..errors import Rejected
from ..secret import Secret
from ..types import Request, Response
from ._arguments import base_url, secret_of
from ._browsers import browser_of
from ._fields import NO_FIELDS, Fields, encode, epoch_ms, fields_of, indexes, object_in, objects_in, renamed, value_of
from ._keys import insert_id
from .base import Event, Limits, Part, Skip

__all__ = ["Mixpanel"]

CONTEXT: Mapping[str, Any] = {
    "ip": "ip",
    "locale": "$locale",
    "timezone": "timezone",
    "groupId": "$group_id",
    "app": {
        "name": "$app_name",
        "version": "$app_version_string",
        "build": "$app_build_number",
        "namespace": "$app_namespace",
    },
    "campaign": {
        "name": "utm_campaign",
        "source": "utm_source",
        "medium": "utm_medium",
        "term": "utm_term",
        "content": "utm_content",
    },
    "device": {
        "name": ("$device", "$device_name"),
        "type": "$device_type",
        "manufacturer": "$manufacturer",
        "model": "$model",
        "advertisingId": ("$ios_ifa", "advertising_id"),
        "adTrackingEnabled": "ad_tracking_enabled",
    },
    "library": {"name": "mp_lib", "version": "$lib_version"},
    "location": {"country": "mp_country_code"},
    "network": {
        "bluetooth": "$bluetooth_enabled",
        "carrier": "$carrier",
        "cellular": "$cellular_enabled",
        "wifi": "$wifi_enabled",
    },
    "os": {"name": "$os", "version": "$os_version"},
    "page": {"url": "$current_url", "referrer": "$referrer"},
    "screen": {"width": "$screen_width", "height": "$screen_height", "density": "$screen_density"},
}
PERSON = {
    "created": "$created",
    "createdAt": "$created",
    "created_at": "$created",
    "email": "$email",
    "firstName": "$first_name",
    "lastName": "$last_name",
    "name": "$name",
    "username": "$username",
    "phone": "$phone",
}
GROUP = {"name": "$name", "created": "$created", "createdAt": "$created", "created_at": "$created"}
RESERVED = frozenset({"time", "id", "$anon_id", "distinct_id", "$group_id", "$insert_id", "$user_id"})
PRODUCT = (
    "product_id sku category name brand variant price quantity coupon position url image_url".split()  # noqa: SIM905
)
PATHS = {
    "": "/import?strict=1",
    "track": "/track?verbose=1",
    "engage": "/engage?verbose=1",
    "groups": "/groups?verbose=1",
}


class Mixpanel:
    """Sends events to a Mixpanel project.

    Args:
        token: the project's token.
        host: base URL of the API; `https://api-eu.mixpanel.com` and `https://api-in.mixpanel.com` for those regions.
        group_key: name of the key that groups are known by in the project.
        name: what `integrations` and `ctx.deliveries` call it.

    Raises:
        SettingsError: an argument cannot be used.
    """

    type: ClassVar[str] = "mixpanel"
    alternative_names: ClassVar[Sequence[str]] = ("Mixpanel", "Actions Mixpanel", "Mixpanel (Actions)")
    deduplicates: ClassVar[str] = "by `$insert_id`, made from `messageId`, with the event's name, user and time"
    limits = Limits(max_events=2000, max_bytes=2_000_000, overhead=2)

    def __init__(
        self,
        token: Annotated[Secret | str, Meta(description="The project's token.", examples=["${MIXPANEL_TOKEN}"])],
        *,
        host: Annotated[
            str,
            Meta(
                description="Base URL of the API, that of the project's region.",
                examples=["https://api-eu.mixpanel.com", "https://api-in.mixpanel.com"],
            ),
        ] = "https://api.mixpanel.com",
        group_key: Annotated[str, Meta(description="Name of the key that groups are known by.")] = "$group_id",
        name: Annotated[str, Meta(description="What `integrations` calls it.")] = "Mixpanel",
    ) -> None:
        self.name = name
        self._token = secret_of("token", token)
        self._basic = Secret(b64encode(f"{self._token.reveal()}:".encode()).decode())
        self._host = base_url("host", host)
        self._group_key = group_key
        self._headers = {"Content-Type": "application/json", "User-Agent": f"millstream/{__version__}"}

    def prepare(self, event: Event, options: Mapping[str, Any]) -> tuple[Part, ...] | Skip:  # noqa: ARG002
        """Return an event for `/import`, and those of its products; or profiles and merges of ids."""
        fields = fields_of(event)
        match fields.type:
            case "track" | "page" | "screen":
                return self._events(fields)
            case "identify":
                return self._identify(fields)
            case "group":
                return self._group(fields)
            case _:
                return self._alias(fields)

    def request(self, parts: Sequence[Part], attempt: int, now: float) -> Request:  # noqa: ARG002
        """Build a request for parts of one endpoint."""
        key = parts[0].key
        headers = self._headers if key else {**self._headers, "Authorization": f"Basic {self._basic.reveal()}"}
        body = b"[" + b",".join([part.data for part in parts]) + b"]"
        return Request("POST", self._host + PATHS[key], headers, body, self.limits.timeout)

    def judge(self, response: Response, parts: Sequence[Part], now: float) -> Verdict:
        """Return what the answer means. Of an import that was accepted in part, the failed records are refused."""
        answer = object_in(response.body)
        if response.status == 400 and answer is not None and not parts[0].key:
            bad = indexes([record.get("index") for record in objects_in(answer.get("failed_records"))], len(parts))
            if bad:
                error = Rejected(400, response.body, "Mixpanel does not take this record")
                return Partial(tuple(Refused(error) if n in bad else Delivered() for n in range(len(parts))))
        if response.status != 200:
            return judge(response, now, credentials="`token`", address="`host`")
        if answer is None:
            return Retry(Rejected(200, response.body, "this is no answer of Mixpanel's"))
        if parts[0].key and answer.get("status") != 1:
            return Split(Rejected(200, response.body, "Mixpanel does not take one of these"))
        return Delivered()

    def probe(self, now: float) -> Request:
        """Build a request that imports nothing: it is refused if the token is wrong."""
        return self.request((Part(b""),), 1, now)

    def _events(self, fields: Fields) -> tuple[Part, ...]:
        common = self._common(fields)
        own = fields.properties or NO_FIELDS
        moment, title = common["time"], fields.title
        free = own if RESERVED.isdisjoint(own) else {name: own[name] for name in own if name not in RESERVED}
        properties = {**common, **free}
        event = Part(encode({"event": title, "properties": properties}))
        if fields.type != "track" or title != "Order Completed":
            return (event,)
        parts = [event]
        order = {name: own[name] for name in ("order_id", "checkout_id") if name in own}
        for number, product in enumerate(objects_in(value_of(own, "products"))):
            sold = {name: product[name] for name in PRODUCT if name in product}
            key = {"time": moment - number - 1, "$insert_id": insert_id(f"{fields.message_id}:{number}")}
            parts.append(Part(encode({"event": "Product Purchased", "properties": common | order | sold | key})))
        return tuple(parts)

    def _common(self, fields: Fields) -> dict[str, Any]:
        user, anonymous, context = fields.user, fields.anonymous, fields.context or NO_FIELDS
        common = renamed(context, CONTEXT)
        common["time"] = epoch_ms(fields.timestamp)
        common["distinct_id"] = common["id"] = user or anonymous
        common["$insert_id"] = insert_id(fields.message_id)
        common["$source"] = "millstream"
        if user:
            common["$user_id"] = common["$identified_id"] = user
        if anonymous:
            common["$device_id"] = common["$anon_id"] = anonymous
        if name := fields.event or fields.name:
            common["event_original_name"] = name
        if "ad_tracking_enabled" in common:
            common["ad_tracking_enabled"] = encode(common["ad_tracking_enabled"]).decode().strip('"')
        agent = context.get("userAgent")
        if type(agent) is str and (browser := browser_of(agent)):
            common["$browser"], common["$browser_version"] = browser
        return common

    def _identify(self, fields: Fields) -> tuple[Part, ...] | Skip:
        user, anonymous, token = fields.user, fields.anonymous, self._token.reveal()
        parts: list[Part] = []
        if user and anonymous:
            merge = {"$identified_id": user, "$anon_id": anonymous, "token": token}
            parts.append(Part(encode({"event": "$identify", "properties": merge}), "track"))
        if fields.traits:
            profile: dict[str, Any] = {"$token": token, "$distinct_id": user or anonymous}
            if ip := (fields.context or NO_FIELDS).get("ip"):
                profile["$ip"] = ip
            profile["$set"] = _person(fields.traits)
            parts.append(Part(encode(profile), "engage"))
        return tuple(parts) or Skip("it has neither traits nor two ids")

    def _group(self, fields: Fields) -> tuple[Part, ...] | Skip:
        traits = fields.traits or NO_FIELDS
        key = traits.get(self._group_key, fields.group_id)
        if not traits or key is None:
            return Skip("it has no traits" if not traits else "it has no groupId")
        named = {GROUP.get(name, name): value for name, value in traits.items()}
        token = self._token.reveal()
        group = {"$token": token, "$group_key": self._group_key, "$group_id": key, "$set": named}
        return (Part(encode(group), "groups"),)

    def _alias(self, fields: Fields) -> tuple[Part, ...]:
        ids = {"distinct_id": fields.previous_id, "alias": fields.user_id, "token": self._token.reveal()}
        return (Part(encode({"event": "$create_alias", "properties": ids}), "track"),)


def _person(traits: Mapping[str, Raw]) -> dict[str, Any]:
    """Return traits under the names that Mixpanel has for people, with a name made of its two halves."""
    person: dict[str, Any] = {PERSON.get(name, name): value for name, value in traits.items()}
    if "$name" not in person and "$first_name" in person and "$last_name" in person:
        person["$name"] = f"{value_of(traits, 'firstName')} {value_of(traits, 'lastName')}"
    return person


publish("millstream.destinations", Mixpanel)
