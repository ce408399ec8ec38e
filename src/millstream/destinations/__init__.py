"""Destinations: where events go. The Tracking API, and what is written to the protocol in `base`."""

from __future__ import annotations

from .base import Destination, Event, Limits, Part, Skip
from .tracking_api import TrackingAPI

__all__ = ["Destination", "Event", "Limits", "Part", "Skip", "TrackingAPI"]
