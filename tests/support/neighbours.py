"""Other people's libraries whose values are sent as documented: in continuous integration none is missing."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

__all__ = ["need"]


def need(*names: str) -> None:
    """Skip the tests of this module if one of these packages is not installed."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        reason = f"not installed: {', '.join(missing)} (requirements/dev.txt)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason, allow_module_level=True)
