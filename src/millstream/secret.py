"""Secrets: keys that are used and never shown."""

from __future__ import annotations

from typing import NoReturn, SupportsIndex

from ._public import publish

__all__ = ["HIDDEN", "Secret"]

HIDDEN = "***"
"""What is shown in the place of a secret."""


class Secret:
    """A text that prints as `***`, and is not pickled or copied in clear.

    Args:
        value: the text, or another Secret.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str | Secret) -> None:
        self._value: str = value.reveal() if isinstance(value, Secret) else value

    def reveal(self) -> str:
        """Return the text, for the request that needs it."""
        return self._value

    def __repr__(self) -> str:
        return HIDDEN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied: give the other process the place that it is read from")


publish("millstream.destinations", Secret)
