"""`millstream query` and `millstream export`: what people and programs read, and the exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import urllib3

pytestmark = pytest.mark.process

MILLSTREAM = [sys.executable, "-m", "millstream"]
NOON = "2026-01-02T12:00:00.000Z"


def run(*arguments: object) -> tuple[int, str, str]:
    done = subprocess.run([*MILLSTREAM, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr


def paid(**properties: Any) -> dict[str, Any]:
    return {
        "type": "track",
        "event": "Paid",
        "messageId": "m1",
        "userId": "u1",
        "timestamp": NOON,
        "receivedAt": NOON,
        "properties": properties,
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "events"
    folder.mkdir()
    events = [paid(total=19.5, items=[1], at="2026-01-02", name="Größe\x1b[31m [red]x[/]"), paid(total=20)]
    (folder / "events-00000000000000000000.jsonl").write_text("".join(json.dumps(each) + "\n" for each in events))
    return folder


def test_an_answer_as_json(data: Path) -> None:
    """A line for each row: times in ISO 8601, JSON as JSON, nothing else on standard output."""
    code, out, err = run(
        "query", "select timestamp, total, items, _at, name from paid order by total", "--data", data, "--json"
    )
    assert (code, err) == (0, "")
    assert [json.loads(line) for line in out.splitlines()] == [
        {
            "timestamp": NOON,
            "total": 19.5,
            "items": [1],
            "_at": "2026-01-02T00:00:00.000Z",
            "name": "Größe\x1b[31m [red]x[/]",
        },
        {"timestamp": NOON, "total": 20.0, "items": None, "_at": None, "name": None},
    ]


def test_values_of_all_kinds_are_json(data: Path) -> None:
    """What JSON has no word for becomes one that it has; two columns of one name are two members."""
    sql = (
        "select 1 a, 2 a, 'nan'::double n, 1.50::decimal(9,2) d, uuid() is not null u, [1, 2] l, "
        "{'x': date '2026-01-02'} s, now() is null t, 12345678901234567890123::hugeint h"
    )
    code, out, _ = run("query", sql, "--data", data, "--json")
    assert code == 0
    assert out == (
        '{"a":1,"a_1":2,"n":null,"d":1.50,"u":true,"l":[1,2],"s":{"x":"2026-01-02"},"t":false,"h":12345678901234567890123}\n'
    )


def test_an_answer_as_a_table(data: Path) -> None:
    """Piped, a table is as wide as it needs to be; what is in events cannot steer a terminal."""
    code, out, err = run("query", "select total, name, timestamp from paid order by 1", "--data", data)
    heading, _, first, second = (line.rstrip() for line in out.splitlines())
    assert heading.split() == ["total", "name", "timestamp"]
    assert first.split("  ")[-2:] == [r" Größe\x1b[31m [red]x[/]", f" {NOON}"]
    assert second.split() == ["20.0", "NULL", NOON]
    assert (code, err) == (0, "2 rows\n")


def on_a_terminal(*arguments: object, columns: int) -> str:
    """What the program writes to a terminal of this width."""
    written: list[bytes] = []
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "LINES": "50", "TERM": "xterm"}
    with subprocess.Popen(
        [*MILLSTREAM, *map(str, arguments)], stdout=follower, stderr=follower, env=environment
    ) as process:
        os.close(follower)
        try:
            while piece := os.read(leader, 65536):
                written.append(piece)
        except OSError:  # Linux's way to say that the other side is closed
            pass
        assert process.wait(60) == 0
    os.close(leader)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", b"".join(written).decode()).replace("\r", "")


def test_on_a_narrow_terminal_values_stand_below_each_other(data: Path) -> None:
    """Nobody can read thirty columns in a hundred characters; where it fits it is a table."""
    shown = on_a_terminal("query", "select * from paid order by total", "--data", data, columns=100)
    assert "── 1 ──" in shown
    assert re.search(r"^total +19\.5$", shown, re.MULTILINE)
    assert re.search(r"^name +Größe\\x1b\[31m \[red\]x\[/\]$", shown, re.MULTILINE)
    assert "2 rows" in shown
    assert "── 1 ──" not in on_a_terminal("query", "select total from paid", "--data", data, columns=100)


def test_a_table_has_an_end(data: Path) -> None:
    """Of a million rows the first thousand are shown, and it says so."""
    code, out, err = run("query", "select * from range(5000)", "--data", data)
    assert (code, len(out.splitlines())) == (0, 1002)
    assert "first 1,000 rows" in err
    assert len(run("query", "select * from range(5000)", "--data", data, "--json")[1].splitlines()) == 5000


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["query", "selec"], 1, "millstream: Parser Error: syntax error"),
        (["query", "select * from payd"], 1, 'Did you mean "paid"'),
        (["query", "copy paid to 'x.csv'"], 1, "COPY is not a query"),
        (
            ["query", "select 1 from tracks", "--data", "nowhere"],
            2,
            "millstream: cannot read events in nowhere: No such",
        ),
        (["export", "--to", "x.csv", "--view", "payd"], 1, "did you mean paid"),
        (["export", "--to", "x.xlsx"], 2, "cannot tell the format"),
        (["export", "--to", "x.csv", "--since", "whenever"], 2, "--since 'whenever' must be a time"),
    ],
)
def test_what_goes_wrong_is_said_and_has_a_code(data: Path, arguments: list[str], code: int, says: str) -> None:
    """1 for an answer that there is not, 2 for what cannot be asked; no traceback, and nothing on standard output."""
    options = [] if "--data" in arguments else ["--data", data]
    found, out, err = run(*arguments, *options)
    assert (found, out) == (code, "")
    assert says in err
    assert "Traceback" not in err


def test_an_empty_store_is_noticed(tmp_path: Path) -> None:
    """It answers, and wonders whether this is the right directory."""
    code, out, err = run("query", "select count(*) as n from tracks", "--data", tmp_path, "--json")
    assert (code, out) == (0, '{"n":0}\n')
    assert f"no events in {tmp_path}" in err


def test_what_is_left_out_is_said(data: Path, tmp_path: Path) -> None:
    """A line that is being written is none of it; one that cannot be read is, and a value that no column shows."""
    file = data / "events-00000000000000000000.jsonl"
    file.write_text(file.read_text() + '{"type"')
    question = ("query", "select count(*) from paid", "--data", data)
    assert run(*question)[2] == "1 row\n"
    file.write_text(file.read_text() + "\n" + json.dumps(paid(orderId=1, order_id=2)) + "\n")
    warnings = (
        f"millstream: warning: {data}: lines that cannot be read, and are left out: 1\n"
        f"millstream: warning: {data}: paid: "
        "values hidden by another of the event in the same column: 1\n"
    )
    assert run(*question)[2] == warnings + "1 row\n"
    assert run("export", "--data", data, "--to", tmp_path / "x.csv", "--view", "paid")[2] == warnings


def test_an_export(data: Path, tmp_path: Path) -> None:
    """It says which files it wrote, in words or as JSON."""
    code, out, err = run("export", "--data", data, "--to", tmp_path / "out", "--format", "jsonl", "--view", "paid")
    assert (code, out, err) == (0, f"           2 rows  {tmp_path}/out/paid.jsonl\n", "")
    code, out, _ = run("export", "--data", data, "--to", tmp_path / "x.parquet", "--since", "2026-01-03", "--json")
    assert (code, json.loads(out)) == (0, [{"view": "events", "path": f"{tmp_path}/x.parquet", "rows": 0}])
    assert run("export", "--data", data, "--to", tmp_path / "x.parquet", "--force")[0] == 0


def test_a_query_while_the_collector_writes(tmp_path: Path) -> None:
    """Every answer has all that was acknowledged before the question, and no half an event."""
    command = [*MILLSTREAM, "serve", "--port", "0", "--data", str(tmp_path)]
    pool = urllib3.PoolManager(retries=False, timeout=20)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as collector:
        try:
            assert collector.stdout
            found = re.search(r"http://[\w.]+:\d+", collector.stdout.readline())
            assert found
            acknowledged, over = [0], threading.Event()

            def send() -> None:
                while not over.is_set():
                    first = acknowledged[0]
                    batch = [{**paid(n=n), "messageId": f"m{n}"} for n in range(first, first + 50)]
                    answer = pool.request("POST", f"{found[0]}/v1/batch", json={"batch": batch, "writeKey": "k"})
                    assert answer.status == 200
                    acknowledged[0] += 50

            sender = threading.Thread(target=send)
            sender.start()
            try:
                for _ in range(4):
                    before = acknowledged[0]
                    code, out, err = run(
                        "query",
                        "select count(*) as n, count(distinct n) as d, max(n) as m from paid",
                        "--data",
                        tmp_path,
                        "--json",
                    )
                    assert (code, err) == (0, "")
                    answer = json.loads(out)
                    assert answer["n"] == answer["d"] == answer["m"] + 1 >= before
            finally:
                over.set()
                sender.join(30)
        finally:
            collector.terminate()
            collector.communicate(timeout=20)
    assert acknowledged[0] > 0


def test_ctrl_c_stops_a_long_query(data: Path) -> None:
    """At once, without a traceback, with the code that shells know."""
    sql = "select count(*) from range(1000000) a, range(1000000) b where a.range + b.range = 7"
    with subprocess.Popen(
        [*MILLSTREAM, "query", sql, "--data", str(data)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)  # it is at work
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err


def test_without_duckdb_it_says_how_to_get_it() -> None:
    """The rest of the command line works without."""
    code = "import sys; sys.modules['duckdb'] = None; from millstream.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "query", "select 1"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "pip install 'millstream[duckdb]'" in done.stderr
    assert done.stderr.count("\n") == 1
