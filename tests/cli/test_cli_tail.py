"""`millstream tail`: what comes into a collector, as it comes, for people and for programs."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from millstream.cli.oneline import one_line
from millstream.cli.sse import Message, messages
from support.api import Answer, Api, status
from support.program import Collector, Done, end, start

Program = Callable[..., Done]
TRACK = {"type": "track", "event": "Paid", "userId": "u1", "properties": {"revenue": 39.95}}


# -- with a real collector --------------------------------------------------------------------------


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    collector = Collector(tmp_path / "data")
    yield collector
    collector.stop()


class Tail:
    """A `millstream tail` that runs."""

    def __init__(self, url: str, *options: str) -> None:
        self.process = start("tail", "--host", url, *options)

    def line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().rstrip("\n")

    def note(self) -> str:
        assert self.process.stderr
        return self.process.stderr.readline().rstrip("\n")

    def stop(self) -> Done:
        self.process.send_signal(signal.SIGINT)
        return end(self.process)


@pytest.mark.process
def test_events_are_shown_as_they_come(collector: Collector) -> None:
    """First what has come before, then what comes, a line each; Ctrl-C ends it, and says how many there were."""
    collector.post(TRACK)
    tail = Tail(collector.url)
    assert tail.line().split()[1:] == ["track", "Paid", "u1", "revenue:", "39.95"]
    collector.post({"type": "identify", "userId": "u2", "traits": {"plan": "pro"}})
    assert tail.line().split()[1:] == ["identify", "u2", "plan:", '"pro"']
    assert tail.stop() == Done(130, "", "millstream: interrupted after 2 events\n")


@pytest.mark.process
def test_what_became_of_them(collector: Collector) -> None:
    """Duplicates and rejected events are shown too, with the reason."""
    twice = {**TRACK, "messageId": "m-1"}
    collector.post(twice, twice, {"type": "track", "userId": "u3"})
    tail = Tail(collector.url)
    lines = {" ".join(tail.line().split()[1:]) for _ in range(3)}
    tail.stop()
    assert lines == {
        "track Paid u1 revenue: 39.95",
        "track Paid u1 duplicate revenue: 39.95",
        "track u3 rejected event_not_defined",
    }


@pytest.mark.process
def test_filters_and_json(collector: Collector) -> None:
    """All filters must hold; as JSON each line has the whole event as it is stored."""
    collector.post(TRACK, {**TRACK, "event": "Order Completed", "userId": "u2"}, {"type": "page", "userId": "u2"})
    options = ["--type", "track", "--event", "order", "--user", "U2", "--text", "39.95", "--outcome", "stored"]
    tail = Tail(collector.url, "--json", *options)
    row = json.loads(tail.line())
    assert (row["kind"], row["event"]["event"], row["event"]["properties"]) == (
        "stored", "Order Completed", {"revenue": 39.95}
    )  # fmt: skip
    assert row["event"]["receivedAt"]
    assert tail.stop().out == ""


@pytest.mark.process
def test_a_collector_that_starts_again(collector: Collector, tmp_path: Path) -> None:
    """The connection is made anew, and nothing is missed that came meanwhile, or shown twice."""
    collector.post(TRACK)
    tail = Tail(collector.url, "--json")
    assert json.loads(tail.line())["user"] == "u1"
    collector.stop()
    assert "trying again" in tail.note()
    again = Collector(tmp_path / "again", port=collector.port)
    again.post(*({**TRACK, "userId": f"u{n}"} for n in range(20)))
    assert [json.loads(tail.line())["user"] for _ in range(20)] == [f"u{n}" for n in range(20)]
    assert tail.note() == "millstream: reconnected"
    assert tail.note() == "millstream: the collector was restarted; its last events may be missing"
    done = tail.stop()
    again.stop()
    assert (done.code, done.out) == (130, "")


@pytest.mark.process
def test_a_token(tmp_path: Path, millstream: Program) -> None:
    """A collector with a token shows nothing without it; the message says which option it is."""
    collector = Collector(tmp_path / "data", "--token", "secret")
    collector.post(TRACK)
    refused = millstream("tail", "--host", collector.url)
    assert (refused.code, refused.out) == (1, "")
    assert "--token" in refused.err
    tail = Tail(collector.url, "--token", "secret")
    assert "Paid" in tail.line()
    tail.stop()
    collector.stop()


@pytest.mark.process
def test_a_reader_that_leaves(collector: Collector) -> None:
    """`millstream tail | head -1` ends quietly with the next event."""
    collector.post(TRACK)
    tail = Tail(collector.url)
    assert "Paid" in tail.line()
    assert tail.process.stdout
    tail.process.stdout.close()
    collector.post(TRACK)
    assert tail.process.wait(20) in {0, 1}
    assert tail.process.stderr
    assert tail.process.stderr.read() == ""
    tail.process.stderr.close()


@pytest.mark.process
def test_a_program_misses_nothing_in_silence(collector: Collector) -> None:
    """However fast events come: those that a pipe gets, and those that it says are missing, are all there were."""
    count, at_once = 30_000, 500
    collector.post(TRACK)
    tail = Tail(collector.url, "--json")
    assert "Paid" in tail.line()
    shown: list[int] = []
    reader = threading.Thread(target=lambda: shown.append(sum(1 for _ in iter(lambda: "Last" in tail.line(), True))))
    reader.start()
    for _ in range(count // at_once):
        collector.post(*[TRACK] * at_once)
    collector.post({**TRACK, "event": "Last"})
    reader.join(60)
    done = tail.stop()
    missing = re.search(r"; ([\d,]+) are missing", done.err)
    assert shown[0] + (int(missing[1].replace(",", "")) if missing else 0) == count
    assert done.code == 130


@pytest.mark.process
def test_a_collector_that_ends_tells_all(collector: Collector) -> None:
    """What came last before a stop in good order is shown."""
    collector.post(TRACK)
    tail = Tail(collector.url, "--json", "--last", "1")
    assert "Paid" in tail.line()
    collector.post(*[{**TRACK, "event": "Late"}] * 50)
    collector.stop()
    assert ["Late" in tail.line() for _ in range(50)] == [True] * 50
    tail.stop()


# -- with a scripted server -------------------------------------------------------------------------


def stream(*told: tuple[str, Any], last: str = "") -> Answer:
    text = "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in told[:-1])
    name, data = told[-1]
    text += f"{last and f'id: {last}'}\nevent: {name}\ndata: {json.dumps(data)}\n\n"
    return Answer(200, {"Content-Type": "text/event-stream; charset=utf-8"}, text.encode())


HELLO = ("hello", {"boot": "b", "first": 1, "last": 4})


@pytest.mark.process
def test_a_reader_that_leaves_is_told_what_is_missing(api: Api) -> None:
    """A program that did not get all must not take it for all: the exit code says so."""
    row = {"id": 5, "kind": "stored", "event": TRACK}
    api.always = stream(HELLO, ("rows", {"rows": [row], "skipped": 3}))
    tail = Tail(api.url, "--json")
    assert "Paid" in tail.line()
    assert tail.process.stdout
    tail.process.stdout.close()
    tail.process.stdout = None
    assert end(tail.process).code == 1
    assert api.requests[0].path.endswith("&complete=1&last=10")


@pytest.mark.process
def test_it_goes_on_where_it_was(api: Api) -> None:
    """After a broken connection the server is told the last thing that was seen."""
    row = {"id": 5, "at": 1795485028792, "kind": "stored", "event": TRACK}
    api.script(stream(HELLO), stream(HELLO, ("rows", {"rows": [row], "skipped": 1234}), last="b-5"), status(503))
    held = api.hold()
    tail = Tail(api.url)
    assert "Paid" in tail.line()
    api.wait_for(4, timeout=20)
    done = tail.stop()
    held.release()
    assert done.code == 130
    assert [seen.header("last-event-id") for seen in api.requests] == [None, "b-4", "b-5", "b-5"]
    assert "1,234 events skipped: too many to show" in done.err
    assert done.err.count("trying again") == 2


def test_what_is_asked_for(millstream: Program, api: Api) -> None:
    """The options become the collector's filters, and the token goes into no URL."""
    api.script(status(404))
    options = ["--type", "page", "--type", "track", "--event", "a&b", "--last", "3", "--token", "secret"]
    assert millstream("tail", "--host", f"{api.url}/", *options).code == 1
    (seen,) = api.requests
    assert seen.path == "/debug/events?type=page&type=track&name=a%26b&whole=1&last=3"
    assert seen.header("authorization") == "Bearer secret"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (status(404), "not a collector"),
        (Answer(200, {"Content-Type": "text/html"}, b"<html>"), "not a collector"),
        (status(403, b"another site may not read this\x1b[0m"), "[403] another site may not read this\\x1b[0m"),
        (status(500), "is a collector running there?"),
    ],
    ids=["404", "web page", "403", "500"],
)
def test_what_is_no_collector(millstream: Program, api: Api, answer: Answer, said: str) -> None:
    """At the first connection it is said what is wrong, once, with exit code 1."""
    api.script(answer)
    done = millstream("tail", "--host", api.url)
    assert (done.code, done.out) == (1, "")
    assert said in done.err
    assert done.err.count("\n") == 1


def test_nobody_there(millstream: Program) -> None:
    """Without a collector it says how to start one."""
    done = millstream("tail", "--host", "http://127.0.0.1:1")
    assert done.code == 1
    assert "`millstream serve` starts one" in done.err


@pytest.mark.parametrize(
    "options", [["--type", "trak"], ["--outcome", "lost"], ["--host", "localhost:7070"], ["--last", "-1"]], ids=str
)
def test_wrong_usage(millstream: Program, options: list[str]) -> None:
    """A type that there is not would wait for ever: it is exit code 2."""
    assert millstream("tail", *options).code == 2


# -- the parts --------------------------------------------------------------------------------------

SENT = b"retry: 1\n\n: comment\nevent: a\ndata: 1\n\nid: x-1\r\ndata: two\r\ndata:lines\r\n\r\ndata: unfinished"


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_messages_of_a_stream(size: int) -> None:
    """However the bytes are cut, the messages are the same."""
    chunks = [SENT[start : start + size] for start in range(0, len(SENT), size)]
    assert list(messages(chunks)) == [Message("a", b"1"), Message("message", b"two\nlines", "x-1")]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"type": "track", "event": "A\x1b[2J", "userId": "u\n"}, ["track", "A\\x1b[2J", "u\\n"]),
        ({"type": "alias", "userId": "new", "previousId": "old"}, ["alias", "old", "→", "new"]),
        ({"type": "page", "name": "Home", "category": "Docs", "anonymousId": "a"}, ["page", "Docs", "Home", "a"]),
        ({"type": 5, "event": ["x"], "userId": {"a": 1}, "properties": [1]}, ["5", "{'a':", "1}"]),
        ({"type": "identify", "userId": "u", "traits": {"a\u202eb": 1}}, ["identify", "u", "a\\u202eb:", "1"]),
    ],
)
def test_an_event_in_one_line(event: dict[str, Any], expected: list[str]) -> None:
    """Whatever is in an event, it is one line, and nothing in it steers the terminal."""
    assert one_line(event, at=0.0).plain.split()[1:] == expected


def test_a_line_fits_the_terminal() -> None:
    """A long event is cut where the terminal ends."""
    line = one_line({**TRACK, "properties": {"text": "x" * 500}}, width=80)
    assert len(line.plain) == 80
    assert line.plain.endswith("…")
