"""What the integrations of job queues have in common: ids on their way to another process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from .._logging import warn
from ..identity import Identity, carried

__all__ = ["NAME", "identity_of", "ids_here"]

NAME = "millstream"
"""Of the header or the piece of metadata that holds the ids."""


def ids_here() -> dict[str, str]:
    """Return the ids that a job takes along. It is enqueued whatever becomes of them."""
    try:
        return carried(_report)
    except Exception as exc:  # noqa: BLE001 - traits or context is no mapping; the event calls say so, too
        _report(exc)
        return {}


def identity_of(ids: object) -> Identity:
    """Return the identity of a job that has taken these ids along; they came from outside, and may be anything."""
    if not isinstance(ids, Mapping):
        return Identity()
    given = cast("Mapping[str, Any]", ids)
    user_id, anonymous_id = given.get("user_id"), given.get("anonymous_id")
    return Identity(
        user_id if isinstance(user_id, str) else None, anonymous_id if isinstance(anonymous_id, str) else None
    )


def _report(exc: Exception) -> None:
    warn(f"a job is enqueued without an id, because to look it up raised {type(exc).__name__}: {exc}")
