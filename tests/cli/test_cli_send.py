"""`millstream send`: what it sends, what it says, and what it exits with."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from millstream.cli.delivery import LAST_CHANCE
from support.api import Api, stall, status
from support.program import PROGRAM, Done, end, start

Program = Callable[..., Done]
TRACK = {"type": "track", "event": "Paid", "userId": "u1"}


def lines(*events: Any) -> str:
    return "".join(f"{json.dumps(event)}\n" for event in events)


@pytest.fixture(autouse=True)
def _where(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLSTREAM_HOST", api.url)
    monkeypatch.setenv("MILLSTREAM_WRITE_KEY", "key")


# -- one event --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["track", "--event", "Paid", "--user-id", "7", "--properties", '{"revenue": 39.95}'],
            {"type": "track", "event": "Paid", "userId": "7", "properties": {"revenue": 39.95}},
        ),
        (
            ["identify", "--user-id", "u", "--traits", '{"plan": "pro"}'],
            {"type": "identify", "userId": "u", "traits": {"plan": "pro"}},
        ),
        (
            ["page", "--name", "Home", "--category", "Docs", "--anonymous-id", "a"],
            {"type": "page", "name": "Home", "anonymousId": "a", "properties": {"category": "Docs"}},
        ),
        (["screen", "--name", "Inbox", "--anonymous-id", "a"], {"type": "screen", "name": "Inbox"}),
        (["group", "--group-id", "56", "--user-id", "u"], {"type": "group", "groupId": "56", "userId": "u"}),
        (["alias", "--user-id", "new", "--previous-id", "old"], {"userId": "new", "previousId": "old"}),
        (
            ["track", "--event", "A", "--user-id", "u", "--timestamp", "2024-02-29", "--message-id", "m-1"],
            {"timestamp": "2024-02-29T00:00:00.000Z", "messageId": "m-1"},
        ),
        (
            ["track", "--event", "A", "--user-id", "u", "--integrations", '{"All": false, "Kafka": true}'],
            {"integrations": {"All": False, "Kafka": True}},
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_each_call_from_options(millstream: Program, api: Api, arguments: list[str], expected: dict[str, Any]) -> None:
    """Every one of the six calls can be made from options, and exits with 0 when it is delivered."""
    done = millstream("send", *arguments)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"Delivered: {arguments[0]}")
    (event,) = api.accepted
    assert expected.items() <= event.items()


def test_the_spelling_of_other_libraries(millstream: Program, api: Api) -> None:
    """Their test harnesses name the type by an option, and everything in camel case."""
    done = millstream(
        "send", "--type", "track", "--writeKey", "K", "--userId", "u", "--anonymousId=a", "--event=E",
        "--properties", '{"a": 1}', "--context", '{"ip": "::1"}', "--integrations", '{"All": true}',
    )  # fmt: skip
    assert done.code == 0
    (event,) = api.accepted
    assert (event["userId"], event["anonymousId"], event["event"], event["properties"]) == ("u", "a", "E", {"a": 1})
    assert event["context"]["ip"] == "::1"
    assert api.requests[0].json["writeKey"] == "K"
    assert millstream("send", "--type=group", "--userId=u", "--groupId=g", "--traits={}").code == 0
    assert millstream("send", "--type=alias", "--userId=u", "--previousId=p").code == 0
    assert [event["type"] for event in api.accepted] == ["track", "group", "alias"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "missing event type: identify, track, page, screen, group, alias, or -"),
        (["trak"], "'trak' is not an event type"),
        (["track", "--type", "page"], "pass one"),
        (["track", "--user-id", "u"], "track needs --event"),
        (["alias", "--user-id", "u"], "alias needs --previous-id"),
        (["track", "--event", "A"], "pass --user-id or --anonymous-id"),
        (["track", "--event", "A", "--user-id", "u", "--traits", "{}"], "--traits: track has no such field"),
        (["track", "--event", "A", "--user-id", "u", "--properties", "{"], "--properties is not JSON"),
        (["track", "--event", "A", "--user-id", "u", "--properties", "[1]"], "--properties must be a JSON object"),
        (["track", "--event", "A", "--user-id", "u", "--timestamp", "noon"], "timestamp must be"),
        (["-", "--event", "A"], "--event: whole events have their own fields"),
        (["track", "--event", "A", "--user-id", "u", "--host", "localhost:1"], "host is 'localhost:1'; it must be"),
        (["track", "--event", "A", "--user-id", "u", "--oauth-client-id", "i"], "--oauth-client-key"),
    ],
)
def test_wrong_usage(millstream: Program, api: Api, arguments: list[str], said: str) -> None:
    """What cannot be asked for is exit code 2, says what is wrong in the words of the options, and sends nothing."""
    done = millstream("send", *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.said
    assert api.requests == []


def test_without_a_key_it_says_where_to_put_one(millstream: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is about options and the environment, not about arguments in Python."""
    monkeypatch.delenv("MILLSTREAM_WRITE_KEY")
    done = millstream("send", "identify", "--user-id", "u")
    assert (done.code, done.out) == (2, "")
    assert done.err == "millstream: no write key: pass --write-key, or set $MILLSTREAM_WRITE_KEY\n"


def test_a_disabled_library_is_no_delivery(millstream: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """With $MILLSTREAM_DISABLE nothing would be sent, and it does not say that something was."""
    monkeypatch.setenv("MILLSTREAM_DISABLE", "1")
    done = millstream("send", "identify", "--user-id", "u")
    assert (done.code, done.out) == (2, "")
    assert "$MILLSTREAM_DISABLE" in done.err


@pytest.mark.parametrize(
    ("answer", "why", "what_to_do"),
    [
        (status(401), "[401]", "check the write key"),
        (status(404), "[404]", "check the host"),
        (status(503), "[503]", "try again later"),
    ],
    ids=str,
)
def test_not_delivered(millstream: Program, api: Api, answer: Any, why: str, what_to_do: str) -> None:
    """An event that does not arrive is exit code 1, with the reason, and what to do about it."""
    api.script(answer)
    done = millstream("send", "identify", "--user-id", "u", "--max-retries", "0")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("millstream: 1 event not delivered: ")
    assert why in done.err
    assert what_to_do in done.err
    assert "Traceback" not in done.err


def test_a_dead_host_and_a_silent_one(millstream: Program, api: Api) -> None:
    """Refused connections are said at once; a server that does not answer is waited for as long as was said."""
    done = millstream("send", "identify", "--user-id", "u", "--host", "http://127.0.0.1:1", "--max-retries", "0")
    assert done.code == 1
    assert "Connection refused" in done.err
    assert "millstream doctor" in done.err
    api.script(stall())
    done = millstream("send", "identify", "--user-id", "u", "--timeout", "0.2")
    assert done.code == 1
    assert "no answer in time" in done.err


def test_an_event_that_is_too_large(millstream: Program, api: Api) -> None:
    """It is not sent, and the field that makes it so large is named."""
    done = millstream("send", "identify", "--user-id", "u", "--traits", json.dumps({"cv": "x" * 40_000}))
    assert (done.code, done.out) == (1, "")
    assert "its largest field is traits" in done.err
    assert api.requests == []


def test_the_result_as_json(millstream: Program, api: Api) -> None:
    """A program reads one object, whether it went well or not."""
    api.script(status(200), status(403, b"go away"))
    went_well = millstream("send", "identify", "--user-id", "u", "--json")
    assert (went_well.code, went_well.json["delivered"], went_well.json["stopped"]) == (0, 1, None)
    refused = millstream("send", "identify", "--user-id", "u", "--json")
    assert (refused.code, refused.err) == (1, "")
    assert (refused.json["delivered"], refused.json["undecided"]) == (0, 1)
    assert "[403]" in refused.json["stopped"]


# -- many events ------------------------------------------------------------------------------------


def test_json_lines(millstream: Program, api: Api) -> None:
    """Lines are sent as they are: ids, times and unknown fields are kept."""
    given = [{**TRACK, "messageId": f"m-{n}", "timestamp": "2024-02-29T10:15:00Z", "extra": n} for n in range(5000)]
    done = millstream("send", "-", stdin=lines(*given))
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("Delivered 5,000 events in ")
    arrived = {event["messageId"]: event for event in api.accepted}
    assert len(arrived) == 5000
    assert all(event.items() <= arrived[event["messageId"]].items() for event in given)


@pytest.mark.parametrize(
    "text",
    [
        lines([TRACK, TRACK], {"batch": [TRACK]}),
        json.dumps([TRACK, TRACK, TRACK], indent=2),
        json.dumps({"batch": [TRACK, TRACK, TRACK], "writeKey": "theirs"}, indent=1),
        "\ufeff" + "\r\n\r\n".join([json.dumps(TRACK)] * 3),
        "\n\n  \n" + json.dumps([TRACK, TRACK, TRACK], indent=2),
        "\n".join([json.dumps(TRACK, indent=2)] * 3),
        "".join([json.dumps(TRACK, indent="\t"), json.dumps([TRACK, TRACK], indent=1), "[\n]\n"]),
    ],
    ids=["lists and batches", "a document", "a batch", "from elsewhere", "after empty lines", "documents", "of jq"],
)
def test_other_forms(millstream: Program, api: Api, text: str) -> None:
    """Lists, batches, indented documents, byte order marks and empty lines are all understood."""
    assert millstream("send", "-", stdin=text).code == 0
    assert [event["event"] for event in api.accepted] == ["Paid"] * 3


def test_bad_lines_do_not_stop_good_ones(millstream: Program, api: Api) -> None:
    """Each bad line is named with what is wrong with it; the others arrive; the exit code is 1."""
    text = lines(TRACK) + "{oops\n" + lines(["no event"], {"type": "track", "userId": "u"}, TRACK, {"type": "x"})
    done = millstream("send", "-", stdin=text)
    assert done.code == 1
    assert done.out.startswith("Delivered 2 events")
    assert len(api.accepted) == 2
    first, *problems = done.err.splitlines()
    assert first == "millstream: 4 events cannot be delivered:"
    assert [problem.split(":")[0] for problem in problems] == ["  line 2", "  line 3", "  line 4", "  line 6"]
    assert "event is needed" in problems[2]


def test_many_bad_lines_are_counted_and_some_are_shown(millstream: Program) -> None:
    """A file that is wrong throughout does not fill the terminal, nor the memory."""
    done = millstream("send", "-", "--json", stdin="nonsense\n" * 500)
    assert (done.code, done.json["invalid"], len(done.json["problems"])) == (1, 500, 20)
    assert millstream("send", "-", stdin="nonsense\n" * 500).err.splitlines()[-1] == "  … and 480 more"


def test_a_document_that_ends_in_the_middle(millstream: Program, api: Api) -> None:
    """Half a document is no events, and that is said."""
    done = millstream("send", "-", stdin=json.dumps([TRACK] * 3, indent=2)[:-20])
    assert (done.code, done.out) == (1, "")
    assert "truncated" in done.err
    assert "Traceback" not in done.err
    assert api.requests == []


def test_documents_with_a_fault(millstream: Program, api: Api) -> None:
    """With --json there is always one object; what is before the fault is sent, and `--skip` counts events."""
    text = "\n".join([json.dumps(TRACK, indent=2)] * 3 + ['{"type":\n nonsense', json.dumps(TRACK, indent=2)])
    done = millstream("send", "-", "--json", stdin=text)
    assert (done.code, done.json["delivered"], done.json["invalid"]) == (1, 3, 1)
    assert done.json["problems"][0]["place"] == "event 4"
    nan = json.dumps({**TRACK, "n": float("nan")}, indent=2)
    done = millstream(
        "send", "-", "--json", "--skip", "2", stdin="\n".join([json.dumps(TRACK, indent=2)] * 3 + [nan] * 2)
    )
    assert (done.json["delivered"], [each["place"] for each in done.json["problems"]]) == (1, ["event 4", "event 5"])
    assert len(api.accepted) == 4
    done = millstream("send", "-", "--json", stdin=b'{"type":\n"\xff"}')
    assert (done.code, done.json["invalid"]) == (1, 1)


def test_a_first_line_that_is_cut_off(millstream: Program, api: Api) -> None:
    """Where whole lines follow, it is one bad line among good ones, and no document."""
    done = millstream("send", "-", "--json", stdin="\n" + json.dumps(TRACK)[:30] + "\n" + lines(TRACK, TRACK))
    assert (done.code, done.json["delivered"]) == (1, 2)
    assert [each["place"] for each in done.json["problems"]] == ["line 2"]


def test_a_document_that_is_too_large(millstream: Program, monkeypatch: pytest.MonkeyPatch, api: Api) -> None:
    """It would all be in memory: it says what to do, in the result."""
    text = json.dumps([{**TRACK, "properties": {"text": "x" * (65 << 20)}}], indent=1)
    done = millstream("send", "-", "--json", stdin=text)
    assert (done.code, done.json["invalid"]) == (1, 1)
    assert "jq -c" in done.json["problems"][0]["error"]
    assert api.accepted == []


def test_an_import_that_is_run_twice(millstream: Program, api: Api) -> None:
    """Events of the past without an id get the same one both times; two equal lines stay two; a present one is new."""
    past = {**TRACK, "timestamp": "2024-02-29T10:15:00Z"}
    for _ in range(2):
        assert millstream("send", "-", "--in-order", stdin=lines(past, past, TRACK)).code == 0
    ids = [event["messageId"] for event in api.accepted]
    assert ids[:2] == ids[3:5]
    assert len(set(ids)) == 4


def test_a_refusal_stops_the_import_and_says_how_to_go_on(millstream: Program, api: Api) -> None:
    """What would be said of every event ends the run; `--skip` sends exactly what has not arrived."""
    given = [{**TRACK, "messageId": f"m-{n}"} for n in range(6000)]
    api.script(status(200), status(401))
    api.always = status(401)
    done = millstream("send", "-", "--in-order", "--json", stdin=lines(*given))
    assert done.code == 1
    result = done.json
    assert "[401]" in result["stopped"]
    assert result["delivered"] == len(api.accepted) > 0
    api.always = status(200)
    again = millstream("send", "-", *result["resume"].split(), stdin=lines(*given))
    assert again.code == 0
    assert sorted(event["messageId"] for event in api.accepted) == sorted(event["messageId"] for event in given)


def test_numbers_arrive_as_they_were_written(millstream: Program, api: Api) -> None:
    """Money is not rounded on its way through."""
    text = '{"type": "track", "event": "Paid", "userId": "u", "properties": {"sum": 12345678901234567890.12}}\n'
    assert millstream("send", "-", stdin=text).code == 0
    assert b"12345678901234567890.12" in api.requests[0].body


def test_the_rate_is_held(millstream: Program, api: Api) -> None:
    """With `--rate` events are handed over one after the other, not all at once."""
    began = time.monotonic()
    assert millstream("send", "-", "--rate", "50", stdin=lines(*[TRACK] * 16)).code == 0
    assert time.monotonic() - began >= 15 / 50
    assert len(api.accepted) == 16


def test_control_characters_do_not_reach_the_terminal(millstream: Program) -> None:
    """An event's text is shown, not obeyed."""
    done = millstream("send", "track", "--event", "\x1b[31mred\x07", "--user-id", "u")
    assert done.out == "Delivered: track \\x1b[31mred\\x07\n"


# -- as a process -----------------------------------------------------------------------------------


@pytest.mark.process
def test_ctrl_c_says_how_far_it_came(api: Api) -> None:
    """An import that is interrupted delivers what is under way, exits with 130, and says how to go on."""
    process = start("send", "-", "--json", stdin=subprocess.PIPE)
    assert process.stdin
    process.stdin.write(lines(*[TRACK] * 20))
    process.stdin.flush()
    api.wait_for_events(15)
    process.send_signal(signal.SIGINT)
    done = end(process)
    assert done.code == 130
    result = done.json
    assert result["interrupted"]
    assert result["resume"] == f"--skip {result['delivered']}"
    assert result["delivered"] == len(api.accepted)


@pytest.mark.process
def test_a_second_ctrl_c_ends_at_once(api: Api) -> None:
    """When the server stalls, the first Ctrl-C waits for it a moment, and the second does not."""
    api.always = stall()
    process = start("send", "-", stdin=subprocess.PIPE)
    assert process.stdin
    assert process.stderr
    process.stdin.write(lines(*[TRACK] * 15))
    process.stdin.flush()
    api.wait_for(1)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert "15 events" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    done = end(process)
    assert time.monotonic() - began < LAST_CHANCE
    assert done.code == 130
    assert "15 events not delivered: interrupted" in done.err
    assert "Traceback" not in done.err


@pytest.mark.process
def test_on_a_terminal_there_is_a_progress_bar(tmp_path: Path) -> None:
    """A long import shows how far it is on a terminal, and nowhere else."""
    file = tmp_path / "events.jsonl"
    file.write_text(lines(*[{**TRACK, "messageId": f"m-{n}"} for n in range(20_000)]))
    ours, theirs = pty.openpty()
    with file.open() as stdin:
        command = [*PROGRAM, "send", "-"]
        process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=theirs, env=os.environ)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:  # how a terminal says that the other end is closed
        pass
    out, _ = process.communicate(timeout=30)
    os.close(ours)
    assert process.returncode == 0
    assert out.startswith(b"Delivered 20,000 events")
    assert b"delivered" in shown
    assert b"\x1b[" not in out
