"""Questions: what can be asked, what cannot, and what is left out of the answer."""

from __future__ import annotations

import json
import os
import threading
from datetime import datetime, timezone
from pathlib import Path

import duckdb
import pytest
from stored import Directory, event, identify, track

from millstream import MillstreamError, QueryError, SettingsError
from millstream.warehouse import connect, export, query
from support.processes import run_script


def test_rows_and_columns(stored: Directory) -> None:
    """An answer has the names and types of its columns, and its rows as Python's values."""
    stored.add(track("Paid", total=1.5), track("Paid", total=2.5), track("Gone"))
    with query(stored.path, "select event, count(*) as n from tracks group by 1 order by 1") as result:
        assert result.columns == [("event", "VARCHAR"), ("n", "BIGINT")]
        assert list(result) == [("gone", 1), ("paid", 2)]
        assert (result.files, result.unreadable) == (1, 0)


def test_a_large_answer_comes_in_pieces(stored: Directory) -> None:
    """All rows come, and more of them than are fetched at once."""
    stored.add(*[track("Paid", n=n) for n in range(2_500)])
    assert sorted(n for (n,) in stored.ask("select n from paid")) == list(range(2_500))


@pytest.mark.parametrize(
    "sql",
    [
        "with paying as (select user_id from paid) select * from paying join users on users.id = user_id",
        "select * from users where id in (select user_id from main.paid)",
        "SELECT * FROM USERS, Paid;",
        "pivot tracks on event",
        "summarize paid",
        "explain select * from paid",
        "select table_name from information_schema.tables where table_name = 'paid'",
        "select properties->>'total' from events where type = 'track' -- with a comment",
        "select now()",
    ],
)
def test_whatever_duckdb_can_be_asked(stored: Directory, sql: str) -> None:
    """Only what a question names is read; where that cannot be seen from outside, all is."""
    stored.add(track("Paid", total=1), identify("u1"))
    assert len(stored.ask(sql)) >= 1


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("selec 1", "syntax error"),
        ("select * from payd", "`show tables` lists the views"),
        ("select totl from paid", "totl"),
        ("select 'x'::integer", "Could not convert"),
        ("", "0 statements"),
        ("create table x as select 1", "0 statements"),
        ("insert into tracks values (1)", "INSERT is not a query"),
        ("select 1; select 2", "2 statements"),
    ],
)
def test_what_cannot_be_answered_says_why(stored: Directory, sql: str, says: str) -> None:
    """DuckDB's words, as an error of ours."""
    stored.add(track("Paid", total=1))
    with pytest.raises(QueryError, match=says):
        stored.ask(sql)


@pytest.mark.parametrize(
    "sql", ["select * from read_csv('{pipe}')", "select * from '{pipe}'", "pivot read_text('{pipe}') on size"]
)
def test_a_question_opens_no_file_while_it_is_looked_at(stored: Directory, tmp_path: Path, sql: str) -> None:
    """Not even to learn which views it names: a pipe that is opened for reading would let its writer through."""
    stored.add(track("Paid"))
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(QueryError):
        stored.ask(sql.format(pipe=tmp_path / "pipe.csv"))
    with pytest.raises(OSError, match="No such device"):  # nobody reads it
        os.open(tmp_path / "pipe.csv", os.O_WRONLY | os.O_NONBLOCK)


@pytest.mark.process
def test_a_url_in_a_question_reaches_nothing(stored: Directory, tmp_path: Path) -> None:
    """No name is resolved, no connection made, no extension fetched, and no directory made for one."""
    stored.add(track("Paid"))
    home = tmp_path / "home"
    home.mkdir()
    script = """
        import sys
        from millstream import QueryError
        from millstream.warehouse import query
        used = []
        sys.addaudithook(lambda name, _: used.append(name) if name.startswith("socket.") else None)
        for sql in ("select * from 'https://files.example/x.parquet'", "select * from read_csv('http://127.0.0.1:9/x')",
                    "select * from read_parquet('s3://bucket/x')"):
            try:
                query(sys.argv[1], sql)
            except QueryError:
                pass
            else:
                raise AssertionError(sql)
        assert not used, used
    """
    run_script(script, str(stored.path), HOME=str(home))
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    "sql",
    [
        "copy paid to '{outside}'",
        "copy (select 1) to '{data}/events-00000000000000000000.jsonl'",
        "select * from read_text('{data}/events-00000000000000000000.jsonl')",
        "select * from '{data}/events-00000000000000000000.jsonl'",
        "attach '{outside}'",
        "export database '{outside}'",
        "install httpfs",
        "load httpfs",
        "set enable_external_access = true",
        "set temp_directory = '{outside}'",
    ],
)
def test_a_query_cannot_touch_files(stored: Directory, tmp_path: Path, sql: str) -> None:
    """Not the collector's, nor any other: whoever may ask may not yet write, nor look around."""
    file = stored.add(track("Paid", total=1))
    before, outside = file.read_bytes(), tmp_path / "outside"
    with pytest.raises(QueryError):
        stored.ask(sql.format(data=stored.path, outside=outside))
    assert file.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_what_would_write_a_file_is_told_of_export(stored: Directory) -> None:
    """The remedy is in the message."""
    with pytest.raises(QueryError, match="millstream export"):
        stored.ask("copy tracks to 'x.csv'")


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    """It is a setting that is wrong, and no empty answer."""
    with pytest.raises(SettingsError, match="nowhere: No such file"):
        query(tmp_path / "nowhere", "select 1 from tracks")


@pytest.mark.parametrize("name", ["it's", "a[b]*c?", "with space", 'say "x"', "größe"])
def test_a_directory_may_have_any_name(tmp_path: Path, name: str) -> None:
    """What means something in SQL, or in a pattern of files, means nothing here."""
    stored = Directory(tmp_path / name)
    stored.add(track("Paid", n=1))
    assert stored.ask("select n from paid") == [(1,)]


def test_only_the_collectors_files_are_read(stored: Directory) -> None:
    """Whatever else lies beside them: what was rejected, an export, a directory, a pipe that nobody writes to."""
    stored.add(track("Paid"))
    line = '{"type":"track","event":"Paid"}\n'
    for name in ("rejected.json", "paid.jsonl", "events.jsonl", "events-0.jsonl", "events-00000000000000000009.jsonl~"):
        (stored.path / name).write_text(line)
    (stored.path / "x.jsonl").mkdir()
    (stored.path / "events-00000000000000000007.jsonl").mkdir()
    os.mkfifo(stored.path / "events-00000000000000000008.jsonl")
    (stored.path / "collector.lock").touch()
    with query(stored.path, "select count(*) from tracks") as result:
        assert (list(result), result.files, result.warnings) == ([(1,)], 1, [])


def test_an_export_into_the_data_directory_doubles_nothing(stored: Directory) -> None:
    """Its lines are no events that the collector has stored."""
    stored.add(track("Paid", n=1))
    export(stored.path, stored.path / "events.jsonl")
    export(stored.path, stored.path, views=["paid"], format="jsonl")
    assert stored.ask("select count(*), sum(n) from paid") == [(1, 1)]


@pytest.mark.parametrize(
    "unfinished", [b'{"type":"track","event":"Pa', '{"type":"track","event":"ü'.encode()[:-1], b"\0" * 5_000, b"{"]
)
def test_a_line_that_is_being_written_is_left_out(stored: Directory, unfinished: bytes) -> None:
    """The collector may be in the middle of the last line of its last file, even of a character, or have room there."""
    stored.add(track("Paid"), b"garbage")
    file = stored.add(track("Paid"), b"garbage", event("page"))
    file.write_bytes(file.read_bytes() + unfinished)
    with query(stored.path, "select count(*) from tracks") as result:
        assert (list(result), result.unreadable) == ([(2,)], 2)


def test_every_other_line_that_cannot_be_read_is_counted(stored: Directory) -> None:
    """One in each of three finished files, with an end or without, and with or without a question about its type."""
    for ending in (b"garbage\n", b'{"type":"track","event":"Pa', b'{"type":null}\n'):
        file = stored.add(track("Paid"))
        file.write_bytes(file.read_bytes() + ending)
    stored.add(track("Paid"))
    for sql in ("select count(*) from tracks", "select count(*) + 4 from users"):
        with query(stored.path, sql) as result:
            assert (list(result), result.unreadable) == ([(4,)], 3)
            assert result.warnings == ["lines that cannot be read, and are left out: 3"]


@pytest.mark.parametrize(
    ("hole", "unreadable"),
    [(b"\0", 0), (b"\0" * (20 << 20), 0), (b"x" * (20 << 20) + b"\n", 1)],
    ids=["\\0", "0s", "xs"],
)
def test_what_is_behind_a_hole_is_found(stored: Directory, hole: bytes, unreadable: int) -> None:
    """A file that was truncated while the collector wrote to it has NULs where its lines were, and lines after them."""
    stored.add(hole + json.dumps(track("Paid", n=1)).encode())
    stored.add(hole + json.dumps(track("Paid", n=2)).encode(), hole)
    with query(stored.path, "select count(*), sum(n) from paid") as result:
        assert list(result) == [(2, 3)]
        assert result.unreadable == 3 * unreadable


@pytest.mark.parametrize("line", [b"{", b"garbage", b"[]", b"5", b"\xff", b'{"type":"track","event":"\\ud800"}', b"{}"])
def test_a_line_that_is_no_event_costs_no_other(stored: Directory, line: bytes) -> None:
    """It is counted, and the others are read."""
    stored.add(track("Paid"), line, track("Paid"))
    with query(stored.path, "select (select count(*) from tracks), (select count(*) from events)") as result:
        assert list(result) == [(2, 2)]
        assert result.unreadable == 1


def test_fields_of_any_kind_do_not_break_the_reading(stored: Directory) -> None:
    """Numbers as ids, objects where texts belong, times that are none."""
    stored.add(
        event(event="Paid", userId=17, timestamp="yesterday", context="here", properties=[1], traits=5),
        event(event="Paid", userId=None, anonymousId={"a": 1}, context=None, properties=None, timestamp=5),
        event("page", name=["x"], properties={"name": {"first": "x"}}),
    )
    assert stored.ask("select user_id, anonymous_id, timestamp from paid order by 1 nulls last") == [
        ("17", None, None),
        (None, '{"a":1}', None),
    ]
    assert stored.ask("select name, name_first from pages") == [('["x"]', "x")]


def test_a_file_that_goes_while_it_is_read(stored: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retention may take a file between the look into the directory and the reading: then it begins anew."""
    gone, _ = stored.add(track("Old")), stored.add(track("Paid"))
    from millstream.warehouse import reader

    look = reader._files

    def and_then_it_goes(directory: Path) -> list[str]:
        files = look(directory)
        gone.unlink(missing_ok=True)
        return files

    monkeypatch.setattr(reader, "_files", and_then_it_goes)
    assert stored.ask("select event_text from tracks") == [("Paid",)]


def test_a_file_that_cannot_be_read_is_said(stored: Directory) -> None:
    """A part of the events is not the answer to the question."""
    stored.add(track("Paid"))
    secret = stored.add(track("Paid"))
    secret.chmod(0)
    if os.access(secret, os.R_OK):
        pytest.skip("root may read anything")
    with pytest.raises(QueryError, match="cannot read the events in"):
        stored.ask("select * from tracks")


def test_a_period(stored: Directory) -> None:
    """From the first moment on, and before the second: by when events were received."""
    stored.add(
        *[event(event="Paid", receivedAt=f"2026-01-0{day}T00:00:00.000Z", properties={"day": day}) for day in (1, 2, 3)]
    )
    second, third = (datetime(2026, 1, day, tzinfo=timezone.utc) for day in (2, 3))
    for period, days in [
        ((second, None), [2, 3]),
        ((None, second), [1]),
        ((second, third), [2]),
        ((third, second), []),
    ]:
        assert [day for (day,) in stored.ask("select user_id from tracks", received=period)] == ["u1"] * len(days)


def test_progress_is_told(stored: Directory) -> None:
    """Whoever waits hears how far the reading is, from 0 to 1, and never backwards."""
    stored.add(*[track("Paid", total=n, text="x" * 300) for n in range(60_000)])
    told: list[float] = []
    with query(stored.path, "select sum(total) from paid", on_progress=told.append) as result:
        assert list(result) == [(sum(range(60_000)),)]
    assert all(0 <= done <= 1 for done in told)
    assert told == sorted(told)


def test_a_connection_of_ones_own(stored: Directory, caplog: pytest.LogCaptureFixture) -> None:
    """In a notebook: a connection with all views, on which several questions can be asked, and tables be made."""
    stored.add(track("Paid", total=1), identify("u1", plan="pro"), b"garbage")
    with connect(stored.path) as database:
        assert database.execute("select plan, total from users join paid on users.id = user_id").fetchall() == [
            ("pro", 1)
        ]
        assert ("paid",) in database.execute("show tables").fetchall()
        database.execute("create table mine as select * from paid")
        for sql in ("copy paid to 'x.csv'", "attach 'x.duckdb'", "install json", "select * from read_csv('x.csv')"):
            with pytest.raises((duckdb.PermissionException, duckdb.InvalidInputException)):
                database.execute(sql)
    assert f"{stored.path}: lines that cannot be read, and are left out: 1" in caplog.text


def test_a_connection_that_may_use_files(stored: Directory, tmp_path: Path) -> None:
    """On request, COPY and ATTACH work; the events are still a copy."""
    stored.add(track("Paid", total=1))
    target = tmp_path / "paid.parquet"
    with connect(stored.path, external_access=True) as database:
        database.execute(f"copy paid to '{target}'")
        assert database.execute(f"select total from '{target}'").fetchall() == [(1,)]
        database.execute(f"attach '{tmp_path}/x.duckdb' as x")
        database.execute("create table x.paid as select * from paid")
        database.execute("set autoinstall_known_extensions = false")  # its configuration is not locked either


def test_several_at_once(stored: Directory) -> None:
    """Each has a snapshot of its own."""
    stored.add(*[track("Paid", n=n) for n in range(500)])
    answers: list[object] = []
    threads = [threading.Thread(target=lambda: answers.append(stored.ask("select sum(n) from paid"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == [[(124_750,)]] * 4


def test_query_error_is_ours() -> None:
    """Whoever catches MillstreamError catches it."""
    assert issubclass(QueryError, MillstreamError)
