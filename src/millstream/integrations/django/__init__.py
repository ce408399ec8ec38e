"""Django: an application, a middleware, and a client that is made from the settings.

INSTALLED_APPS = [..., "millstream.integrations.django"]
MIDDLEWARE = [..., "millstream.integrations.django.MillstreamMiddleware"]
MILLSTREAM = {"write_key": "..."}

from millstream.integrations.django import analytics

def view(request):
    analytics.track("Item Purchased")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...client import Analytics
    from .middleware import MillstreamMiddleware

    analytics: Analytics

__all__ = ["MillstreamMiddleware", "analytics"]


def __getattr__(name: str) -> Any:
    """Return the client, or the middleware: both need Django's settings, which this import must not."""
    if name == "analytics":
        value = import_module(".client", __name__).analytics()
    elif name == "MillstreamMiddleware":
        value = import_module(".middleware", __name__).MillstreamMiddleware
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value
