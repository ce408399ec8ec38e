"""PostHog: everything by `/batch/`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from .._core.delivery.retry import judge
from .._core.delivery.verdicts import Delivered, Paused, Retry, Verdict
from .._public import publish
from .._version import __version__
from ..errors import Rejected
from ..secret import Secret
from ..types import Request, Response
from ._arguments import base_url, secret_of
from ._fields import NO_FIELDS, Fields, encode, fields_of, object_in, renamed, value_of
from ._keys import uuid_of
from .base import Event, Limits, Part

__all__ = ["PostHog"]

CONTEXT: Mapping[str, Any] = {
    "ip": "$ip",
    "library": {"name": "$lib", "version": "$lib_version"},
    "os": {"name": "$os", "version": "$os_version"},
    "page": {"url": "$current_url", "referrer": "$referrer"},
}
NAMES = {"page": "$pageview", "screen": "$screen", "identify": "$identify", "group": "$groupidentify"}


class PostHog:
    """Sends events to a PostHog project.

    Args:
        api_key: the project's API key, which begins with `phc_`.
        host: base URL of the API: `https://eu.i.posthog.com`, or that of a PostHog of your own.
        group_type: the type of groups that `group` calls speak of, unless their traits have a `groupType`.
        historical_migration: whether events are history: PostHog then takes its time for them.
        name: what `integrations` and `ctx.deliveries` call it.

    Raises:
        SettingsError: an argument cannot be used.
    """

    type: ClassVar[str] = "posthog"
    alternative_names: ClassVar[Sequence[str]] = ("PostHog", "Posthog", "Actions PostHog", "PostHog (Actions)")
    deduplicates: ClassVar[str] = "by `uuid`, made from `messageId`, with the event's name, user and time"

    def __init__(
        self,
        api_key: Annotated[Secret | str, Meta(description="The project's API key.", examples=["${POSTHOG_API_KEY}"])],
        *,
        host: Annotated[
            str, Meta(description="Base URL of the API.", examples=["https://eu.i.posthog.com"])
        ] = "https://us.i.posthog.com",
        group_type: Annotated[str, Meta(description="The type of groups, unless traits have a `groupType`.")] = "group",
        historical_migration: Annotated[bool, Meta(description="Whether events are history.")] = False,
        name: Annotated[str, Meta(description="What `integrations` calls it.")] = "PostHog",
    ) -> None:
        self.name = name
        self._key = secret_of("api_key", api_key)
        self._url = base_url("host", host) + "/batch/"
        self._group_type = group_type
        self._historical = historical_migration
        self.limits = Limits(max_events=2500, max_bytes=5_000_000, overhead=200)

    def prepare(self, event: Event, options: Mapping[str, Any]) -> tuple[Part, ...]:  # noqa: ARG002
        """Return an event with PostHog's names for pages, screens, people, groups and aliases."""
        fields = fields_of(event)
        user, anonymous = fields.user, fields.anonymous
        properties = {**(fields.properties or NO_FIELDS), **renamed(fields.context or NO_FIELDS, CONTEXT)}
        match fields.type:
            case "screen" if fields.name:
                properties["$screen_name"] = fields.name
            case "page" if "$current_url" not in properties and "url" in properties:
                properties["$current_url"] = properties["url"]
            case "identify":
                properties["$set"] = fields.traits or NO_FIELDS
                if user and anonymous:
                    properties["$anon_distinct_id"] = anonymous
            case "group":
                properties |= self._group(fields)
            case "alias":
                properties |= {"distinct_id": user, "alias": fields.previous_id}
            case _:
                pass
        if not user:
            properties["$process_person_profile"] = False
        made = {
            "event": NAMES.get(fields.type) or ("$create_alias" if fields.type == "alias" else fields.event),
            "distinct_id": user or anonymous,
            "properties": properties,
            "timestamp": fields.timestamp,
            "uuid": uuid_of(fields.message_id),
        }
        return (Part(encode(made)),)

    def request(self, parts: Sequence[Part], attempt: int, now: float) -> Request:  # noqa: ARG002
        """Build a request for a batch."""
        head = encode({"api_key": self._key.reveal(), "historical_migration": self._historical})
        body = head[:-1] + b',"batch":[' + b",".join([part.data for part in parts]) + b"]}"
        headers = {"Content-Type": "application/json", "User-Agent": f"millstream/{__version__}"}
        return Request("POST", self._url, headers, body, self.limits.timeout)

    def judge(self, response: Response, parts: Sequence[Part], now: float) -> Verdict:  # noqa: ARG002
        """Return what the answer means. A 200 may say that the project is over its quota: then nothing is stored."""
        if response.status != 200:
            return judge(response, now, credentials="`api_key`", address="`host`")
        answer = object_in(response.body)
        if answer is None or answer.get("status") not in (1, "Ok"):
            return Retry(Rejected(200, response.body, "this is no answer of PostHog's"))
        limited = answer.get("quota_limited")
        if isinstance(limited, list) and "events" in limited:
            return Paused(Rejected(200, response.body, "the project is over its quota of events"))
        return Delivered()

    def probe(self, now: float) -> Request:
        """Build a request without events: it is refused if the key is missing or wrong."""
        return self.request((Part(b""),), 1, now)

    def _group(self, fields: Fields) -> dict[str, Any]:
        traits = fields.traits or NO_FIELDS
        kind = value_of(traits, "groupType")
        kind = kind if isinstance(kind, str) and kind else self._group_type
        return {
            "$group_type": kind,
            "$group_key": fields.group_id,
            "$group_set": {name: value for name, value in traits.items() if name != "groupType"},
        }


publish("millstream.destinations", PostHog)
