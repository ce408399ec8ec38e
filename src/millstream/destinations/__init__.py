"""Destinations: where events go. The Tracking API, analytics services, webhooks, and what is written to the protocol.

Each name is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._public import lazily

if TYPE_CHECKING:
    from .._core.delivery.retry import judge
    from .._core.delivery.verdicts import (
        Delivered,
        Limited,
        Partial,
        Paused,
        Refused,
        Retry,
        Split,
        Unauthorized,
        Verdict,
    )
    from ..secret import Secret
    from ._masking import masked
    from ._preview import preview
    from .amplitude import Amplitude
    from .base import Destination, Event, Limits, Part, Skip
    from .ga4 import GA4
    from .mixpanel import Mixpanel
    from .posthog import PostHog
    from .slack import Slack
    from .tracking_api import TrackingAPI
    from .webhook import Webhook

_EXPORTS = {
    ".._core.delivery.retry": ("judge",),
    ".._core.delivery.verdicts": (
        "Delivered",
        "Limited",
        "Partial",
        "Paused",
        "Refused",
        "Retry",
        "Split",
        "Unauthorized",
        "Verdict",
    ),
    "..secret": ("Secret",),
    "._masking": ("masked",),
    "._preview": ("preview",),
    ".amplitude": ("Amplitude",),
    ".base": ("Destination", "Event", "Limits", "Part", "Skip"),
    ".ga4": ("GA4",),
    ".mixpanel": ("Mixpanel",),
    ".posthog": ("PostHog",),
    ".slack": ("Slack",),
    ".tracking_api": ("TrackingAPI",),
    ".webhook": ("Webhook",),
}
_MODULE_OF = {name: room for room, names in _EXPORTS.items() for name in names}

__all__ = [
    "GA4",
    "Amplitude",
    "Delivered",
    "Destination",
    "Event",
    "Limited",
    "Limits",
    "Mixpanel",
    "Part",
    "Partial",
    "Paused",
    "PostHog",
    "Refused",
    "Retry",
    "Secret",
    "Skip",
    "Slack",
    "Split",
    "TrackingAPI",
    "Unauthorized",
    "Verdict",
    "Webhook",
    "judge",
    "masked",
    "preview",
]


__getattr__ = lazily(__name__, _MODULE_OF)


def __dir__() -> list[str]:
    return __all__
