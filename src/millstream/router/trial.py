"""One event to one destination, at once: for tests of a configuration, and for what was a dead letter."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec

from .._core.delivery import verdicts
from .._core.events.timestamps import from_epoch
from .._core.record import Record
from ..destinations._masking import masked
from ..destinations._preview import requests_of
from ..errors import DeliveryError, Dropped, PluginError
from ..http.urllib3 import Urllib3Client
from .configuration import RouteSettings
from .frames import Failed
from .prepare import Prepared, Preparer, Routed

__all__ = ["send_event", "send_test_event", "test_event"]


def send_test_event(settings: RouteSettings) -> str:
    """Send a test event to a destination. Returns what went wrong; an empty text if it has taken it."""
    return send_event(settings, msgspec.json.encode(test_event()))


def test_event() -> Mapping[str, Any]:
    """Return an event that says what it is."""
    now = from_epoch(time.time())
    return {
        "type": "track",
        "event": "Millstream Test",
        "userId": "millstream-test",
        "messageId": f"millstream-test-{uuid.uuid4()}",
        "timestamp": now,
        "receivedAt": now,
        "properties": {"test": True},
        "context": {},
        "integrations": {},
    }


def send_event(settings: RouteSettings, data: bytes) -> str:
    """Send one event, once. Returns what went wrong; an empty text if the destination has taken it."""
    preparer = Preparer(settings, transforms=settings.transform is not None)
    routed, error = preparer.admit(Record(0, len(data), data))
    prepared = error or _transformed(preparer, settings, routed, data)
    if isinstance(prepared, Dropped):
        return f"it is not for this destination: {prepared.reason}"
    if isinstance(prepared, DeliveryError):
        return str(prepared)
    client = Urllib3Client()
    try:
        for request in requests_of(settings.destination, prepared, time.time()):
            try:
                response = masked(settings.destination, client.send(request))
                verdict = settings.destination.judge(response, prepared, time.time())
            except Exception as error:  # noqa: BLE001 - whatever a destination or the network does
                return f"{type(error).__name__}: {error}"
            if wrong := _wrong(verdict):
                return wrong
    finally:
        client.close()
    return ""


def _transformed(preparer: Preparer, settings: RouteSettings, routed: Routed, data: bytes) -> Prepared:
    if settings.transform is None:
        return preparer.parts(routed, (data,))
    with settings.transform.made(settings.folder) as transformation:
        (outcome,) = transformation.run([data])
    if isinstance(outcome, Failed):
        return PluginError("transform", outcome.reason)
    return preparer.parts(routed, outcome.events) if outcome.events else Dropped("its transformation drops it")


def _wrong(verdict: verdicts.Verdict) -> str:
    match verdict:
        case verdicts.Delivered():
            return ""
        case verdicts.Partial(said):
            return next((str(each.error) for each in said if not isinstance(each, verdicts.Delivered)), "")
        case _:
            return str(verdict.error)
