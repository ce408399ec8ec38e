"""Ids in the forms that APIs take: the same for the same event, however often it is sent."""

from __future__ import annotations

import re
from uuid import UUID, uuid5

__all__ = ["insert_id", "uuid_of"]

NAMESPACE = UUID("6d1b9c0e-5d0a-5f0c-9d4e-0f6c6f2f3a11")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SHORT = re.compile(r"[A-Za-z0-9-]{1,36}")


def uuid_of(message_id: str) -> str:
    """Return a message id as a UUID: itself, or one that is made from it."""
    return message_id if _UUID.fullmatch(message_id) else str(uuid5(NAMESPACE, message_id))


def insert_id(message_id: str) -> str:
    """Return a message id as Mixpanel takes it, at most 36 letters, digits and hyphens: itself, or a UUID of it."""
    return message_id if _SHORT.fullmatch(message_id) else str(uuid5(NAMESPACE, message_id))
