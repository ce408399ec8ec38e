"""Masks: the secrets of a destination are taken out of what is shown of its requests and answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar, cast

from .._public import publish
from ..secret import HIDDEN, Secret
from ..types import Request, Response
from .base import Destination

__all__ = ["masked", "secrets_of", "without_secrets"]

SHORTEST = 8
"""Characters of a secret that is looked for in texts. A shorter one would be found in half the words there are."""

Shown = TypeVar("Shown", Request, Response)


def secrets_of(destination: Destination) -> tuple[str, ...]:
    """Return the secrets that a destination has in its attributes, alone or in a mapping."""
    found: list[str] = []
    for value in cast("dict[str, Any]", getattr(destination, "__dict__", {})).values():
        among = cast("Mapping[str, Any]", value).values() if isinstance(value, Mapping) else (value,)
        found += [each.reveal() for each in among if isinstance(each, Secret)]
    return tuple(secret for secret in found if len(secret) >= SHORTEST)


def masked(destination: Destination, shown: Shown) -> Shown:
    """Return a request of a destination, or an answer to it, with `***` in the place of its secrets."""
    return without_secrets(shown, secrets_of(destination))


def without_secrets(shown: Shown, secrets: tuple[str, ...]) -> Shown:
    """Return a request or an answer with `***` in the place of each secret."""
    for secret in secrets:
        headers = {name: value.replace(secret, HIDDEN) for name, value in shown.headers.items()}
        shown = replace(shown, headers=headers, body=shown.body.replace(secret.encode(), HIDDEN.encode()))
        if isinstance(shown, Request):
            shown = replace(cast("Any", shown), url=shown.url.replace(secret, HIDDEN))
    return shown


publish("millstream.destinations", masked)
