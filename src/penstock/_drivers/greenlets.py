"""gevent at the end of a process, where it cannot look up a host's name: it does so in threads. Not imported here."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from .standby import TOO_LATE

__all__ = ["look_up_without_threads"]


def look_up_without_threads() -> None:
    """From here on gevent resolves names in the one thread that is left."""
    monkey: Any = sys.modules.get("gevent.monkey")
    if TOO_LATE and monkey is not None and monkey.is_module_patched("socket"):
        hub: Any = import_module("gevent").get_hub()
        hub.resolver = import_module("gevent.resolver.blocking").Resolver()
