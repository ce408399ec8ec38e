"""`millstream spool`: what a killed process has left can be seen, counted, taken out and delivered."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.api import Api, Seen, status
from support.processes import run_script, start_script
from support.program import Done, end, start

pytestmark = pytest.mark.process
Program = Callable[..., Done]

RECORD = """
    import logging, os, signal, sys
    from millstream import Analytics
    logging.getLogger("millstream").setLevel("ERROR")  # the host is dead
    directory, key, count, wait = sys.argv[1:]
    analytics = Analytics(key, host="http://127.0.0.1:1", spool=directory, max_retries=0)
    for n in range(int(count)):
        analytics.track("Paid", user_id=f"u{n}", properties={"n": n}, message_id=f"{key}-{n}")
    print("recorded", flush=True)
    if wait == "wait":
        signal.pause()
    os._exit(0)
"""


def record(directory: Path, key: str = "key", count: int = 20) -> None:
    """A process that records events, and is gone before it has delivered one."""
    assert run_script(RECORD, str(directory), key, str(count), "go") == "recorded\n"


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """A spool with 20 events of our key and 3 of another's."""
    directory = tmp_path / "spool"
    record(directory)
    record(directory, "another", 3)
    return directory


@pytest.fixture(autouse=True)
def _where(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLSTREAM_HOST", api.url)
    monkeypatch.setenv("MILLSTREAM_WRITE_KEY", "key")


@pytest.fixture
def living(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has recorded two events, and goes on."""
    process = start_script(RECORD, str(tmp_path / "living"), "key", "2", "wait")
    assert process.stdout
    assert process.stdout.readline() == "recorded\n"
    yield process
    process.kill()
    process.communicate()


def test_the_lanes_are_listed(millstream: Program, spool: Path) -> None:
    """One row a process: who it was, that it is gone, and what it has left."""
    done = millstream("spool", "list", str(spool))
    assert (done.code, done.err) == (0, "")
    heading, *rows = done.out.splitlines()
    assert heading.split() == ["lane", "owner", "state", "events", "size", "corrupt", "age"]
    assert sorted(row.split("left behind")[1].split()[0] for row in rows) == ["20", "3"]
    lanes = millstream("spool", "list", "--json", str(spool)).json
    assert sorted(lane["events"] for lane in lanes) == [3, 20]
    assert {lane["alive"] for lane in lanes} == {False}
    assert all(lane["owner"]["pid"] and Path(lane["path"]).is_dir() for lane in lanes)


def test_events_are_counted(millstream: Program, spool: Path) -> None:
    """A number for a script, and a little more as JSON."""
    assert millstream("spool", "count", str(spool)).out == "23\n"
    counted = millstream("spool", "count", str(spool), "--json").json
    assert counted == {"events": 23, "left_behind": 23, "corrupt": 0, "lanes": 2}


def test_events_are_shown(millstream: Program, spool: Path) -> None:
    """One line an event: what, who, and what belongs to it."""
    lines = millstream("spool", "show", str(spool)).out.splitlines()
    assert len(lines) == 23
    assert lines[1].split()[1:] == ["track", "Paid", "u1", "n:", "1"]
    assert len(millstream("spool", "show", str(spool), "-n", "2").out.splitlines()) == 2


def test_events_are_exported(millstream: Program, api: Api, spool: Path) -> None:
    """JSON lines, each an event that `millstream send -` takes; the spool stays as it is."""
    out = millstream("spool", "export", str(spool)).out
    assert sorted(json.loads(line)["messageId"] for line in out.splitlines()) == sorted(
        [f"key-{n}" for n in range(20)] + [f"another-{n}" for n in range(3)]
    )
    assert millstream("send", "-", stdin=out).code == 0
    assert len(api.accepted) == 23
    assert millstream("spool", "count", str(spool)).out == "23\n"


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    """`millstream spool show DIR | head` ends quietly, however much there would be to show."""
    record(tmp_path / "large", count=3000)
    for command in ("show", "export"):
        process = start("spool", command, str(tmp_path / "large"))
        assert process.stdout
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr
        assert process.stderr.read() == ""
        assert process.wait(20) in {0, 1}
        process.stderr.close()


def test_draining_delivers_what_is_ours(millstream: Program, api: Api, spool: Path) -> None:
    """Events of this key arrive once; those of another key stay; a second time there is nothing to do."""
    done = millstream("spool", "drain", str(spool))
    assert (done.code, done.out) == (0, "Delivered 20 events.\n")
    assert done.err == "millstream: 1 lane left alone: it was written with another write key\n"
    assert sorted(event["messageId"] for event in api.accepted) == sorted(f"key-{n}" for n in range(20))
    assert millstream("spool", "count", str(spool)).out == "3\n"
    again = millstream("spool", "drain", str(spool), "--json")
    assert (again.code, again.json["delivered"], again.json["left"]) == (0, 0, 0)


@pytest.mark.parametrize("code", [401, 404, 503])
def test_a_wrong_key_or_host_costs_no_event(millstream: Program, api: Api, spool: Path, code: int) -> None:
    """What a server refuses is gone for a client; so it is asked first, with a batch without events."""
    api.always = status(code)
    done = millstream("spool", "drain", str(spool))
    assert (done.code, done.out) == (1, "")
    assert "nothing was touched" in done.err
    assert api.events == []
    assert millstream("spool", "count", str(spool)).out == "23\n"


def test_a_server_that_goes_away_costs_no_event(millstream: Program, api: Api, spool: Path) -> None:
    """What cannot be delivered stays, is counted, and goes out the next time."""
    api.script(status(200))
    api.always = status(500)
    done = millstream("spool", "drain", str(spool), "--max-retries", "0", "--json")
    assert (done.code, done.json["delivered"], done.json["left"]) == (1, 0, 20)
    api.always = status(200)
    assert millstream("spool", "drain", str(spool)).code == 0
    assert len(api.accepted) == 20


def test_what_is_refused_is_kept_in_quarantine(millstream: Program, api: Api, spool: Path) -> None:
    """An event that the server will never take does not vanish: it is in a file, with the reason on the terminal."""

    def refuse_batches_with_events(seen: Seen):
        return status(400, b"I do not like it") if seen.events else status(200)

    api.always = refuse_batches_with_events
    done = millstream("spool", "drain", str(spool))
    assert done.code == 1
    assert "20 were refused" in done.err
    assert "I do not like it" in done.err
    kept = (spool / "quarantine" / "refused.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["messageId"] for line in kept) == sorted(f"key-{n}" for n in range(20))
    assert millstream("spool", "count", str(spool)).out == "3\n"


def test_a_living_process_is_left_alone(
    millstream: Program, api: Api, tmp_path: Path, living: subprocess.Popen[str]
) -> None:
    """Its lane is shown as alive, and not drained."""
    (lane,) = millstream("spool", "list", "--json", str(tmp_path / "living")).json
    assert (lane["alive"], lane["events"], lane["owner"]["pid"]) == (True, 2, living.pid)
    done = millstream("spool", "drain", str(tmp_path / "living"))
    assert (done.code, done.out) == (0, "Delivered 0 events.\n")
    assert "its process is running" in done.err
    assert api.requests == []


def test_ctrl_c_leaves_the_rest_in_the_spool(millstream: Program, api: Api, spool: Path) -> None:
    """An interrupted drain ends with 130, and what it has not delivered is there for the next."""
    api.script(status(200))
    held = api.hold()
    process = start("spool", "drain", str(spool), "--json")
    api.wait_for(2)
    process.send_signal(signal.SIGINT)
    done = end(process)
    held.release()
    assert (done.code, done.json["interrupted"], done.json["left"]) == (130, True, 20)
    assert millstream("spool", "drain", str(spool)).code == 0
    assert {event["messageId"] for event in api.accepted} == {f"key-{n}" for n in range(20)}


def test_damage_is_seen(millstream: Program, api: Api, spool: Path) -> None:
    """Pieces that are no events are counted, and stand in the way of no other."""
    (file,) = [path for path in spool.glob("*/*.jsonl") if path.stat().st_size > 2000]
    data = file.read_bytes()
    file.write_bytes(data[:10] + b"#####" + data[15:])
    assert millstream("spool", "count", "--json", str(spool)).json["corrupt"] == 1
    assert millstream("spool", "drain", str(spool)).out == "Delivered 19 events.\n"


def test_doctor_tells_of_what_waits(millstream: Program, spool: Path) -> None:
    """Events that processes have left behind are a warning, with the command that delivers them."""
    done = millstream("doctor", "--spool", str(spool))
    assert done.code == 0
    assert "23 events wait in 2 lanes of exited processes" in done.out
    assert f"`millstream spool drain {spool}`" in done.out


@pytest.mark.parametrize("command", ["list", "count", "show", "export", "drain"])
def test_a_directory_that_is_not_there(millstream: Program, tmp_path: Path, command: str) -> None:
    """It is one line and exit code 2, and no directory is made."""
    done = millstream("spool", command, str(tmp_path / "no"))
    assert (done.code, done.out) == (2, "")
    assert done.err == f"millstream: cannot read the spool {tmp_path}/no: No such file or directory\n"
    assert list(tmp_path.iterdir()) == []
