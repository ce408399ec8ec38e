"""JSON that every reader reads alike: not too deep, no number beyond a double, no member twice in an object.

A parser is free to read the first of two equal members, or the last; to give up at some depth; to take 1e400 for an
error, or for infinity. What is stored must not depend on who reads it.
"""

from __future__ import annotations

import re

import msgspec
from msgspec import Raw

from millstream.spec import MAX_DEPTH, MAX_NUMBER

_any = msgspec.json.Decoder()
_members = msgspec.json.Decoder(dict[str, Raw])
_items = msgspec.json.Decoder(list[Raw])
_encode = msgspec.json.Encoder().encode

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_ESCAPED_COLON = re.compile(rb"\\u003[aA]")
_LIST_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)).difference(b"[]{}"))
_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_MANY_DIGITS = b"0" * len(str(MAX_NUMBER))
_LONG_INTEGER = re.compile(rb"(?<![0-9.eE+])(?<![eE]-)[0-9]{%d,}(?![0-9.eE])" % len(_MANY_DIGITS))


def too_deep(text: bytes) -> bool:
    """Whether objects and lists are nested in each other deeper than MAX_DEPTH levels."""
    if text.count(b"{") + text.count(b"[") <= MAX_DEPTH:
        return False
    brackets = _STRING.sub(b"", text).translate(_LIST_BRACKETS, _NO_BRACKETS)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def integer_too_large(text: bytes) -> bool:
    """Whether it has an integer over MAX_NUMBER. Any other number that is too large is refused by the decoder."""
    if _MANY_DIGITS not in text.translate(_ZEROS):
        return False
    return any(int(digits) > MAX_NUMBER for digits in _LONG_INTEGER.findall(_STRING.sub(b"", text)))


def each_member_once(text: bytes) -> bytes:
    """The text, if no object in it has a member twice; else a text in which the last of equal members is left.

    Raises:
        msgspec.DecodeError: it is no JSON, or has a number that is too large.
    """
    again = _encode(_any.decode(text))
    if again == text:
        return text
    # A member that the decoder drops takes its colon along, and only an escape could bring another one.
    if again.count(b":") != text.count(b":") or (b"\\u003" in text and _ESCAPED_COLON.search(text)):
        return _last_of_each(text)
    return text


def _last_of_each(text: bytes) -> bytes:
    """Written anew from the values' own bytes, so that no number loses a digit."""
    if text.startswith(b"{"):
        members = _members.decode(text)
        return _encode({name: Raw(_last_of_each(bytes(value))) for name, value in members.items()})
    if text.startswith(b"["):
        return _encode([Raw(_last_of_each(bytes(item))) for item in _items.decode(text)])
    return text
