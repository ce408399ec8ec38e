"""The client of a Django project, made from its settings."""

# The framework has no types, or is not installed where types are checked.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from typing import Any, NamedTuple, cast

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from ...client import Analytics
from ...errors import SettingsError
from ..request import Capture

__all__ = ["Options", "analytics", "options"]

NAME = "MILLSTREAM"


class Options(NamedTuple):
    """What the setting `MILLSTREAM` says, apart from the client's own settings."""

    capture: Capture
    identify_on_login: bool
    traits: Callable[[Any], Mapping[str, Any]] | None
    client: dict[str, Any]


@cache
def options() -> Options:
    """Return what the setting says.

    Raises:
        ImproperlyConfigured: it has an option that is unknown, or a value that cannot be used.
    """
    given: Any = getattr(settings, NAME, {})
    if not isinstance(given, Mapping):
        raise ImproperlyConfigured(f"{NAME} must be a dict, got {type(given).__name__}")
    rest: dict[str, Any] = {**given}
    on_login, traits = rest.pop("identify_on_login", True), _function(rest.pop("traits", None), "traits")
    captured = {field.name: rest.pop(field.name) for field in fields(Capture) if field.name in rest}
    if "user_id" in captured:
        captured["user_id"] = _function(captured["user_id"], "user_id")
    try:
        capture = Capture.of(captured)
    except SettingsError as exc:
        raise ImproperlyConfigured(f"{NAME}: {exc}") from exc
    return Options(capture, bool(on_login), traits, rest)


@cache
def analytics() -> Analytics:
    """Return the project's client, made at the first call.

    Raises:
        ImproperlyConfigured: it cannot be made of the setting.
    """
    try:
        return Analytics(**options().client)
    except SettingsError as exc:
        raise ImproperlyConfigured(f"{NAME}: {exc}") from exc


def _function(value: Any, name: str) -> Callable[[Any], Any] | None:
    if isinstance(value, str):  # as Django's settings name functions
        value = import_string(value)
    if value is not None and not callable(value):
        raise ImproperlyConfigured(f"{NAME}: {name} must be a function or its dotted path, got {type(value).__name__}")
    return cast("Callable[[Any], Any] | None", value)
