"""The browser that a user agent names."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["browser_of"]

# The first that is found counts: most browsers name those that they descend from, too.
_BROWSERS = (
    ("Opera", r"(?:OPR|Opera)/([\d.]+)"),
    ("Edge", r"(?:Edge|Edg|EdgA|EdgiOS)/([\d.]+)"),
    ("Samsung Browser", r"SamsungBrowser/([\d.]+)"),
    ("UCBrowser", r"UCBrowser/([\d.]+)"),
    ("Firefox", r"(?:Firefox|FxiOS)/([\d.]+)"),
    ("Chrome", r"(?:Chrome|CriOS)/([\d.]+)"),
    ("IE", r"(?:MSIE |Trident/.*rv:)([\d.]+)"),
    ("Mobile Safari", r"Version/([\d.]+).* Mobile/.*Safari/"),
    ("Safari", r"Version/([\d.]+).*Safari/"),
)


@lru_cache(1024)
def browser_of(user_agent: str) -> tuple[str, str] | None:
    """Return the name and the version of the browser; None if it is not known."""
    for name, pattern in _BROWSERS:
        if match := re.search(pattern, user_agent[:1000]):
            return name, match[1]
    return None
