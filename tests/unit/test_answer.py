"""An HTTP answer from its bytes: whole or not at all, however they come."""

from __future__ import annotations

import gzip
import zlib
from http.client import BadStatusLine, HTTPException, IncompleteRead, RemoteDisconnected

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.http._answer import MAX_HEAD, Answer
from millstream.http._common import MAX_BODY

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def read(*pieces: bytes, ends: bool = False) -> Answer:
    answer = Answer()
    for piece in pieces:
        answer.feed(piece)
    if ends:
        answer.feed(b"")
    return answer


WHOLE = {
    "a length": (OK + b"Content-Length: 4\r\n\r\nbody", 200, b"body", True),
    "no body": (OK + b"Content-Length: 0\r\n\r\n", 200, b"", True),
    "a status that has none": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    "no reason": (b"HTTP/1.1 503\r\nContent-Length: 0\r\n\r\n", 503, b"", True),
    "chunks": (CHUNKED + b"3\r\nbod\r\n1\r\ny\r\n0\r\n\r\n", 200, b"body", True),
    "chunks with extensions and trailers": (CHUNKED + b"4;a=b\r\nbody\r\n0\r\nX: y\r\n\r\n", 200, b"body", True),
    "chunks of many digits": (CHUNKED + b"00000a\r\n0123456789\r\n0\r\n\r\n", 200, b"0123456789", True),
    "lines of another make": (b"HTTP/1.1 200 OK\nContent-Length: 4\n\nbody", 200, b"body", True),
    "the same length twice": (OK + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nbody", 200, b"body", True),
    "news of an answer": (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n", 200, b"", True),
    "a connection that closes": (OK + b"Connection: Close\r\nContent-Length: 4\r\n\r\nbody", 200, b"body", False),
    "an old version": (b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nbody", 200, b"body", False),
    "an old version that stays": (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\nbody", 200, b"body", True,
    ),
    "gzip": (OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (
        len(gzip.compress(b"body", mtime=0)), gzip.compress(b"body", mtime=0)), 200, b"body", True),
    "deflate": (OK + b"Content-Encoding: deflate\r\nContent-Length: %d\r\n\r\n%b" % (
        len(zlib.compress(b"body")), zlib.compress(b"body")), 200, b"body", True),
}  # fmt: skip


@pytest.mark.parametrize("case", WHOLE)
def test_an_answer_is_read_however_it_comes(case: str) -> None:
    """Whole, byte by byte, and cut in two anywhere it says the same; and it is not done before its last byte."""
    data, status, body, reusable = WHOLE[case]
    ways = [[data], [data[i : i + 1] for i in range(len(data))], *([data[:i], data[i:]] for i in range(1, len(data)))]
    for pieces in ways:
        answer = read(*pieces)
        assert (answer.done, answer.status, answer.body, answer.reusable) == (True, status, body, reusable)
    assert not any(read(data[:end]).done for end in range(1, len(data)))


@pytest.mark.parametrize("case", WHOLE)
def test_an_answer_that_breaks_off_is_none(case: str) -> None:
    """Wherever the connection ends before the last byte, there was no answer."""
    data = WHOLE[case][0]
    for end in range(len(data)):
        with pytest.raises((RemoteDisconnected, IncompleteRead)):
            read(data[:end], ends=True) if end else read(b"")


def test_without_a_length_it_goes_to_the_end_of_the_connection() -> None:
    """Such an answer is whole when the connection ends, which is then of no more use."""
    assert not read(OK + b"\r\nbo", b"dy").done
    answer = read(OK + b"\r\nbo", b"dy", ends=True)
    assert (answer.done, answer.body, answer.reusable) == (True, b"body", False)


def test_headers_are_found_by_any_case_and_repeated_ones_are_joined() -> None:
    """As HTTP has it: names have no case, and a list may be spread over several lines."""
    answer = read(OK + b"retry-after:  5 \r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 0\r\nX-Empty:\r\n\r\n")
    assert answer.headers["Retry-After"] == "5"
    assert answer.headers["X-A"] == "1, 2"
    assert answer.headers["x-empty"] == ""


GARBAGE = {
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "another version": b"HTTP/2 200\r\n\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "a change of protocol": b"HTTP/1.1 101 Switching\r\n\r\n",
    "a line that is no header": OK + b"nonsense\r\n\r\n",
    "a header that goes on": OK + b"X: a\r\n b\r\n\r\n",
    "a space before the colon": OK + b"Content-Length : 4\r\n\r\nbody",
    "two lengths": OK + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nbody",
    "a negative length": OK + b"Content-Length: -1\r\n\r\n",
    "a length in words": OK + b"Content-Length: four\r\n\r\nbody",
    "a length that only Unicode takes for one": OK + b"Content-Length: \xb2\r\n\r\n",
    "another coding": OK + b"Transfer-Encoding: gzip\r\n\r\n",
    "a chunk without a length": CHUNKED + b"\r\n",
    "a chunk of length x": CHUNKED + b"x\r\n",
    "a chunk of length -1": CHUNKED + b"-1\r\n",
    "a chunk that is longer than it says": CHUNKED + b"3\r\nbody\r\n0\r\n\r\n",
    "a head without an end": OK + b"X: " + b"y" * MAX_HEAD + b"\r\n",
    "a chunk's line without an end": CHUNKED + b"1;" + b"y" * MAX_HEAD,
}


@pytest.mark.parametrize("case", GARBAGE)
def test_what_is_no_answer_is_none(case: str) -> None:
    """It is refused as soon as that is clear, and by the first bytes where they show it."""
    with pytest.raises((BadStatusLine, HTTPException)):
        read(GARBAGE[case])


def test_a_body_is_read_as_far_as_it_is_worth_it() -> None:
    """An endless answer is over after a megabyte, also one that was packed; its connection is not used again."""
    long = b"x" * (MAX_BODY + 1)
    for answer in (
        read(OK + b"Content-Length: %d\r\n\r\n" % (3 * MAX_BODY), long),
        read(CHUNKED + b"fffffff\r\n", long),
        read(OK + b"\r\n", long),
    ):
        assert (answer.done, answer.reusable, len(answer.body)) == (True, False, MAX_BODY)
    packed = gzip.compress(bytes(50 * MAX_BODY))
    answer = read(OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed), packed)
    assert len(answer.body) == MAX_BODY


def test_a_body_that_cannot_be_unpacked_is_none() -> None:
    """What says that it is packed and is not is no answer."""
    answer = read(OK + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nbody")
    with pytest.raises(HTTPException, match="cannot be unpacked"):
        _ = answer.body


def test_after_bytes_that_nobody_asked_for_a_connection_is_not_used_again() -> None:
    """What comes after the end belongs to nothing: the next answer would be taken for something else."""
    answer = read(OK + b"Content-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")
    assert (answer.done, answer.reusable) == (True, False)


@given(st.lists(st.binary(max_size=40) | st.sampled_from([OK, b"\r\n\r\n", CHUNKED, b"5\r\n", b"Content-Length: 3"])))
def test_no_bytes_do_more_than_that(pieces: list[bytes]) -> None:
    """Whatever a server sends, it is an answer, not yet one, or none; nothing else is raised."""
    answer = Answer()
    try:
        for piece in pieces:
            if answer.done:
                break
            answer.feed(piece)
    except HTTPException:
        pass
