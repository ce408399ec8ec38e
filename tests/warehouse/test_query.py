"""Questions: what can be asked, what cannot, and what is left out of the answer."""

from __future__ import annotations

import threading
from datetime import datetime, timezone
from pathlib import Path

import duckdb
import pytest
from stored import Directory, event, identify, track

from millstream import MillstreamError, QueryError, SettingsError
from millstream.warehouse import connect, query


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
        ("", "there are 0 questions"),
        ("create table x as select 1", "there are 0 questions"),
        ("insert into tracks values (1)", "INSERT is no question"),
        ("select 1; select 2", "there are 2 questions"),
    ],
)
def test_what_cannot_be_answered_says_why(stored: Directory, sql: str, says: str) -> None:
    """DuckDB's words, as an error of ours."""
    stored.add(track("Paid", total=1))
    with pytest.raises(QueryError, match=says):
        stored.ask(sql)


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


def test_only_files_of_events_are_read(stored: Directory) -> None:
    """What the collector rejected lies beside them, under other names."""
    stored.add(track("Paid"))
    (stored.path / "rejected.json").write_text('{"type":"track","event":"Paid"}\n')
    (stored.path / "collector.lock").touch()
    assert stored.ask("select count(*) from tracks") == [(1,)]


def test_a_line_that_is_being_written_is_left_out(stored: Directory) -> None:
    """The collector may be in the middle of a line, even of a character, or have reserved room for more."""
    for ending in (b'{"type":"track","event":"Pa', '{"type":"track","event":"ü'.encode()[:-1], b"\0" * 5_000):
        file = stored.add(track("Paid"))
        file.write_bytes(file.read_bytes() + ending)
    with query(stored.path, "select count(*) from tracks") as result:
        assert list(result) == [(3,)]
        assert result.unreadable == 3


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
    from millstream.warehouse import reading

    look = reading._files

    def and_then_it_goes(directory: Path) -> list[str]:
        files = look(directory)
        gone.unlink(missing_ok=True)
        return files

    monkeypatch.setattr(reading, "_files", and_then_it_goes)
    assert stored.ask("select event_text from tracks") == [("Paid",)]


def test_a_file_that_cannot_be_read_is_said(stored: Directory) -> None:
    """A part of the events is not the answer to the question."""
    stored.add(track("Paid"))
    (stored.path / "events-99999999999999999999.jsonl").mkdir()
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


def test_a_connection_of_ones_own(stored: Directory) -> None:
    """In a notebook: DuckDB with all views, on which several questions can be asked."""
    stored.add(track("Paid", total=1), identify("u1", plan="pro"))
    with connect(stored.path) as database:
        assert database.execute("select plan, total from users join paid on users.id = user_id").fetchall() == [
            ("pro", 1)
        ]
        assert ("paid",) in database.execute("show tables").fetchall()
        with pytest.raises(duckdb.PermissionException):
            database.execute("copy paid to 'x.csv'")


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
