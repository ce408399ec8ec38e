"""What a request to the Tracking API is made of, and when it is refused as a whole."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec import Raw

from millstream.spec import MAX_BATCH_EVENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_BODY = 1 << 20
"""Bytes on the wire; a server reads no more than this of any request."""
MAX_MERGED = 16 << 20
"""Bytes that a batch's own `context` and `integrations` may grow to when every event gets a copy."""

ABSENT = Raw(b"")

T = TypeVar("T")


class RequestRefused(Exception):  # a verdict on its way up, not a fault
    """The whole request is refused: nothing of it is kept. `retry_after` is in seconds."""

    def __init__(self, status: int, reason: str, message: str, *, retry_after: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


class BatchBody(msgspec.Struct, gc=False, rename="camel"):
    """The body of `/v1/batch`."""

    batch: list[Raw]
    write_key: Raw = ABSENT
    sent_at: Raw = ABSENT
    context: Raw = ABSENT
    integrations: Raw = ABSENT


class SingleBody(msgspec.Struct, gc=False, rename="camel"):
    """The body of `/v1/track` and its siblings: the event itself, of which only the key matters here."""

    write_key: Raw = ABSENT


_batch = msgspec.json.Decoder(BatchBody)
_single = msgspec.json.Decoder(SingleBody)
_string = msgspec.json.Decoder(str)


def header_key(headers: Mapping[str, str]) -> str:
    """The write key of an `Authorization: Basic base64(key:)` header, or the empty string."""
    return _basic_key(_credentials(headers, "basic"))


def header_token(headers: Mapping[str, str]) -> str:
    """The token of an `Authorization: Bearer` header, or the empty string."""
    return _credentials(headers, "bearer")


def _credentials(headers: Mapping[str, str], wanted: str) -> str:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    return credentials.strip() if scheme.lower() == wanted else ""


# A client sends the same key with each request: what is made of it is remembered, which saves 12 µs of a request.
# Anybody can make up others, and long ones: a few hundred are remembered, and none that is longer than keys are.
_remember = lru_cache(maxsize=256)
_USUAL_KEY = 200


def _basic_key(credentials: str) -> str:
    return _decoded(credentials) if len(credentials) <= _USUAL_KEY else _decoded.__wrapped__(credentials)


@_remember
def _decoded(credentials: str) -> str:
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[0]
    except (binascii.Error, ValueError):
        return ""


def body_key(raw: Raw) -> str:
    """The write key from a body's `writeKey`, or the empty string."""
    try:
        return _string.decode(raw)
    except msgspec.DecodeError:
        return ""


def source_of(key: str) -> str:
    """What stands for a write key wherever somebody may look: how it begins, and a digest. Empty for no key.

    Of a key at most a third is shown, and never more than four characters; only those that need no escaping anywhere.
    """
    if not key:
        return ""
    return _shown(key) if len(key) <= _USUAL_KEY else _shown.__wrapped__(key)


@_remember
def _shown(key: str) -> str:
    begin = _ODD.sub("", key[: min(4, len(key) // 3)])
    return f"{begin}-{hashlib.sha256(key.encode()).hexdigest()[:8]}".lstrip("-")


def text_of(headers: Mapping[str, str], body: bytes, limit: int) -> bytes:
    """The body as UTF-8 JSON text of at most `limit` bytes, decompressed, without a line break.

    Without a line break, because events are kept as the bytes they came in, one to a line.
    """
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding in {"gzip", "x-gzip"}:
        body = _gunzip(body, limit)
    elif encoding not in {"identity", ""}:
        raise RequestRefused(400, "unknown_encoding", "Content-Encoding: send gzip, or nothing")
    if len(body) > limit:
        raise _too_large(limit)
    try:
        # The JSON decoder checks the UTF-8 of the fields it looks at, not of those it skips.
        body.decode()
    except UnicodeDecodeError as error:
        raise RequestRefused(400, "invalid_json", f"the body is not UTF-8: {error.reason}") from error
    if b"\\" in body and _SURROGATE.search(body):
        body = _LONE_SURROGATE.sub(_mended, body)
    body = body.strip(b" \t\r\n")
    if b"\n" in body or b"\r" in body:
        return read(body, lambda text: _parsed(text, lambda json: msgspec.json.format(json, indent=-1)))[1]
    return body


def read(text: bytes, parse: Callable[[bytes], T]) -> tuple[bytes, T]:
    """The text and what `parse` makes of it; if NaN or an infinity is why that is refused, with null in their place.

    Python's `json` writes them, and with it many a client. The library sends null for them, too.
    """
    try:
        return text, parse(text)
    except RequestRefused:
        mended = _with_null_for_nan(text)
        if mended == text:
            raise
    return mended, parse(mended)


def _with_null_for_nan(text: bytes) -> bytes:
    if b"NaN" not in text and b"Infinity" not in text:
        return text
    parts = _STRINGS.split(text)  # what is between strings, and every other one a string
    parts[::2] = [_NOT_A_NUMBER.sub(b"null", part) if b"N" in part or b"I" in part else part for part in parts[::2]]
    return b"".join(parts)


def batch_of(text: bytes) -> BatchBody:
    """The envelope of a batch; its events are still undecoded."""
    batch = _parsed(text, _batch.decode)
    count = len(batch.batch)
    if count > MAX_BATCH_EVENTS:
        raise RequestRefused(400, "too_many_events", f"{count:,} events; {MAX_BATCH_EVENTS:,} are the limit")
    if count * (len(bytes(batch.context)) + len(bytes(batch.integrations))) > MAX_MERGED:
        raise RequestRefused(400, "too_large", "the batch's context and integrations are too large for so many events")
    return batch


def single_of(text: bytes) -> SingleBody:
    """The little that is needed of a single event before it is examined as one."""
    return _parsed(text, _single.decode)


def _parsed(text: bytes, parse: Callable[[bytes], T]) -> T:
    try:
        return parse(text)
    except msgspec.ValidationError as error:
        raise RequestRefused(400, "invalid_request", str(error)) from error
    except msgspec.DecodeError as error:
        raise RequestRefused(400, "invalid_json", str(error)) from error
    except RecursionError as error:
        raise RequestRefused(400, "invalid_json", "the JSON is nested too deeply") from error


def _gunzip(body: bytes, limit: int) -> bytes:
    """All members of a gzip file, of at most `limit` bytes together.

    It is unpacked before the write key is known, so the work is bounded: it ends where it has taken in much more than
    has come out, as with a megabyte of empty members, and as with no body that a client compresses.
    """
    parts: list[bytes] = []
    at = size = members = 0
    member = None
    while at < len(body):
        member = member or zlib.decompressobj(wbits=31)
        piece = body[at : at + _GZIP_PIECE]
        try:
            part = member.decompress(piece, limit + 1 - size)
        except zlib.error as error:
            raise RequestRefused(400, "invalid_gzip", "the body is not what Content-Encoding says: gzip") from error
        parts.append(part)
        size += len(part)
        at += len(piece) - len(member.unused_data)
        if size > limit:
            raise _too_large(limit)
        if at + members * _GZIP_MEMBER > size + _GZIP_WASTE:
            raise RequestRefused(400, "invalid_gzip", "the gzip body is larger than what it holds")
        if member.eof:
            member = None
            members += 1
    if member is not None:
        raise RequestRefused(400, "invalid_gzip", "the gzip body ends too early")
    return b"".join(parts)


_GZIP_PIECE = 16_384
_GZIP_WASTE = 4096
"""Bytes by which a gzip body may be larger than what it holds: those of random bytes are larger by 5 in 16 KB."""
_GZIP_MEMBER = 100
"""Bytes of input that a member costs beside its own."""


def _too_large(limit: int) -> RequestRefused:
    return RequestRefused(400, "too_large", f"the body is over the limit of {limit:,} bytes")


_STRINGS = re.compile(rb'("[^"\\]*(?:\\.[^"\\]*)*")', re.DOTALL)
_NOT_A_NUMBER = re.compile(rb"-?\b(?:NaN|Infinity)\b")
_ODD = re.compile(r"[^0-9A-Za-z]")

# Half a surrogate pair is JSON by its grammar but no text: json.dumps writes it without a word, strict
# decoders refuse it. One such string must not sink the batch around it. All escapes are matched, so that a
# pair is skipped as a whole and the `u` after an escaped backslash is not taken for an escape; others by the
# thousand, because a body may have a quarter of a million of them.
_LONE_SURROGATE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
    rb"|(?:\\(?:[^u]|u(?![dD][89a-fA-F]))[^\\]*){1,1000}"
)
_SURROGATE = re.compile(rb"\\u[dD]")


def _mended(match: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if match[1] else match[0]
