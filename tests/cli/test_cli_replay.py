"""`millstream replay`: what is in a collector's directory goes to another receiver, as it was."""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from support.api import Api, status
from support.program import Collector, Done, end, start

Program = Callable[..., Done]


def line(number: int, **more: Any) -> dict[str, Any]:
    """An event as a collector stores it, one a minute from 08:00 on."""
    received = f"{datetime(2026, 11, 24, 8, tzinfo=timezone.utc) + timedelta(minutes=number):%FT%T}.000Z"
    return {
        "type": "track", "event": "Paid", "userId": "u", "messageId": f"m-{number}", "properties": {"n": number},
        "timestamp": "2026-11-01T00:00:00.000Z", "originalTimestamp": "2026-11-02T00:00:00.000Z",
        "sentAt": "2026-11-24T08:00:00.000Z", "receivedAt": received, "sourceId": "shop", **more,
    }  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return store(tmp_path / "data", *map(line, range(10)))


def store(directory: Path, *lines: Any, name: str = "events-00000000000000000000.jsonl") -> Path:
    directory.mkdir(exist_ok=True)
    (directory / name).write_text("".join(f"{json.dumps(each)}\n" for each in lines))
    return directory


@pytest.fixture
def replay(millstream: Program, api: Api, data: Path) -> Program:
    return lambda *more, where=data: millstream(
        "replay", "--data", str(where), "--to", api.url, "--write-key", "key", *more
    )


def ids(api: Api) -> list[str]:
    return sorted(event["messageId"] for event in api.accepted)


def test_events_arrive_as_they_were(replay: Program, api: Api) -> None:
    """The same ids, the corrected time, all fields of the client, and none of the collector's own."""
    done = replay()
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("Delivered 10 events in ")
    event = min(api.accepted, key=lambda event: event["messageId"])
    assert event == {
        "type": "track", "event": "Paid", "userId": "u", "messageId": "m-0", "properties": {"n": 0},
        "timestamp": "2026-11-01T00:00:00.000Z", "context": event["context"], "integrations": {},
    }  # fmt: skip
    assert "sentAt" in api.requests[0].json
    assert ids(api) == [f"m-{n}" for n in range(10)]


def test_twice_is_the_same(replay: Program, api: Api) -> None:
    """A second replay sends the same ids, for a receiver to recognise."""
    assert replay().code == replay().code == 0
    assert ids(api) == sorted([f"m-{n}" for n in range(10)] * 2)


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (["--since", "2026-11-24T08:07:00Z"], [7, 8, 9]),
        (["--since", "2026-11-24T10:07:00+02:00"], [7, 8, 9]),
        (["--until", "2026-11-24T08:02"], [0, 1]),
        (["--since", "2026-11-24 08:03", "--until", "2026-11-24 08:04"], [3]),
        (["--since", "2026-11-24"], list(range(10))),
        (["--until", "2026-11-24"], []),
    ],
)
def test_a_stretch_of_time(replay: Program, api: Api, options: list[str], numbers: list[int]) -> None:
    """`--since` is included and `--until` is not; both are about when the event was received."""
    assert replay(*options).code == 0
    assert ids(api) == [f"m-{n}" for n in numbers]


def test_how_long_ago(replay: Program, api: Api, tmp_path: Path) -> None:
    """Times may be given as a distance from now."""
    now = datetime.now(timezone.utc)
    ages = {"minutes": timedelta(minutes=5), "hours": timedelta(hours=5), "days": timedelta(days=5)}
    lines = [line(0, messageId=name, receivedAt=f"{now - age:%Y-%m-%dT%H:%M:%S.000Z}") for name, age in ages.items()]
    where = store(tmp_path / "other", *lines)
    for since, expected in (("90m", 1), ("1d", 2), ("1w", 3), ("10s", 0)):
        done = replay("--since", since, "--dry-run", "--json", where=where)
        assert done.json["events"] == expected, since
    assert api.requests == []


def test_a_choice_of_events(replay: Program, api: Api, data: Path) -> None:
    """By type, by name and by source, several of each."""
    more = [line(10, type="page", event=None, name="Home"), line(11, event="Seen"), line(12, sourceId="app")]
    store(data, *more, name="events-00000000000000009999.jsonl")

    def chosen(*options: str) -> int:
        return replay("--dry-run", "--json", *options).json["events"]

    assert chosen() == 13
    assert chosen("--type", "page") == 1
    assert chosen("--type", "page", "--type", "track") == 13
    assert chosen("--event", "Paid", "--event", "Seen") == 12
    assert chosen("--source", "app") == 1
    assert chosen("--source", "app", "--event", "Seen") == 0
    assert api.requests == []


def test_a_dry_run_counts(replay: Program, api: Api) -> None:
    """It says how many of which type, and from when to when; no key is needed, and nothing is sent."""
    done = replay("--dry-run")
    assert done.out.splitlines() == [
        "10 events, received from 2026-11-24T08:00:00.000Z to 2026-11-24T08:09:00.000Z:",
        "            10  track",
    ]
    assert api.requests == []


def test_files_that_are_not_events_are_left_alone(replay: Program, api: Api, data: Path) -> None:
    """Rejected and duplicate events lie beside the others, in files of other names, and so may an export."""
    (data / "rejected.ndjson").write_text('{"reason": "no_user_anon_id"}\n')
    store(data, *map(line, range(10, 20)), name="paid.jsonl")
    (data / "x.jsonl").mkdir()
    assert replay().code == 0
    assert len(ids(api)) == 10


def test_damaged_lines_are_named_and_passed_over(replay: Program, api: Api, data: Path) -> None:
    """What can be read is sent; what cannot is said with its place; room that was never written is nothing."""
    file = data / "events-00000000000000000000.jsonl"
    good = file.read_bytes()
    half = json.dumps(line(98)).encode()[:50]
    file.write_bytes(good + b"{damaged}\n" + b"\0" * 3_000_000 + json.dumps(line(99)).encode() + b"\n" + half)
    done = replay()
    assert done.code == 1
    assert done.out.startswith("Delivered 11 events")
    first, problem = done.err.splitlines()
    assert first == "millstream: 1 event cannot be delivered:"
    assert problem.startswith(f"  events-00000000000000000000.jsonl, byte {len(good):,}: unreadable: ")
    assert len(ids(api)) == 11


def test_half_a_line_in_a_finished_file_is_named(replay: Program, api: Api, data: Path) -> None:
    """Only the last line of the last file can be one that is being written."""
    half = json.dumps(line(98)).encode()[:50]
    (data / "events-00000000000000009999.jsonl").write_bytes(json.dumps(line(99)).encode() + b"\n" + half)
    assert replay().code == 0
    first = data / "events-00000000000000000000.jsonl"
    first.write_bytes(first.read_bytes() + half)
    done = replay()
    assert (done.code, len(ids(api))) == (1, 22)
    assert "events-00000000000000000000.jsonl, byte" in done.err


def test_a_receiver_that_goes_away_ends_it_and_it_goes_on_from_there(replay: Program, api: Api, data: Path) -> None:
    """After a stop, `--since` of the last line sends at least all that has not arrived."""
    count = 2 * 2500  # more than a request holds, so there is a second one to refuse, however the first was timed
    store(data, *map(line, range(count)))
    api.script(status(200), status(401))
    api.always = status(401)
    done = replay("--in-order", "--json")
    assert done.code == 1
    assert 0 < len(api.accepted) < count
    api.always = status(200)
    resume = shlex.split(done.json["resume"])
    assert resume[0] == "--since"
    assert replay(*resume).code == 0
    assert set(ids(api)) == {f"m-{n}" for n in range(count)}
    assert len(api.accepted) < 2 * count


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--since", "yesterday"], "--since 'yesterday' must be a time such as"),
        (["--until", "5x"], "--until '5x' must be a time such as"),
        (["--data", "/no/such/place"], "cannot read the events in /no/such/place: No such file or directory"),
        (["--data", "/"], "no events in /"),
        (["--to", "elsewhere"], "there is no configuration: pass --config"),
        (["--write-key", ""], "no write key"),
    ],
)
def test_wrong_usage(replay: Program, api: Api, options: list[str], said: str) -> None:
    """What cannot be asked for is exit code 2 and one line."""
    done = replay(*options)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert done.err.count("\n") == 1
    assert api.requests == []


def test_the_host_of_the_environment_is_not_taken(millstream: Program, data: Path, monkeypatch: Any) -> None:
    """A replay goes where it is told, and nowhere by default: it may be a whole month of events."""
    monkeypatch.setenv("MILLSTREAM_HOST", "http://127.0.0.1:1")
    done = millstream("replay", "--data", str(data), "--write-key", "key")
    assert done.code == 2
    assert "--to" in done.said


@pytest.mark.process
def test_ctrl_c_says_where_to_go_on(api: Api, data: Path) -> None:
    """An interrupted replay delivers what is under way, exits with 130, and says with which `--since` it goes on."""
    store(data, *map(line, range(200)))
    process = start("replay", "--data", str(data), "--to", api.url, "--write-key", "key", "--rate", "30", "--json")
    api.wait_for(1)
    process.send_signal(signal.SIGINT)
    done = end(process)
    assert (done.code, done.json["interrupted"]) == (130, True)
    delivered = done.json["delivered"]
    assert delivered == len(api.accepted) < 200
    assert done.json["resume"] == f"--since {line(delivered - 1)['receivedAt']}"


@pytest.mark.process
def test_from_one_collector_to_another(millstream: Program, tmp_path: Path) -> None:
    """The second collector has what the first one has, though the client's clock was an hour off; while both run."""
    ahead = datetime.now(timezone.utc) + timedelta(hours=1)
    event = {"type": "track", "event": "Paid", "userId": "u", "messageId": "m-1", "timestamp": f"{ahead:%FT%TZ}"}
    one, two = Collector(tmp_path / "one"), Collector(tmp_path / "two")
    one.post(event, sentAt=f"{ahead:%FT%TZ}")
    arguments = ["replay", "--data", str(tmp_path / "one"), "--to", two.url, "--write-key", "key"]
    assert [millstream(*arguments).code for _ in range(2)] == [0, 0]
    one.stop()
    two.stop()
    (first,), (second,) = stored_in(tmp_path / "one"), stored_in(tmp_path / "two")
    assert abs(moment_of(first["timestamp"]) - datetime.now(timezone.utc)) < timedelta(minutes=5)
    assert abs(moment_of(second["timestamp"]) - moment_of(first["timestamp"])) < timedelta(minutes=5)
    assert second["originalTimestamp"] == first["timestamp"]
    own = {"timestamp", "originalTimestamp", "sentAt", "receivedAt", "context", "integrations"}
    assert {k: v for k, v in second.items() if k not in own} == {k: v for k, v in first.items() if k not in own}


def stored_in(data: Path) -> list[dict[str, Any]]:
    lines = [line for file in sorted(data.glob("*.jsonl")) for line in file.read_bytes().splitlines()]
    return [json.loads(text) for line in lines if (text := line.strip(b"\0"))]


def moment_of(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
