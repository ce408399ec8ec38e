"""Routing: which destinations an event goes to, by its `integrations`. One set of rules for library and router."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, cast

__all__ = ["Addressable", "allows", "choice", "options"]


class Addressable(Protocol):
    """A destination or a plugin. It may have `alternative_names`, and `obeys_all`, which is true by default."""

    name: str


def choice(destination: Addressable, integrations: Mapping[str, Any]) -> Any:
    """Return what `integrations` says of a destination: by its name, its other names (the last counts), or `All`.

    True if it says nothing: events go everywhere (Segment, "Filtering with the integrations object").
    """
    for name in (destination.name, *reversed(getattr(destination, "alternative_names", ()))):
        if name in integrations:
            return integrations[name]
    return integrations.get("All", True) if getattr(destination, "obeys_all", True) else True


def allows(destination: Addressable, integrations: Mapping[str, Any]) -> bool:
    """Return whether an event with these integrations goes to the destination."""
    return choice(destination, integrations) is not False


def options(destination: Addressable, integrations: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the object that `integrations` holds for the destination; an empty one if it holds none."""
    chosen = choice(destination, integrations)
    return cast("Mapping[str, Any]", chosen) if isinstance(chosen, Mapping) else {}
