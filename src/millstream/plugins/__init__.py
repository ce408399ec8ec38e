"""Plugins: what they look like, and those that come with the library: tracking plans, redaction, consent, samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._public import lazily
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
_EXPORTS = {"consent": ".privacy", "redact": ".privacy", "sample": ".privacy", "tracking_plan": ".plans"}


__getattr__ = lazily(__name__, _EXPORTS)
