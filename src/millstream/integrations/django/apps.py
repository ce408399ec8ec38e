"""The Django application: checks the settings when the project starts, and identifies users when they log in."""

# The framework has no types, or is not installed where types are checked.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_in
from django.core.signals import setting_changed

from ..._logging import warn
from .client import NAME, analytics, options

__all__ = ["MillstreamConfig"]


class MillstreamConfig(AppConfig):
    """Makes the client from the setting `MILLSTREAM`, so that what is wrong with it is said at the start."""

    name = "millstream.integrations.django"
    label = "millstream"
    verbose_name = "Millstream"

    def ready(self) -> None:
        analytics()
        setting_changed.connect(_forget, dispatch_uid="millstream")
        if options().identify_on_login:
            user_logged_in.connect(identify, dispatch_uid="millstream")


def identify(sender: object, user: Any, **_: object) -> None:  # noqa: ARG001 - the signal's arguments
    """Identify a user who has logged in, and tie the visitor's anonymous id to them."""
    try:
        traits = options().traits
        analytics().identify(user.pk, traits=None if traits is None else traits(user))
    except Exception as exc:  # noqa: BLE001 - the application's function, or a setting that has calls raise
        warn(f"a login was not recorded: {type(exc).__name__}: {exc}")


def _forget(setting: str, **_: object) -> None:
    """Read the options again: a test has changed them. The client stays, because its events do."""
    if setting == NAME:
        options.cache_clear()
