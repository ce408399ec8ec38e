"""Portable JSON, which every reader reads alike: limited depth, no number beyond a double, no member twice.

Of two equal members a parser may read the first or the last; it may refuse some depth; it may read 1e400 as an
error or as infinity. Stored events must not depend on the reader.
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
    """Whether objects and lists are nested deeper than MAX_DEPTH levels."""
    if text.count(b"{") + text.count(b"[") <= MAX_DEPTH:
        return False
    brackets = _STRING.sub(b"", text).translate(_LIST_BRACKETS, _NO_BRACKETS)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def integer_too_large(text: bytes) -> bool:
    """Whether the text has an integer over MAX_NUMBER. The decoder refuses other numbers that are too large."""
    if _MANY_DIGITS not in text.translate(_ZEROS):
        return False
    return any(int(digits) > MAX_NUMBER for digits in _LONG_INTEGER.findall(_STRING.sub(b"", text)))


def each_member_once(text: bytes) -> bytes:
    """Return the text; if an object has a member twice, rewritten with the last of equal members.

    Raises:
        msgspec.DecodeError: the text is not JSON, or has a number that is too large.
    """
    again = _encode(_any.decode(text))
    if again == text:
        return text
    # A member that the decoder drops takes its colon along, and only an escape could add another.
    if again.count(b":") != text.count(b":") or (b"\\u003" in text and _ESCAPED_COLON.search(text)):
        return _last_of_each(text)
    return text


def _last_of_each(text: bytes) -> bytes:
    """Rewrite the text from the values' own bytes, so that no number loses a digit."""
    if text.startswith(b"{"):
        members = _members.decode(text)
        return _encode({name: Raw(_last_of_each(bytes(value))) for name, value in members.items()})
    if text.startswith(b"["):
        return _encode([Raw(_last_of_each(bytes(item))) for item in _items.decode(text)])
    return text
