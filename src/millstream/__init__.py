"""Millstream: delivers customer-data events from Python to a Tracking API and any other destination, without loss.

    from millstream import Analytics

    analytics = Analytics("WRITE_KEY")
    analytics.track("Item Purchased", user_id="019mr8mf4r", properties={"revenue": 39.95})

Importing this package starts nothing and imports nothing: each name is resolved on first use (PEP 562).

PYTEST_DONT_REWRITE: this package has a pytest plugin, and pytest would warn about earlier imports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._public import lazily
from ._version import __version__

if TYPE_CHECKING:
    from ._core.context import Context, ErrorEvent
    from ._core.receipt import Receipt
    from .aio import AsyncAnalytics
    from .client import Analytics
    from .errors import (
        Abandoned,
        AuthError,
        ClientClosed,
        DeliveryError,
        DropEvent,
        Dropped,
        EventTooLarge,
        Fenced,
        InvalidEvent,
        MillstreamError,
        MissingExtra,
        PluginError,
        QueryError,
        QueueFull,
        RateLimitExpired,
        Rejected,
        RetriesExhausted,
        SettingsError,
        SpoolError,
        TransportError,
    )
    from .http.aiohttp import AiohttpClient
    from .http.urllib3 import Urllib3Client
    from .identity import Identity, context
    from .integrations.serverless import flush_on_return
    from .plugins import Plugin, after, before, destination, enrichment, utility
    from .reserved import EventContext, GroupTraits, PageProperties, TrackProperties, UserTraits
    from .settings import OAuthSettings
    from .types import FlushResult, HTTPClient, Request, Response, Stats

__all__ = [
    "Abandoned",
    "AiohttpClient",
    "Analytics",
    "AsyncAnalytics",
    "AuthError",
    "ClientClosed",
    "Context",
    "DeliveryError",
    "DropEvent",
    "Dropped",
    "ErrorEvent",
    "EventContext",
    "EventTooLarge",
    "Fenced",
    "FlushResult",
    "GroupTraits",
    "HTTPClient",
    "Identity",
    "InvalidEvent",
    "MillstreamError",
    "MissingExtra",
    "OAuthSettings",
    "PageProperties",
    "Plugin",
    "PluginError",
    "QueryError",
    "QueueFull",
    "RateLimitExpired",
    "Receipt",
    "Rejected",
    "Request",
    "Response",
    "RetriesExhausted",
    "SettingsError",
    "SpoolError",
    "Stats",
    "TrackProperties",
    "TransportError",
    "Urllib3Client",
    "UserTraits",
    "__version__",
    "after",
    "before",
    "context",
    "destination",
    "enrichment",
    "flush_on_return",
    "utility",
]

_EXPORTS = {
    "._core.context": ("Context", "ErrorEvent"),
    "._core.receipt": ("Receipt",),
    ".aio": ("AsyncAnalytics",),
    ".client": ("Analytics",),
    ".http.aiohttp": ("AiohttpClient",),
    ".http.urllib3": ("Urllib3Client",),
    ".identity": ("Identity", "context"),
    ".integrations.serverless": ("flush_on_return",),
    ".plugins": ("Plugin", "after", "before", "destination", "enrichment", "utility"),
    ".reserved": ("EventContext", "GroupTraits", "PageProperties", "TrackProperties", "UserTraits"),
    ".settings": ("OAuthSettings",),
    ".types": ("FlushResult", "HTTPClient", "Request", "Response", "Stats"),
}
_MODULE_OF = dict.fromkeys(__all__, ".errors") | {name: module for module, names in _EXPORTS.items() for name in names}

__getattr__ = lazily(__name__, _MODULE_OF)


def __dir__() -> list[str]:
    return __all__
