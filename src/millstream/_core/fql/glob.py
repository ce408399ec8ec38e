"""Glob patterns of FQL's `match`, as regular expressions that take time linear in the text."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["glob"]

_SET = re.compile(r"\[(\^?)((?:(?:\\.|[^]\\-])(?:-(?:\\.|[^]\\-]))?)+)\]", re.DOTALL)
_RANGE = re.compile(r"\\?(.)(?:-\\?(.))?", re.DOTALL)


@lru_cache(maxsize=256)
def glob(pattern: str) -> re.Pattern[str] | None:
    """Return the expression that a text must match from its begin. None: the pattern is malformed, and matches nothing.

    `*` is any text, `?` a character, `[a-z]` one of a set, `[^a-z]` one outside it, and a backslash takes the next
    character literally.
    """
    chunks = [""]
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "*":
            chunks.append("")
        elif char == "?":
            chunks[-1] += "."
        elif char == "[":
            found = _SET.match(pattern, at)
            if found is None:
                return None
            chunks[-1] += _set(found[1], found[2])
            at = found.end() - 1
        elif char == "\\":
            at += 1
            if at == len(pattern):
                return None
            chunks[-1] += re.escape(pattern[at])
        else:
            chunks[-1] += re.escape(char)
        at += 1
    return re.compile(_joined(chunks), re.DOTALL)


def _set(negated: str, ranges: str) -> str:
    allowed = ""
    for first, last in _RANGE.findall(ranges):
        if not last:
            allowed += re.escape(first)
        elif first <= last:
            allowed += f"{re.escape(first)}-{re.escape(last)}"
    if not allowed:
        return "." if negated else "(?!)"
    return f"[{'^' if negated else ''}{allowed}]"


def _joined(chunks: list[str]) -> str:
    """Join the pieces between stars.

    A piece has a fixed length, so its first place is as good as any later one: a look-ahead with a group settles on it
    and never comes back, where `.*` between the pieces would try all places of all pieces.
    """
    first, *others = chunks
    if not others:
        return first + r"\Z"
    middle = "".join(f"(?=(?P<g{n}>.*?{chunk}))(?P=g{n})" for n, chunk in enumerate(others[:-1]) if chunk)
    return f"{first}{middle}.*{others[-1]}\\Z"
