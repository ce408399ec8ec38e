"""A spool that others write into, or that other processes clear up at the same time: no start is without a disk."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from millstream import Analytics, SpoolError
from millstream.spool import Spool
from millstream.spool.inspect import events, lanes
from millstream.spool.spool import source_of
from support.api import Api
from support.processes import run_script, start_script, until_ready


def event(number: int) -> bytes:
    return json.dumps({"type": "track", "messageId": str(number), "event": "A"}).encode()


@pytest.fixture
def told() -> list[SpoolError]:
    """What was reported."""
    return []


@pytest.fixture
def open_spool(tmp_path: Path, told: list[SpoolError]) -> Callable[[], Spool]:
    def make() -> Spool:
        directory = tmp_path / "spool"
        return Spool(directory, source=source_of("key"), max_bytes=1 << 30, sync=None, report=told.append)

    return make


def leave(spool: Spool, *numbers: int) -> Path:
    """Write events down as a process does that is then killed. Returns the lane."""
    for number in numbers:
        assert spool.append(event(number)) is not None
    spool.orphan()
    assert spool._lane is not None
    return spool._lane.directory


def in_quarantine(spool: Path) -> list[str]:
    return sorted(path.name for path in (spool / "quarantine").iterdir())


# -- other processes -----------------------------------------------------------------------------------


@pytest.mark.process
def test_a_lane_that_another_process_deletes_keeps_no_start_from_its_disk(
    tmp_path: Path, open_spool: Callable[[], Spool], told: list[SpoolError]
) -> None:
    """One process makes lanes and deletes them without a pause; of 360 starts of another, each writes to the disk."""
    other = start_script(
        """
        import os, sys
        from pathlib import Path
        from millstream.spool import Spool
        print("ready", flush=True)
        parent = os.getppid()
        while os.getppid() == parent:
            spool = Spool(Path(sys.argv[1]), source=sys.argv[2], max_bytes=1 << 30, sync=None, report=print)
            place = spool.append(b'{"type":"track","messageId":"1"}')
            spool.settle([place])
            spool.release()
        """,
        os.fspath(tmp_path / "spool"),
        source_of("key"),
    )
    try:
        until_ready(other)
        for number in range(360):
            spool = open_spool()
            assert list(spool.adopt()) == []
            place = spool.append(event(number))
            assert (spool.state, told) == ("on", [])
            assert place is not None
            spool.settle([place])
            spool.release()
        assert other.poll() is None
    finally:
        other.kill()
        other.communicate()


# -- what is no regular file ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pipe", "link", "directory", "socket"])
@pytest.mark.parametrize("name", [f"{500:020d}.jsonl", f"{0:020d}.done", "owner.json"])
def test_what_is_no_file_is_moved_to_quarantine(
    tmp_path: Path,
    client: Callable[..., Analytics],
    open_spool: Callable[[], Spool],
    api: Api,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    name: str,
) -> None:
    """A pipe that would be waited for, or a link that would be written through, in the place of any of a lane's files:
    the lane's events are delivered, and it lies in `quarantine/` afterwards."""
    spool = tmp_path / "spool"
    lane = leave(open_spool(), 1, 2)
    (lane / name).unlink(missing_ok=True)
    (tmp_path / "precious").write_text("precious")
    if kind == "pipe":
        os.mkfifo(lane / name)
    elif kind == "link":
        (lane / name).symlink_to(tmp_path / "precious")
    elif kind == "directory":
        (lane / name).mkdir()
    else:
        monkeypatch.chdir(lane)  # a socket's path is short
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(name)
    reasons: list[str] = []
    analytics = client(spool=spool, flush_interval=900)
    analytics.on("error", lambda error: reasons.append(str(error.reason)))
    assert analytics.flush(timeout=20).delivered == 2
    assert analytics.stats().corrupt == 1
    assert analytics.close_and_flush(timeout=20).pending == 0
    assert [sent["messageId"] for sent in api.accepted] == ["1", "2"]
    assert in_quarantine(spool) == [f"{lane.name}-{name}"]
    assert not lane.exists()
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_link_to_a_directory_is_no_lane(
    tmp_path: Path, open_spool: Callable[[], Spool], told: list[SpoolError]
) -> None:
    """What it leads to is neither delivered nor deleted."""
    elsewhere = tmp_path / "elsewhere"
    leave(open_spool(), 1).rename(elsewhere)
    lane, half_made, other = (tmp_path / "spool" / f"{prefix}{source_of('key')}-1" for prefix in ("", ".", "x"))
    lane.symlink_to(elsewhere)
    half_made.symlink_to(elsewhere)
    other.write_bytes(b"no lane")
    before = sorted(path.name for path in elsewhere.iterdir())
    os.utime(elsewhere, (0, 0))  # as old as a lane that was half made
    spool = open_spool()
    assert list(spool.adopt()) == []
    spool.release()
    assert sorted(path.name for path in elsewhere.iterdir()) == before
    assert in_quarantine(tmp_path / "spool") == sorted([lane.name, half_made.name])
    assert other.exists()
    assert all("is not a regular file, and is in quarantine" in str(error) for error in told)


def test_two_strangers_of_one_name_are_both_kept(tmp_path: Path, open_spool: Callable[[], Spool]) -> None:
    """What is moved to quarantine replaces nothing that is there."""
    for content in (b"first", b"second"):
        stranger = tmp_path / "spool" / f"{source_of('key')}-1"
        stranger.parent.mkdir(exist_ok=True)
        stranger.write_bytes(content)
        assert list(open_spool().adopt()) == []
    kept = [path.read_bytes() for path in (tmp_path / "spool" / "quarantine").iterdir()]
    assert sorted(kept) == [b"first", b"second"]


def test_a_look_from_outside_waits_for_no_pipe(tmp_path: Path, open_spool: Callable[[], Spool]) -> None:
    """`millstream spool` passes over what is no file, and shows the rest."""
    lane = leave(open_spool(), 1)
    (lane / "owner.json").unlink()
    for name in ("owner.json", f"{0:020d}.done", f"{500:020d}.jsonl"):
        os.mkfifo(lane / name)
    (found,) = lanes(tmp_path / "spool")
    assert (found.events, found.corrupt, found.owner, found.alive) == (1, 1, None, False)
    assert list(events(tmp_path / "spool")) == [event(1)]


@pytest.mark.parametrize("owner", [b"[" * 100_000, b'{"format":1,"x":' + b"[" * 50_000, b'"' + b"x" * (1 << 17) + b'"'])
def test_an_owner_that_cannot_be_read_costs_no_event(
    open_spool: Callable[[], Spool], told: list[SpoolError], owner: bytes
) -> None:
    """Nested deeper than any parser goes, or longer than any of ours: it is only for people to read."""
    lane = leave(open_spool(), 1)
    (lane / "owner.json").write_bytes(owner)
    assert [stretch.count for stretch in open_spool().adopt()] == [1]
    assert told == []


# -- what is in quarantine ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_nothing_is_written_through_a_name_in_quarantine(
    tmp_path: Path, open_spool: Callable[[], Spool], told: list[SpoolError], kind: str
) -> None:
    """A link or a pipe of the name that a damaged piece gets is renamed, and the piece is in a file of its own."""
    lane = leave(open_spool(), 1)
    (lane / f"{0:020d}.jsonl").write_bytes(b"damaged\n")
    name = f"{lane.name}-{0:020d}.bin"
    quarantine = tmp_path / "spool" / "quarantine"
    quarantine.mkdir()
    (tmp_path / "precious").write_text("precious")
    if kind == "link":
        (quarantine / name).symlink_to(tmp_path / "precious")
    else:
        os.mkfifo(quarantine / name)
    assert list(open_spool().adopt()) == []
    assert (tmp_path / "precious").read_text() == "precious"
    assert (quarantine / name).read_bytes() == b"damaged\n"
    assert len(in_quarantine(quarantine.parent)) == 2
    assert ["are in quarantine" in str(error) for error in told] == [True]


def test_nothing_is_written_where_quarantine_leads(
    tmp_path: Path, open_spool: Callable[[], Spool], told: list[SpoolError]
) -> None:
    """If `quarantine` itself is a link, the damaged piece stays in its segment, and that is reported."""
    lane = leave(open_spool(), 1)
    (lane / f"{0:020d}.jsonl").write_bytes(b"damaged\n")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "spool" / "quarantine").symlink_to(tmp_path / "elsewhere")
    assert list(open_spool().adopt()) == []
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert (lane / f"{0:020d}.jsonl").read_bytes() == b"damaged\n"
    assert ["cannot be put in quarantine" in str(error) for error in told] == [True]


# -- rights ---------------------------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.parametrize("umask", ["000", "022", "077"])
def test_rights_are_fixed_whatever_the_umask(tmp_path: Path, umask: str) -> None:
    """Events are for their owner and his group: directories 0750 or stricter, those above the spool too; files 0640."""
    (tmp_path / "app").mkdir()
    run_script(
        """
        import os, sys
        from pathlib import Path
        from millstream.spool import Spool
        os.umask(int(sys.argv[2], 8))

        def spool():
            return Spool(Path(sys.argv[1]), source="source", max_bytes=1 << 30, sync=None, report=lambda error: None)

        first = spool()
        places = [first.append(b'{"type":"track","messageId":"%d"}' % number) for number in range(3)]
        first.settle(places[:1])
        first.append(b"damaged")
        first.orphan()
        second = spool()
        assert sum(stretch.count for stretch in second.adopt()) == 2
        second.append(b'{"type":"track","messageId":"4"}')
        second.orphan()
        """,
        os.fspath(tmp_path / "app" / "var" / "spool"),
        umask,
    )
    found = {path: stat.S_IMODE(path.lstat().st_mode) for path in (tmp_path / "app").rglob("*")}
    assert {path.suffix for path in found} == {"", ".json", ".jsonl", ".done", ".bin"}
    assert {path: oct(mode) for path, mode in found.items() if path.is_dir() and mode & ~0o750} == {}
    assert {path: oct(mode) for path, mode in found.items() if not path.is_dir() and mode != 0o640} == {}
