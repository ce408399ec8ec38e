"""Secrets: keys that are used and never shown."""

from __future__ import annotations

from typing import NoReturn, SupportsIndex

from ._public import publish
from .errors import SettingsError

__all__ = ["HIDDEN", "Secret"]

HIDDEN = "***"
"""What is shown in the place of a secret."""


class Secret:
    """A text that prints as `***`, and is not pickled or copied in clear.

    Args:
        value: the text, or another Secret.
        name: the argument that it came as, for the error if it cannot be used.

    Raises:
        SettingsError: it is no text, empty, or has a line break in it. The message does not quote it.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str | Secret, name: str = "the secret") -> None:
        text: object = value._value if isinstance(value, Secret) else value
        if not isinstance(text, str):
            raise SettingsError(f"{name} is a {type(text).__name__}; it must be a str or a Secret")
        text = text.strip()  # files and environments often end in a newline
        if not text or not text.isprintable():
            what = "has a line break or another invisible character in it" if text else "is empty"
            raise SettingsError(f"{name} {what}: pass the secret alone")
        self._value = text

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
