"""Starlette: the ASGI middleware, and the identity of a request for its handlers."""

from __future__ import annotations

from typing import cast

from starlette.requests import HTTPConnection

from .._public import publish
from ..identity import Identity
from .asgi import MillstreamMiddleware

__all__ = ["MillstreamMiddleware", "visitor"]


def visitor(connection: HTTPConnection) -> Identity:
    """Return the `Identity` of a request: set its `user_id` where the user becomes known.

    Without the middleware that is one that no event has.
    """
    return cast("Identity", connection.scope.get("millstream") or Identity())


publish("millstream.integrations.starlette", visitor)
