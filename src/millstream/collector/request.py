"""Reads a request to the Tracking API: size, encoding, JSON, write key. Refuses it as a whole."""

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
"""Bytes of a body on the wire, at most."""
MAX_MERGED = 16 << 20
"""Bytes that a batch's `context` and `integrations` may take when copied into every event."""

ABSENT = Raw(b"")

T = TypeVar("T")


class RequestRefused(Exception):  # control flow, not a fault
    """The whole request is refused: no event of it is stored. `retry_after` is in seconds."""

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
    """The body of `/v1/track` and the like: the event itself, of which only the key is read here."""

    write_key: Raw = ABSENT


_batch = msgspec.json.Decoder(BatchBody)
_single = msgspec.json.Decoder(SingleBody)
_string = msgspec.json.Decoder(str)


def header_key(headers: Mapping[str, str]) -> str:
    """The write key of an `Authorization: Basic base64(key:)` header, else empty."""
    return _basic_key(_credentials(headers, "basic"))


def header_token(headers: Mapping[str, str]) -> str:
    """The token of an `Authorization: Bearer` header, else empty."""
    return _credentials(headers, "bearer")


def _credentials(headers: Mapping[str, str], wanted: str) -> str:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    return credentials.strip() if scheme.lower() == wanted else ""


# A client sends the same key with each request, so decoded keys are cached. Clients can make up keys: the cache is
# small, and holds no key that is unusually long.
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
    """The write key from a body's `writeKey`, else empty."""
    try:
        return _string.decode(raw)
    except msgspec.DecodeError:
        return ""


def source_of(key: str) -> str:
    """Return a public name for a write key: its beginning, and a digest. Empty for no key.

    It shows at most a third of the key and four characters, only such that need no escaping anywhere.
    """
    if not key:
        return ""
    return _shown(key) if len(key) <= _USUAL_KEY else _shown.__wrapped__(key)


@_remember
def _shown(key: str) -> str:
    begin = _ODD.sub("", key[: min(4, len(key) // 3)])
    return f"{begin}-{hashlib.sha256(key.encode()).hexdigest()[:8]}".lstrip("-")


def text_of(headers: Mapping[str, str], body: bytes, limit: int) -> bytes:
    """Return the body as UTF-8 JSON text of at most `limit` bytes, decompressed, without line breaks.

    Without line breaks, because events are stored as the bytes that were received, one to a line.
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
    """Parse the text; if NaN or infinities are why that fails, parse it with null in their place.

    Python's `json` writes them, and so do many clients. The library sends null for them, too.
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
    parts = _STRINGS.split(text)  # text between strings, and every other one a string
    parts[::2] = [_NOT_A_NUMBER.sub(b"null", part) if b"N" in part or b"I" in part else part for part in parts[::2]]
    return b"".join(parts)


def batch_of(text: bytes) -> BatchBody:
    """Decode the envelope of a batch; its events stay undecoded."""
    batch = _parsed(text, _batch.decode)
    count = len(batch.batch)
    if count > MAX_BATCH_EVENTS:
        raise RequestRefused(400, "too_many_events", f"{count:,} events; the limit is {MAX_BATCH_EVENTS:,}")
    if count * (len(bytes(batch.context)) + len(bytes(batch.integrations))) > MAX_MERGED:
        raise RequestRefused(
            400, "too_large", "the batch's context and integrations are too large for its number of events"
        )
    return batch


def single_of(text: bytes) -> SingleBody:
    """Decode the write key of a single event; the rest is judged later."""
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
    """Decompress all members of a gzip body, to at most `limit` bytes together.

    This happens before the write key is checked, so the work is bounded: it stops when the input is much larger than
    the output, as with a megabyte of empty members.
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
            raise RequestRefused(400, "invalid_gzip", "the body is not gzip, as Content-Encoding says") from error
        parts.append(part)
        size += len(part)
        at += len(piece) - len(member.unused_data)
        if size > limit:
            raise _too_large(limit)
        if at + members * _GZIP_MEMBER > size + _GZIP_WASTE:
            raise RequestRefused(400, "invalid_gzip", "the gzip body is larger than its decompressed content")
        if member.eof:
            member = None
            members += 1
    if member is not None:
        raise RequestRefused(400, "invalid_gzip", "the gzip body is truncated")
    return b"".join(parts)


_GZIP_PIECE = 16_384
_GZIP_WASTE = 4096
"""Bytes by which a gzip body may be larger than its content: random bytes grow by 5 in 16 KB."""
_GZIP_MEMBER = 100
"""Bytes of input that each member may add."""


def _too_large(limit: int) -> RequestRefused:
    return RequestRefused(400, "too_large", f"the body is over the limit of {limit:,} bytes")


_STRINGS = re.compile(rb'("[^"\\]*(?:\\.[^"\\]*)*")', re.DOTALL)
_NOT_A_NUMBER = re.compile(rb"-?\b(?:NaN|Infinity)\b")
_ODD = re.compile(r"[^0-9A-Za-z]")

# Half a surrogate pair is valid JSON but not valid text: json.dumps writes it without a warning, strict decoders
# refuse it. One such string must not fail the whole batch. All escapes are matched, so that a pair is skipped as a
# whole and the `u` after an escaped backslash is not taken for an escape; other escapes by the thousand, because a
# body may have very many.
_LONE_SURROGATE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
    rb"|(?:\\(?:[^u]|u(?![dD][89a-fA-F]))[^\\]*){1,1000}"
)
_SURROGATE = re.compile(rb"\\u[dD]")


def _mended(match: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if match[1] else match[0]
