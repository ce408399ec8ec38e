"""FQL's functions, and what it means by equal. Each function has an answer for every value, and for null."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from ..guards import is_list
from .glob import glob

__all__ = ["ARITIES", "FUNCTIONS", "NUMBERS", "ORDERS", "contained", "equal"]

NUMBERS = frozenset({int, float, Decimal})
"""Types of a JSON number. A bool is none, though Python counts it as an int."""

ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def equal(left: Any, right: Any) -> bool:
    """Return whether two values have the same type and content; whole numbers and fractions are one type."""
    kind = left.__class__
    if kind in NUMBERS:
        return right.__class__ in NUMBERS and bool(left == right)
    if kind is not right.__class__:
        return False
    if kind is list:
        return len(left) == len(right) and all(map(equal, left, right))
    if kind is dict:
        return left.keys() == right.keys() and all(equal(value, right[key]) for key, value in left.items())
    return bool(left == right)


def contained(value: Any, values: Any) -> bool:
    """Return whether a list has a value; nothing but a list has any."""
    return is_list(values) and any(equal(value, each) for each in values)


def _contains(text: Any, part: Any) -> bool:
    return isinstance(text, str) and isinstance(part, str) and part in text


def _match(text: Any, pattern: Any) -> bool:
    if not (isinstance(text, str) and isinstance(pattern, str)):
        return False
    expression = glob(pattern)
    return expression is not None and expression.match(text) is not None


def _length(value: Any) -> int | None:
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
    if is_list(value):
        return len(value)
    return 0 if value is None else None


def _of_text(change: Callable[[str], str]) -> Callable[[Any], str | None]:
    return lambda value: change(value) if isinstance(value, str) else None


def _titlecase(text: str) -> str:
    return re.sub(r"\S+", lambda word: word[0][:1].upper() + word[0][1:], text)


def _typeof(value: Any) -> str:
    if value.__class__ in NUMBERS:
        return "number"
    return {str: "string", list: "list", bool: "bool", type(None): "null"}.get(value.__class__, "object")


def _string(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(value) if isinstance(value, Decimal) else msgspec.json.encode(value).decode()


_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?", re.ASCII)


def _number(value: Any) -> float | Decimal | None:
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or not _NUMBER.fullmatch(value.strip()):
        return None
    try:
        return Decimal(value.strip())
    except InvalidOperation:
        return None


_VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,2}")
_VERSION_ORDERS: dict[str, Callable[[Any, Any], bool]] = {**ORDERS, "=": lambda a, b: a == b, "!=": lambda a, b: a != b}


def _semver(version: Any, operator: Any, other: Any) -> bool:
    compare = _VERSION_ORDERS.get(operator) if isinstance(operator, str) else None
    sides = [
        tuple(int(part) for part in [*side.split("."), "0", "0"][:3])
        for side in (version, other)
        if isinstance(side, str) and _VERSION.fullmatch(side)
    ]
    return compare is not None and len(sides) == 2 and compare(*sides)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "bool": bool,
    "contains": _contains,
    "kebabcase": _of_text(lambda text: text.replace(" ", "-")),
    "length": _length,
    "lowercase": _of_text(str.lower),
    "match": _match,
    "number": _number,
    "semver": _semver,
    "snakecase": _of_text(lambda text: text.replace(" ", "_")),
    "string": _string,
    "titlecase": _of_text(_titlecase),
    "typeof": _typeof,
    "uppercase": _of_text(str.upper),
}
ARITIES = dict.fromkeys(FUNCTIONS, 1) | {"contains": 2, "match": 2, "semver": 3}
