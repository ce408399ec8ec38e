"""A router and real destinations on loopback: every event once, in order, each destination at its own pace."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from routing import (
    assert_in_order,
    configuration,
    event,
    hook,
    ids,
    routed,
    status_of,
    wait_for_ids,
    wait_until,
    write,
)

from millstream.log import FileCursorStore, FileReader
from millstream.router import Configuration, letters_in
from support.api import Answer, Api, Seen, drop, half, reset, status

pytestmark = pytest.mark.server


def test_every_event_goes_to_every_destination_once_and_in_order(tmp_path: Path, apis: list[Api]) -> None:
    """What is stored before and after the start arrives everywhere; the events of a user in the order of the log."""
    write(tmp_path, map(event, range(300)))
    with routed(tmp_path, configuration(a=apis[0], b=apis[1], c=apis[2])):
        for each in apis:
            wait_for_ids(each, 300)
        write(tmp_path, map(event, range(300, 600)))
        for each in apis:
            assert set(wait_for_ids(each, 600).values()) == {1}
            assert_in_order(each)


def test_faults_lose_nothing_and_keep_the_order_of_a_user(tmp_path: Path, one: Api) -> None:
    """Refused connections, lost answers and errors are retried in place: later events of a user wait for it."""
    write(tmp_path, map(event, range(200)))
    one.script(status(503), drop(), reset(), half(), status(500), status(429, retry_after=1), status(503))
    with routed(tmp_path, configuration(a=hook(one, max_events=20))):
        wait_for_ids(one, 200)
    assert_in_order(one)
    assert status_of(tmp_path, "a").counters.retried > 3


def test_a_dead_destination_delays_no_other(tmp_path: Path, apis: list[Api]) -> None:
    """While one refuses connections and one never answers, the third gets everything at once."""
    apis[0].refuse()
    apis[1].always = Answer(sent="nothing", then="stall")
    write(tmp_path, map(event, range(2000)))
    with routed(tmp_path, configuration(dead=apis[0], slow=apis[1], well=apis[2])):
        assert set(wait_for_ids(apis[2], 2000, 5).values()) == {1}
        wait_until(lambda: status_of(tmp_path, "dead").state == "retrying", "the dead one to be retried")
        wait_until(lambda: status_of(tmp_path, "well").lag_events == 0)
        apis[0].listen()
        apis[1].always = Answer()
        for each in apis[:2]:
            wait_for_ids(each, 2000)


def test_what_waits_in_memory_is_bounded(tmp_path: Path, one: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A destination that is down has a window of events in memory, and its router reads no more of the log."""
    monkeypatch.setattr("millstream.router.route.WINDOW", 50_000)
    monkeypatch.setattr("millstream.router.route.CHUNK_BYTES", 10_000)
    one.refuse()
    write(tmp_path, map(event, range(5000)))
    with routed(tmp_path, configuration(a=one)):
        wait_until(lambda: status_of(tmp_path, "a").state == "retrying")
        found = status_of(tmp_path, "a")
        assert found.pending < 400
        assert 4000 < found.lag_events < 6000
        one.listen()
        assert set(wait_for_ids(one, 5000).values()) == {1}
    assert_in_order(one)


@pytest.mark.parametrize("code", [401, 403, 404])
def test_refused_credentials_pause_and_lose_nothing(tmp_path: Path, one: Api, code: int) -> None:
    """A wrong key or address makes no dead letters: the route stops, says why, and goes on after a reload."""
    write(tmp_path, map(event, range(100)))
    one.always = status(code, b"go away")
    with routed(tmp_path, configuration(a=one)) as router:
        wait_until(lambda: status_of(tmp_path, "a").state == "paused")
        assert f"[{code}]" in status_of(tmp_path, "a").last_error
        asked = len(one.requests)
        assert one.stays_at(asked, 0.3)
        one.always = Answer()
        router.post(lambda: router.apply(configuration(a=hook(one, lanes=2)).routes.values()))
        assert set(wait_for_ids(one, 100).values()) == {1}
    assert letters_in(tmp_path, "a") == []


def test_one_bad_event_is_found_and_the_others_arrive(tmp_path: Path, one: Api) -> None:
    """The event that is refused is a dead letter with all that is known of it, without secrets; no other is."""
    write(tmp_path, map(event, range(100)))

    def answer(seen: Seen) -> Answer:
        bad = any(each["messageId"] == "m42" for each in seen.events)
        return Answer(422, body=b"no 42, said very-secret-text") if bad else Answer()

    one.always = answer
    with routed(tmp_path, configuration(a=hook(one, secret="very-secret-text"))):
        assert set(wait_for_ids(one, 99).values()) == {1}
        wait_until(lambda: letters_in(tmp_path, "a"))
        wait_until(lambda: status_of(tmp_path, "a").counters.dead == 1)
    (letter,) = letters_in(tmp_path, "a")
    assert (letter.message_id, letter.code, letter.status) == ("m42", "rejected", 422)
    assert letter.response == "no 42, said ***"
    assert letter.attempts > 1
    assert letter.first_attempted_at <= letter.last_attempted_at
    assert b'"messageId": "m42"' in bytes(letter.event)


def test_a_hundred_refusals_in_a_row_pause(tmp_path: Path, one: Api) -> None:
    """A destination that refuses everything stops after a hundred dead letters; the rest of the backlog is kept."""
    write(tmp_path, map(event, range(1000)))
    one.always = status(451, b"not here")
    with routed(tmp_path, configuration(a=hook(one, max_events=10, in_flight=1, lanes=1))):
        wait_until(lambda: status_of(tmp_path, "a").state == "paused")
        assert 100 <= len(letters_in(tmp_path, "a")) < 120


def test_a_restart_goes_on_at_the_cursor(tmp_path: Path, one: Api) -> None:
    """A router that is stopped and started again sends nothing twice, and counts on."""
    write(tmp_path, map(event, range(100)))
    with routed(tmp_path, configuration(a=one)):
        wait_for_ids(one, 100)
    write(tmp_path, map(event, range(100, 150)))
    with routed(tmp_path, configuration(a=one)):
        assert set(wait_for_ids(one, 150).values()) == {1}
        wait_until(lambda: status_of(tmp_path, "a").counters.delivered == 150)


def test_a_stop_waits_for_what_is_in_flight(tmp_path: Path, one: Api) -> None:
    """A request that is under way at the stop is answered, and its events are not sent again."""
    write(tmp_path, map(event, range(10)))
    held = one.hold()
    with routed(tmp_path, configuration(a=hook(one, lanes=1))) as router:
        one.wait_for(1)
        router.stop()
        router.post(held.release)
    with routed(tmp_path, configuration(a=hook(one, lanes=1))):
        assert one.stays_at(1, 0.5)
    assert Counter(ids(one)) == Counter(f"m{n}" for n in range(10))


@pytest.mark.parametrize(
    ("start", "expected"),
    [("now", 0), ("beginning", 30), ("2026-05-17T10:00:10.000Z", 20), ("2027-01-01T00:00:00Z", 0)],
)
def test_a_new_destination_begins_where_it_is_told(tmp_path: Path, one: Api, start: str, expected: int) -> None:
    """From now on, from the oldest event, or from what was received at a time; and that is stored at once."""
    stored = [event(n, receivedAt=f"2026-05-17T10:00:{n:02d}.000Z") for n in range(30)]
    write(tmp_path, stored[:15])
    base = sum(len(each.read_bytes()) for each in tmp_path.glob("events-*"))
    write(tmp_path, stored[15:], base)
    with routed(tmp_path, configuration(a=hook(one, start=start))):
        pass
    write(tmp_path, [event(100)], base)
    with routed(tmp_path, configuration(a=hook(one, start=start))):
        assert len(wait_for_ids(one, expected + 1)) == expected + 1
        wait_until(lambda: status_of(tmp_path, "a").lag_events == 0)


@pytest.mark.parametrize("damage", ["garbled", "cut", "ahead", "missing"])
def test_a_damaged_cursor_falls_back_and_loses_nothing(tmp_path: Path, one: Api, damage: str) -> None:
    """Events may be sent again, and the state says why; none is left out."""
    write(tmp_path, map(event, range(50)))
    with routed(tmp_path, configuration(a=one)):
        wait_for_ids(one, 50)
    (cursor,) = (tmp_path / "cursors" / "a").glob("*.cursor")
    if damage == "garbled":
        cursor.write_bytes(b"\x00\xff garbage")
    elif damage == "cut":
        cursor.write_bytes(cursor.read_bytes()[:-9])
    elif damage == "missing":
        cursor.unlink()
    else:
        events = tmp_path / f"events-{0:020d}.jsonl"
        lines = events.read_bytes().splitlines(keepends=True)
        events.write_bytes(b"".join(lines[:40]))
    write(tmp_path, map(event, range(50, 100)))
    with routed(tmp_path, configuration(a=one)):
        counts = wait_for_ids(one, 100)
    assert counts.keys() == {f"m{n}" for n in range(100)}


def test_a_segment_that_is_deleted_under_a_route_is_counted_and_passed(tmp_path: Path, one: Api) -> None:
    """What is gone from the log is gone; what comes after it is sent."""
    first = write(tmp_path, map(event, range(50)))
    base = first.stat().st_size
    write(tmp_path, map(event, range(50, 100)), base)
    one.refuse()
    with routed(tmp_path, configuration(a=one)):
        wait_until(lambda: status_of(tmp_path, "a").state == "retrying")
    first.unlink()
    one.listen()
    with routed(tmp_path, configuration(a=one)):
        assert wait_for_ids(one, 50).keys() == {f"m{n}" for n in range(50, 100)}


def test_the_second_router_of_a_route_stops_the_first_or_itself(tmp_path: Path, one: Api) -> None:
    """Two routers on one directory: one of them is fenced, says so, and sends nothing more."""
    write(tmp_path, map(event, range(10)))
    with routed(tmp_path, configuration(a=one)):
        wait_for_ids(one, 10)
        wait_until(lambda: status_of(tmp_path, "a").position == FileReader(tmp_path).durable())
        with routed(tmp_path, configuration(a=one)) as second:
            write(tmp_path, map(event, range(10, 20)))
            wait_for_ids(one, 20)
            states: list[str] = []
            second.on_status = lambda routes: states.extend(each.state for each in routes)
            wait_until(lambda: len(states) > 1)
    found = FileCursorStore(tmp_path).load("a", "0")
    assert found is not None
    assert found[0].low == FileReader(tmp_path).durable()


def test_what_is_not_for_a_destination_is_dropped_there_and_counted(tmp_path: Path, apis: list[Api]) -> None:
    """By integrations, by source and by filter; the reasons are counted, and the others go out."""
    write(
        tmp_path,
        [
            event(0),
            event(1, integrations={"All": False}),
            event(2, integrations={"All": False, "a": True}),
            event(3, integrations={"a": False}),
            event(4, sourceId="app"),
            event(5, event="Noise"),
        ],
    )
    wanted = Configuration.parse(
        {
            "sources": {"app": {"key": "k", "destinations": ["b"]}},
            "destinations": {
                "a": hook(apis[0], filters=[{"if": "event = 'Noise'", "drop": True}]),
                "b": hook(apis[1]),
            },
        },
        (),
    )
    with routed(tmp_path, wanted):
        assert set(wait_for_ids(apis[0], 2)) == {"m0", "m2"}
        assert set(wait_for_ids(apis[1], 4)) == {"m0", "m3", "m4", "m5"}
        wait_until(lambda: sum(status_of(tmp_path, "a").counters.dropped.values()) == 4)
    reasons = status_of(tmp_path, "a").counters.dropped
    assert reasons["its integrations say so"] == 2
    assert reasons["the source app does not go there"] == 1
    notes = {message_id: note for _, message_id, note in status_of(tmp_path, "a").recent}
    assert notes["m5"] == "dropped: a filter drops it: event = 'Noise'"


def test_a_reload_swaps_only_what_changed_and_sends_nothing_twice(tmp_path: Path, apis: list[Api]) -> None:
    """Under load: the unchanged route goes on, the changed one at its cursor, the removed one is forgotten."""
    write(tmp_path, map(event, range(500)))
    with routed(tmp_path, configuration(a=apis[0], b=hook(apis[1], max_events=7), c=apis[2])) as router:
        apis[1].wait_for(3)
        changes: list[str] = []
        wanted = configuration(a=apis[0], b=hook(apis[1], max_events=50)).routes.values()
        router.post(lambda: changes.extend(router.apply(wanted)))
        write(tmp_path, map(event, range(500, 700)))
        for each in apis[:2]:
            assert set(wait_for_ids(each, 700).values()) == {1}
            assert_in_order(each)
        assert changes == ["b is changed", "c is removed"]
        wait_until(lambda: FileReader(tmp_path).held("c") is None)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory whose dead letters are on a file system of a few kilobytes."""
    folder = tmp_path / "deadletters"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], check=False).returncode:
        pytest.skip("mounting a small file system takes root")
    yield tmp_path
    subprocess.run(["umount", folder], check=True)


@pytest.mark.process
def test_a_disk_that_is_full_of_dead_letters_blocks_the_route_and_loses_none(small_disk: Path, one: Api) -> None:
    """While a letter cannot be written its event is not settled; with room it is written, once and whole."""
    ballast = small_disk / "deadletters" / "ballast"
    ballast.write_bytes(b"x" * 57_344)
    write(small_disk, [event(n, properties={"n": n, "text": "y" * 900}) for n in range(12)])
    one.always = status(451)
    with routed(small_disk, configuration(a=one)):
        wait_until(lambda: status_of(small_disk, "a").state == "blocked")
        assert "cannot be written: No space left" in status_of(small_disk, "a").last_error
        assert len(letters_in(small_disk, "a")) < 12
        ballast.unlink()
        wait_until(lambda: status_of(small_disk, "a").counters.dead == 12)
    assert sorted(each.message_id for each in letters_in(small_disk, "a")) == sorted(f"m{n}" for n in range(12))


def test_a_clock_that_is_set_back_changes_nothing(tmp_path: Path, one: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events from the future are sent, retried and counted as any others."""
    write(tmp_path, [event(n, receivedAt="2099-01-01T00:00:00.000Z") for n in range(50)])
    one.script(status(503))
    began = time.time()
    monkeypatch.setattr(time, "time", lambda: began - 86_400)
    with routed(tmp_path, configuration(a=one)):
        assert set(wait_for_ids(one, 50).values()) == {1}
        wait_until(lambda: status_of(tmp_path, "a").counters.delivered == 50)
        assert status_of(tmp_path, "a").lag_seconds == 0
