"""Plugins: what they look like, and those that come with the library: tracking plans, redaction, consent, samples."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .base import (
    Hook,
    LoadHook,
    Plugin,
    PluginLike,
    after,
    assert_loaded,
    before,
    call,
    check,
    destination,
    enrichment,
    is_critical,
    utility,
)

if TYPE_CHECKING:
    from .plans import tracking_plan
    from .privacy import consent, redact, sample

__all__ = [
    "Hook",
    "LoadHook",
    "Plugin",
    "PluginLike",
    "after",
    "assert_loaded",
    "before",
    "call",
    "check",
    "consent",
    "destination",
    "enrichment",
    "is_critical",
    "redact",
    "sample",
    "tracking_plan",
    "utility",
]

# Loaded where they are used: most applications have none of them.
_EXPORTS = {"consent": "privacy", "redact": "privacy", "sample": "privacy", "tracking_plan": "plans"}


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_EXPORTS[name]}", __name__), name)
