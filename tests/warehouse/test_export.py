"""Views as files."""

from __future__ import annotations

import csv
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from stored import Directory, event, identify, track

from millstream import QueryError, SettingsError
from millstream.warehouse import export


@pytest.fixture
def filled(stored: Directory) -> Directory:
    stored.add(track("Paid", total=1.5, items=[{"sku": "a"}]), track("Paid", total=2), identify("u1", plan="pro"))
    return stored


def read(path: Path, sql: str = "select * from '{path}'") -> list[tuple[Any, ...]]:
    with duckdb.connect() as database:
        return database.execute(sql.format(path=path)).fetchall()


def test_a_view_as_parquet(filled: Directory, tmp_path: Path) -> None:
    """Names, types and values are the view's."""
    target = tmp_path / "paid.parquet"
    (done,) = export(filled.path, target, views=["paid"])
    assert (done.view, done.path, done.rows) == ("paid", target, 2)
    assert read(target, "select total, items, typeof(timestamp) from '{path}' order by 1") == [
        (1.5, '[{"sku":"a"}]', "TIMESTAMP"),
        (2.0, None, "TIMESTAMP"),
    ]


def test_a_view_as_csv_and_as_json_lines(filled: Directory, tmp_path: Path) -> None:
    """Times are ISO 8601 with their Z, and JSON stays JSON."""
    export(filled.path, tmp_path / "paid.csv", views=["paid"])
    with (tmp_path / "paid.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["total"] for row in rows] == ["1.5", "2.0"]
    assert rows[0]["timestamp"] == "2026-01-02T12:00:00.000000Z"
    export(filled.path, tmp_path / "paid.jsonl", views=["paid"])
    lines = [json.loads(line) for line in (tmp_path / "paid.jsonl").read_text().splitlines()]
    assert [line["items"] for line in lines] == [[{"sku": "a"}], None]
    assert lines[0]["timestamp"] == "2026-01-02T12:00:00.000000Z"


def test_a_file_without_a_view_gets_all_events(filled: Directory, tmp_path: Path) -> None:
    """One file, everything in it."""
    (done,) = export(filled.path, tmp_path / "all.parquet")
    assert (done.view, done.rows) == ("events", 3)


def test_a_directory_gets_what_is_not_empty(filled: Directory, tmp_path: Path) -> None:
    """A file for each view, in Parquet unless something else is asked for."""
    done = export(filled.path, tmp_path / "out")
    names = ["events", "tracks", "identifies", "users", "paid"]
    assert [one.view for one in done] == names
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(f"{name}.parquet" for name in names)
    export(filled.path, tmp_path / "out", format="csv", views=["users"])
    assert (tmp_path / "out" / "users.csv").exists()


def test_nothing_to_export(stored: Directory, tmp_path: Path) -> None:
    """An empty store has no files to give; one view of it, asked for by name, is a file without rows."""
    assert export(stored.path, tmp_path / "out") == []
    assert export(stored.path, tmp_path / "tracks.csv", views=["tracks"])[0].rows == 0
    assert (tmp_path / "tracks.csv").read_text().startswith("id,timestamp,")


def test_a_period(stored: Directory, tmp_path: Path) -> None:
    """By when events were received: what comes late, of times long gone, is in the next export."""
    stored.add(*[event(event="Paid", receivedAt=f"2026-01-0{day}T00:00:00.000Z") for day in (1, 2, 3)])
    second = datetime.fromisoformat("2026-01-02T00:00:00+00:00")
    assert export(stored.path, tmp_path / "a.csv", received=(second, None))[0].rows == 2
    assert export(stored.path, tmp_path / "b.csv", received=(None, second))[0].rows == 1


def test_a_file_that_exists_is_kept(filled: Directory, tmp_path: Path) -> None:
    """Unless it is said that it may be replaced."""
    target = tmp_path / "paid.csv"
    target.write_text("mine")
    with pytest.raises(SettingsError, match="exists already"):
        export(filled.path, target, views=["paid"])
    assert target.read_text() == "mine"
    export(filled.path, target, views=["paid"], replace=True)
    assert target.read_text().startswith("id,")


@pytest.mark.parametrize(
    ("to", "options", "error", "says"),
    [
        ("x.csv", {"views": ["payd"]}, QueryError, "no view payd: did you mean paid"),
        ("x.csv", {"views": ["zzz"]}, QueryError, "show tables"),
        ("x.csv", {"views": ["paid", "users"]}, SettingsError, "x.csv is a file"),
        ("x.xlsx", {}, SettingsError, "cannot tell the format of .*x.xlsx"),
        ("data/events-00000000000000000000.jsonl/x.csv", {}, SettingsError, "cannot write to"),
    ],
)
def test_what_cannot_be_exported_says_why(
    filled: Directory, tmp_path: Path, to: str, options: Any, error: type[Exception], says: str
) -> None:
    """And nothing is left behind."""
    with pytest.raises(error, match=says):
        export(filled.path, tmp_path / to, **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_half_a_file_is_none(filled: Directory, tmp_path: Path) -> None:
    """When a write fails, the file that was there is there, and no other."""
    target = tmp_path / "out"
    export(filled.path, target, views=["paid"])
    before = (target / "paid.parquet").read_bytes()
    target.chmod(0o500)
    try:
        if not _may_write_all_the_same(target):
            with pytest.raises((QueryError, SettingsError)):
                export(filled.path, target, views=["paid"], replace=True)
    finally:
        target.chmod(0o700)
    assert [path.name for path in target.iterdir()] == ["paid.parquet"]
    assert (target / "paid.parquet").read_bytes() == before


def _may_write_all_the_same(folder: Path) -> bool:
    """Root may do anything."""
    try:
        (folder / "probe").touch()
    except OSError:
        return False
    (folder / "probe").unlink()
    return True
