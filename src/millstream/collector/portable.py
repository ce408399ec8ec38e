"""JSON that every reader reads alike: not too deep, no number beyond a double, no member twice in an object.

A parser is free to read the first of two equal members, or the last; to give up at some depth; to take 1e400 for an
error, or for infinity. What is stored must not depend on who reads it.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from math import isinf

import msgspec
from msgspec import Raw

from millstream.spec import MAX_DEPTH, MAX_NUMBER

__all__ = ["each_member_once", "number_too_large", "too_deep"]

_any = msgspec.json.Decoder()
_members = msgspec.json.Decoder(dict[str, Raw])
_items = msgspec.json.Decoder(list[Raw])
_encode = msgspec.json.Encoder().encode

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_NUMBER = re.compile(rb"-?[0-9][-+.0-9eE]*")
_LIST_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)).difference(b"[]{}"))
_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_LARGE = (b"e000", b"E000", b"e+000", b"E+000", b"0" * 309)
"""What a number over the limit has in it, with zeros for its digits."""
_MAX_NUMBER = Decimal(MAX_NUMBER)
_NEARLY = 1.797e308


def too_deep(text: bytes) -> bool:
    """Whether objects and lists are nested in each other deeper than MAX_DEPTH levels."""
    if text.count(b"{") + text.count(b"[") <= MAX_DEPTH:
        return False
    brackets = _STRING.sub(b"", text).translate(_LIST_BRACKETS, _NO_BRACKETS)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def number_too_large(text: bytes) -> bool:
    """Whether it has a number whose amount is over MAX_NUMBER."""
    zeros = text.translate(_ZEROS)
    if not any(sign in zeros for sign in _LARGE):
        return False
    return any(_is_too_large(number) for number in _NUMBER.findall(_STRING.sub(b"", text)))


def each_member_once(text: bytes) -> bytes:
    """The text, if no object in it has a member twice; else a text in which the last of equal members is left.

    Raises:
        msgspec.DecodeError: it is no JSON, or has a number that is too large.
    """
    # A member that the decoder drops takes its colon along, and only an escape could bring another one.
    again = _encode(_any.decode(text))
    if again.count(b":") == text.count(b":") and b"\\u003a" not in text and b"\\u003A" not in text:
        return text
    return _last_of_each(text)


def _last_of_each(text: bytes) -> bytes:
    """Written anew from the values' own bytes, so that no number loses a digit."""
    if text.startswith(b"{"):
        members = _members.decode(text)
        return _encode({name: Raw(_last_of_each(bytes(value))) for name, value in members.items()})
    if text.startswith(b"["):
        return _encode([Raw(_last_of_each(bytes(item))) for item in _items.decode(text)])
    return text


def _is_too_large(number: bytes) -> bool:
    nearest = float(number)
    if abs(nearest) < _NEARLY:
        return False
    try:
        return Decimal(number.decode()).copy_abs() > _MAX_NUMBER
    except InvalidOperation:  # its exponent is too large even for a Decimal
        return isinf(nearest)
