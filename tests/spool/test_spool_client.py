"""A client with a spool, through its own doors: what it keeps, for how long, and what it says of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from millstream import Abandoned, Analytics, ErrorEvent, RetriesExhausted, SpoolError, Stats
from millstream._core.delivery.policy import Policy
from support.api import Answer, Api, status
from support.processes import run_script

Make = Callable[..., Analytics]
NOWHERE = "http://127.0.0.1:9"
"""Nobody listens here."""


def lines(directory: Path) -> list[bytes]:
    """The events in a spool, read as anybody can read them."""
    return [line for path in sorted(directory.glob("*/*.jsonl")) for line in path.read_bytes().split(b"\n") if line]


def leave(directory: Path, *names: str, **settings: Any) -> None:
    """Record events, deliver none, and go: they are in the spool."""
    analytics = Analytics("key", spool=directory, host=NOWHERE, max_retries=0, **settings)
    for name in names:
        analytics.track(name, user_id="u")
    assert analytics.close_and_flush(timeout=5).spooled == len(names)


def names(api: Api) -> list[str]:
    return [event["event"] for event in api.accepted]


# -- in the call --------------------------------------------------------------------------------------


def test_an_event_is_on_disk_when_its_call_returns(tmp_path: Path, client: Make) -> None:
    """Before `track` returns, the event's bytes are in the spool, as a line of JSON."""
    analytics = client(spool=tmp_path, flush_interval=900, flush_at=1000)
    for number in range(3):
        receipt = analytics.track("A", user_id="u", properties={"n": number})
        assert receipt.message_id.encode() in lines(tmp_path)[-1]
    assert len(lines(tmp_path)) == 3
    assert analytics.stats().spool == "on"


def test_the_spool_forgets_what_is_delivered(tmp_path: Path, client: Make, api: Api) -> None:
    """When all is delivered and the client closed, nothing is left on disk."""
    analytics = client(spool=tmp_path)
    for number in range(50):
        analytics.track(str(number), user_id="u")
    result = analytics.close_and_flush(timeout=10)
    assert (result.delivered, result.pending, result.spooled) == (50, 0, 0)
    assert names(api) == [str(number) for number in range(50)]
    assert lines(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir() if path.is_dir() and path.name != "quarantine"] == []


def test_what_is_refused_is_forgotten_too(tmp_path: Path, client: Make, api: Api) -> None:
    """An event that the API refuses has failed, and is not sent again by the next start."""
    api.script(status(400))
    analytics = client(spool=tmp_path)
    receipt = analytics.track("A", user_id="u")
    assert analytics.close_and_flush(timeout=10).failed == 1
    assert receipt.done()
    assert lines(tmp_path) == []


def test_a_disabled_client_has_no_spool(tmp_path: Path) -> None:
    """`disable=True` writes nothing."""
    with Analytics(disable=True, spool=tmp_path / "spool") as analytics:
        analytics.track("A", user_id="u").wait()
        assert analytics.stats().spool is None
    assert not (tmp_path / "spool").exists()


# -- from one start to the next -----------------------------------------------------------------------


def test_what_could_not_be_delivered_goes_out_with_the_next_start(tmp_path: Path, client: Make, api: Api) -> None:
    """The next client delivers what the last one left, with the same ids and times, before any event of its own."""
    first = Analytics("key", spool=tmp_path, host=NOWHERE, max_retries=0)
    receipts = [first.track(name, user_id="u") for name in "ABC"]
    result = first.close_and_flush(timeout=5)
    assert (result.pending, result.spooled, result.failed, result.unsent) == (3, 3, 0, [])
    client(spool=tmp_path)
    events = api.wait_for_events(3)
    assert [event["messageId"] for event in events] == [receipt.message_id for receipt in receipts]


def test_a_flush_includes_what_others_left(tmp_path: Path, client: Make, api: Api) -> None:
    """Adopted events are accepted events: counted, flushed, and part of the result."""
    leave(tmp_path, "A", "B")
    analytics = client(spool=tmp_path, flush_interval=900)
    assert analytics.flush(timeout=10).delivered == 2
    stats = analytics.stats()
    assert (stats.accepted, stats.delivered, stats.pending, stats.spooled) == (2, 2, 0, 0)


def test_a_close_includes_what_others_left(tmp_path: Path, client: Make, api: Api) -> None:
    """A program that does nothing but open and close delivers the backlog."""
    leave(tmp_path, *map(str, range(100)))
    assert client(spool=tmp_path).close_and_flush(timeout=10).delivered == 100
    assert names(api) == [str(number) for number in range(100)]


def test_another_source_s_events_are_not_adopted(tmp_path: Path, client: Make, api: Api) -> None:
    """Events recorded with one write key are never sent with another."""
    leave(tmp_path, "A")
    other = client("another key", spool=tmp_path)
    other.track("B", user_id="u")
    assert other.close_and_flush(timeout=10).delivered == 1
    assert names(api) == ["B"]
    assert client(spool=tmp_path).close_and_flush(timeout=10).delivered == 1
    assert names(api) == ["B", "A"]


def test_a_living_client_keeps_its_events(tmp_path: Path, client: Make, api: Api) -> None:
    """Two clients on one directory: each delivers its own, and nobody's twice."""
    one = client(spool=tmp_path, flush_interval=900, flush_at=1000)
    for number in range(20):
        one.track(f"one {number}", user_id="u")
    two = client(spool=tmp_path)
    two.track("two", user_id="u")
    assert two.close_and_flush(timeout=10).delivered == 1
    assert one.close_and_flush(timeout=10).delivered == 20
    assert sorted(names(api)) == sorted(["two", *(f"one {number}" for number in range(20))])


def test_sent_at_is_the_attempt_s_own(tmp_path: Path, client: Make, api: Api) -> None:
    """A replay says when it was sent, not when it was first tried: a clock that is off is corrected by that."""
    api.always = status(503)
    first = client(spool=tmp_path)
    first.track("A", user_id="u")
    first.close_and_flush(timeout=5)
    api.always = Answer()
    client(spool=tmp_path).close_and_flush(timeout=10)
    before, after = api.requests[0].json, api.requests[-1].json
    assert before["batch"] == after["batch"]
    assert before["sentAt"] < after["sentAt"]


# -- retries ------------------------------------------------------------------------------------------


def test_exhausted_retries_are_no_outcome(tmp_path: Path, client: Make, api: Api) -> None:
    """The event stays pending, its receipt open; a flush does not wait for what nobody can tell; it goes out later."""
    api.script(status(503))
    analytics = client(spool=tmp_path)
    receipt = analytics.track("A", user_id="u")
    result = analytics.flush(timeout=30)
    assert (result.delivered, result.failed, result.pending, result.spooled) == (0, 0, 1, 1)
    assert not receipt.done()
    assert analytics.stats().pending == 1
    assert analytics.flush(timeout=30).delivered == 1
    assert receipt.done()


def test_after_a_rest_an_event_is_sent_without_anybody_asking(
    tmp_path: Path, client: Make, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`max_retries` bounds the attempts in a row, not the event's life."""
    monkeypatch.setattr("millstream._client.parts.Policy", partial(Policy, rest=0.2))
    api.script(status(503), status(503))
    client(spool=tmp_path, flush_at=1).track("A", user_id="u")
    api.wait_for(3)
    assert names(api) == ["A"]


def test_what_has_been_kept_for_too_long_fails(tmp_path: Path, client: Make, api: Api) -> None:
    """Beyond `spool_max_age` an event that cannot be delivered fails, and is forgotten."""
    api.always = status(503)
    analytics = client(spool=tmp_path, spool_max_age=0)
    receipt = analytics.track("A", user_id="u")
    with pytest.raises(RetriesExhausted):
        receipt.wait(timeout=30)
    analytics.close_and_flush(timeout=5)
    assert lines(tmp_path) == []


def test_at_the_close_the_receipt_says_that_the_event_is_safe(tmp_path: Path, client: Make, api: Api) -> None:
    """The receipt fails with Abandoned(spooled=True); the event has not failed."""
    api.always = status(503)
    analytics = client(spool=tmp_path)
    failed: list[ErrorEvent] = []
    told: list[Any] = []
    analytics.on("error", failed.append)
    receipt = analytics.track("A", user_id="u", callback=lambda err, ctx: told.append((err, ctx.event["event"])))
    analytics.close_and_flush(timeout=30)
    with pytest.raises(Abandoned, match="next start") as caught:
        receipt.wait()
    assert caught.value.spooled
    assert [(type(err), event) for err, event in told] == [(Abandoned, "A")]
    assert failed == []
    stats = analytics.stats()
    assert (stats.accepted, stats.pending, stats.failed) == (1, 1, 0)


# -- more than memory holds ---------------------------------------------------------------------------


def test_the_disk_is_the_queue_s_extension(tmp_path: Path, client: Make, api: Api) -> None:
    """What memory has no room for waits on disk alone, and is delivered in order; nothing is dropped."""
    held = api.hold()
    analytics = client(spool=tmp_path, max_queue_events=10, flush_at=5)
    receipts = [analytics.track(str(number), user_id="u") for number in range(200)]
    api.wait_for(1)
    stats = analytics.stats()
    assert stats.pending == 200
    assert stats.spooled >= 190
    assert stats.dropped == 0
    held.release()
    assert analytics.close_and_flush(timeout=20).delivered == 200
    assert names(api) == [str(number) for number in range(200)]
    assert all(receipt.done() and receipt.wait().event for receipt in receipts)
    assert lines(tmp_path) == []


def test_a_queue_of_one_request_goes_on_by_itself(tmp_path: Path, client: Make, api: Api) -> None:
    """When a request has made room in memory, what is on disk alone is read back without waiting for anything."""
    analytics = client(spool=tmp_path, max_queue_events=5)
    for number in range(200):
        analytics.track(str(number), user_id="u")
    assert analytics.flush(timeout=20).pending == 0
    assert names(api) == [str(number) for number in range(200)]


def test_what_is_on_disk_alone_at_the_close_stays_there(tmp_path: Path, client: Make, api: Api) -> None:
    """It is spooled, its receipts say so, and the next start delivers it."""
    api.always = status(503)
    analytics = client(spool=tmp_path, max_queue_events=10)
    receipts = [analytics.track(str(number), user_id="u") for number in range(50)]
    result = analytics.close_and_flush(timeout=30)
    assert (result.pending, result.spooled, result.failed, result.dropped) == (50, 50, 0, 0)
    assert all(receipt.done() for receipt in receipts)
    api.always = Answer()
    assert client(spool=tmp_path).close_and_flush(timeout=10).delivered == 50


# -- without a disk -----------------------------------------------------------------------------------


def durability_off(analytics: Analytics) -> tuple[list[ErrorEvent], Stats]:
    """Record three events, and return what was reported, and the counters."""
    reported: list[ErrorEvent] = []
    analytics.on("error", reported.append)
    for name in "ABC":
        analytics.track(name, user_id="u")
    return reported, analytics.stats()


def test_without_a_usable_directory_events_go_out_from_memory(tmp_path: Path, client: Make, api: Api) -> None:
    """The application hears of it once, and never as an exception."""
    (tmp_path / "file").write_text("in the way")
    analytics = client(spool=tmp_path / "file" / "spool")
    reported, stats = durability_off(analytics)
    assert [(each.code, type(each.reason)) for each in reported] == [("spool", SpoolError)]
    assert stats.spool is not None
    assert stats.spool.startswith("off: ")
    assert analytics.close_and_flush(timeout=10).delivered == 3


def test_a_full_spool_leaves_events_to_memory(tmp_path: Path, client: Make, api: Api) -> None:
    """Beyond `spool_max_bytes` an event is in memory alone, under the bounds and the policy that hold there."""
    analytics = client(spool=tmp_path, spool_max_bytes=10, max_queue_events=2, flush_interval=900, flush_at=100)
    reported, stats = durability_off(analytics)
    assert [each.code for each in reported] == ["spool", "dropped"]
    assert stats.spool is not None
    assert "spool_max_bytes" in stats.spool
    assert (stats.pending, stats.dropped) == (2, 1)
    assert lines(tmp_path) == []


# -- processes ----------------------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.parametrize("how", ["never", "interval:20ms", "always"])
def test_what_a_killed_process_recorded_arrives(tmp_path: Path, client: Make, api: Api, how: str) -> None:
    """SIGKILL right after the call: the event is delivered by the next start."""
    script = f"""
        import os, signal, sys
        from millstream import Analytics
        analytics = Analytics("key", spool=sys.argv[1], spool_sync={how!r}, host="{NOWHERE}")
        analytics.track("A", user_id="u")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    with pytest.raises(AssertionError, match="-9"):
        run_script(script, os.fspath(tmp_path))
    assert client(spool=tmp_path).close_and_flush(timeout=10).delivered == 1
    assert names(api) == ["A"]


@pytest.mark.process
def test_a_forked_child_has_a_spool_of_its_own(tmp_path: Path, client: Make, api: Api) -> None:
    """Parent and child record into lanes of their own; both deliver all, none twice."""
    run_script(
        """
        import os, sys
        from millstream import Analytics
        analytics = Analytics("key", host=sys.argv[1], spool=sys.argv[2])
        analytics.track("before", user_id="u")
        pid = os.fork()
        analytics.track("child" if pid == 0 else "parent", user_id="u")
        result = analytics.close_and_flush(timeout=10)
        assert result.pending == 0, result
        if pid == 0:
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        """,
        api.url,
        os.fspath(tmp_path),
    )
    assert sorted(names(api)) == ["before", "child", "parent"]
    assert lines(tmp_path) == []
