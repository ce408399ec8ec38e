"""What the arguments of destinations have in common: their checks."""

from __future__ import annotations

from ..errors import SettingsError
from ..secret import Secret
from ..urls import objection, redacted

__all__ = ["base_url", "endpoint", "secret_of"]


def base_url(name: str, value: object) -> str:
    """Return a base URL without a slash at its end.

    Raises:
        SettingsError: it is none.
    """
    if not isinstance(value, str):
        raise SettingsError(f"{name} is a {type(value).__name__}; it must be a str")
    if wanted := objection(value):
        raise SettingsError(f"{name} is {redacted(value)!r}; it must be {wanted}")
    return value.rstrip("/")


def endpoint(name: str, value: object) -> str:
    """Return a URL that requests go to as it is, with the query that it may have.

    Raises:
        SettingsError: it is none.
    """
    if not isinstance(value, str):
        raise SettingsError(f"{name} is a {type(value).__name__}; it must be a str")
    if wanted := objection(value.partition("?")[0]):
        raise SettingsError(f"{name} is {redacted(value)!r}; it must be {wanted}")
    return value


def secret_of(name: str, value: object) -> Secret:
    """Return a secret without white space around it: files and environments often end in a newline.

    Raises:
        SettingsError: it is no text, empty, or has a line break in it. The message does not quote it.
    """
    text = value.reveal() if isinstance(value, Secret) else value
    if not isinstance(text, str):
        raise SettingsError(f"{name} is a {type(text).__name__}; it must be a str or a Secret")
    text = text.strip()
    if not text or not text.isprintable():
        what = "has a line break or another invisible character in it" if text else "is empty"
        raise SettingsError(f"{name} {what}: pass the secret alone")
    return Secret(text)
