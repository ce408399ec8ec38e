"""Transformations in a real process: what a function may return, raise, or do to it, and what is left of that."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from millstream import SettingsError
from millstream.router.transform import Failed, Outcome, Transformation, Transformed

pytestmark = pytest.mark.process

FUNCTIONS = """
    import os, sys, time

    print("printing is no answer")

    def same(event):
        return event

    def change(event):
        event["properties"]["added"] = True
        event["messageId"] = "another"
        del event["timestamp"]
        return event

    def odd(event):
        what = event["properties"]["do"]
        if what == "raise":
            raise ValueError("no such\\ncurrency")
        if what == "exit":
            sys.exit(3)
        if what == "die":
            os._exit(3)
        if what == "kill":
            os.kill(os.getpid(), 9)
        if what == "hang":
            while True:
                pass
        if what == "sleep":
            time.sleep(3600)
        if what == "allocate":
            bytearray(1 << 34)
        if what == "print":
            print("x" * 100_000)
            os.write(1, b"no frame")
        return event

    seen = 0

    def dies_of_age(event):
        global seen
        seen += 1
        if seen > 3:
            os._exit(1)
        return event

    def returns(event):
        what = event["properties"]["give"]
        return {
            "none": None, "list": [event, {**event, "event": "B"}], "empty": [], "tuple": (event,), "text": "x",
            "nested": [[event]], "typeless": {**event, "type": "x"}, "nameless": {**event, "event": None},
            "large": {**event, "properties": {"blob": "x" * 40_000}}, "many": [event] * 101,
            "odd": {**event, "properties": {"set": {1}}},
        }[what]

    constant = 3

    class Deep:
        @staticmethod
        def same(event):
            return event
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the application's module."""
    folder = tmp_path_factory.mktemp("application")
    (folder / "functions.py").write_text(dedent(FUNCTIONS))
    (folder / "broken.py").write_text("def f(event):\n    return event\n\n1 / 0\n")
    (folder / "leaves.py").write_text("import os\nos._exit(7)\n")
    (folder / "endless.py").write_text("while True:\n    pass\n")
    return folder


Make = Callable[..., Transformation]


@pytest.fixture
def make(folder: Path) -> Iterator[Make]:
    made: list[Transformation] = []

    def make(function: str, **arguments: Any) -> Transformation:
        made.append(Transformation(f"functions:{function}", folder=folder, **arguments))
        return made[-1]

    yield make
    for each in made:
        each.close()


def event(number: int = 1, **properties: Any) -> bytes:
    return json.dumps(
        {"type": "track", "event": "A", "userId": "u", "messageId": f"m-{number}", "properties": properties,
         "timestamp": "2026-11-30T12:00:00.000Z", "context": {}, "integrations": {}, "receivedAt": "kept"}
    ).encode()  # fmt: skip


def made(outcome: Outcome) -> list[Any]:
    assert isinstance(outcome, Transformed), outcome
    return [json.loads(each) for each in outcome.events]


def failed(outcome: Outcome) -> str:
    assert isinstance(outcome, Failed), outcome
    return outcome.reason


def test_events_come_out_in_order(make: Make):
    """As many as went in, however many that are, and what is more than the pipes hold."""
    events = [event(n, filler="x" * 2000) for n in range(500)]
    outcomes = make("same").run(events)
    assert [made(outcome) for outcome in outcomes] == [[json.loads(each)] for each in events]
    assert make("Deep.same").run([]) == []
    assert len(make("Deep.same").run(events[:2])) == 2


def test_an_event_keeps_its_id_and_time(make: Make):
    """Whatever the function does to them: by the id a repetition is recognised."""
    (outcome,) = make("change").run([event(7, a=1)])
    (changed,) = made(outcome)
    assert (changed["messageId"], changed["timestamp"]) == ("m-7", "2026-11-30T12:00:00.000Z")
    assert (changed["properties"], changed["receivedAt"]) == ({"a": 1, "added": True}, "kept")


def test_what_a_function_returns(make: Make):
    """An event, nothing, or a list, whose events are numbered; what cannot be sent has failed, with the field."""
    kinds = ["none", "list", "empty", "tuple"]
    outcomes = make("returns").run([event(give=kind) for kind in kinds])
    assert [[(each["messageId"], each["event"]) for each in made(outcome)] for outcome in outcomes] == [
        [],
        [("m-1:0", "A"), ("m-1:1", "B")],
        [],
        [("m-1:0", "A")],
    ]
    problems = {
        "text": "it returned str: return the event, None, or a list of events",
        "nested": "an event must be a mapping",
        "typeless": "type must be one of",
        "nameless": "event is needed",
        "large": "over the limit of 32,768; its largest field is properties.blob",
        "many": "it returned 101 events: 100 are allowed",
        "missing": "KeyError: 'missing' (functions.py, line",
    }
    for outcome, problem in zip(
        make("returns").run([event(give=kind) for kind in problems]), problems.values(), strict=True
    ):
        assert problem in failed(outcome)


def test_a_long_id_stays_within_the_limit(make: Make):
    """A numbered id that would be over it is a hash, the same every time."""
    data = event(give="list").replace(b"m-1", b"x" * 100)
    first, second = make("returns").run([data]), make("returns").run([data])
    ids = [each["messageId"] for each in made(first[0])]
    assert first == second
    assert len({*ids}) == 2
    assert {len(each) for each in ids} == {64}


def test_an_exception_fails_one_event_and_says_where(make: Make):
    """The last line of the traceback, with file and line; the process goes on."""
    transformation = make("odd")
    outcomes = transformation.run([event(do="no"), event(do="raise"), event(do="exit"), event(do="no")])
    assert failed(outcomes[1]).startswith("ValueError: no such\ncurrency (functions.py, line ")
    assert failed(outcomes[2]).startswith("SystemExit: 3 (functions.py, line ")
    assert isinstance(outcomes[0], Transformed)
    assert isinstance(outcomes[3], Transformed)
    assert transformation.kills == 0


@pytest.mark.parametrize("how", ["hang", "sleep"])
def test_a_hang_is_killed_within_its_deadline(make: Make, how: str):
    """That event alone has failed; those before it are not run again, those behind it are."""
    transformation = make("odd", deadline=0.5)
    transformation.start()
    events = [event(n, do=how if n == 20 else "no") for n in range(40)]
    start = time.monotonic()
    outcomes = transformation.run(events)
    took = time.monotonic() - start
    assert [index for index, outcome in enumerate(outcomes) if isinstance(outcome, Failed)] == [20]
    assert failed(outcomes[20]) == "the transformation took longer than 0.5 s, and was killed"
    assert [made(outcomes[n])[0]["messageId"] for n in (19, 21)] == ["m-19", "m-21"]
    assert transformation.kills == 1
    assert took > 0.5


@pytest.mark.parametrize(("how", "ending"), [("die", "exit code 3"), ("kill", "signal SIGKILL")])
def test_an_event_that_ends_the_process_twice_has_failed(make: Make, how: str, ending: str):
    """The others are run by the processes that follow."""
    outcomes = make("odd").run([event(1, do="no"), event(2, do=how), event(3, do="no")])
    assert failed(outcomes[1]) == f"the process of the transformation ended: {ending}"
    assert [made(outcomes[n])[0]["messageId"] for n in (0, 2)] == ["m-1", "m-3"]


def test_a_process_that_ends_of_what_came_before_fails_no_event(make: Make):
    """An event with which it ended is tried in a fresh one, where it passes."""
    outcomes = make("dies_of_age").run([event(n) for n in range(10)])
    assert [made(outcome)[0]["messageId"] for outcome in outcomes] == [f"m-{n}" for n in range(10)]


@pytest.mark.skipif(not hasattr(os, "fork") or os.uname().sysname != "Linux", reason="macOS bounds no address space")
def test_memory_is_bounded(make: Make):
    """What asks for more than the limit gets a MemoryError."""
    outcomes = make("odd", memory=1 << 30).run([event(do="allocate"), event(do="no")])
    assert failed(outcomes[0]).startswith("MemoryError")
    assert isinstance(outcomes[1], Transformed)


def test_processor_time_is_bounded(make: Make):
    """A process that has used its share is replaced; an event that alone takes more has failed."""
    (outcome,) = make("odd", cpu=1, deadline=30).run([event(do="hang")])
    assert failed(outcome) in {
        f"the process of the transformation ended: signal {name}" for name in ("SIGXCPU", "SIGKILL")
    }


def test_what_a_function_prints_does_not_get_in_the_way(make: Make, capfd: pytest.CaptureFixture[str]):
    """It goes to standard error, from the module and from the function."""
    (outcome,) = make("odd").run([event(do="print")])
    assert isinstance(outcome, Transformed)
    out, err = capfd.readouterr()
    assert out == ""
    assert "printing is no answer" in err


def test_a_process_that_is_killed_between_two_calls_is_started_again(make: Make):
    """By the system, say, when memory is short."""
    transformation = make("same")
    transformation.run([event()])
    assert transformation.pid is not None
    os.kill(transformation.pid, signal.SIGKILL)
    assert [made(outcome)[0]["messageId"] for outcome in transformation.run([event(2)])] == ["m-2"]


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("functions:absent", "AttributeError: functions has no absent"),
        ("functions:constant", "TypeError: constant in functions is no function, but int"),
        ("absent:f", "ModuleNotFoundError: No module named 'absent'"),
        ("broken:f", "ZeroDivisionError: division by zero (broken.py, line 4)"),
        ("leaves:f", "its process ended: exit code 7"),
        ("endless:f", "the module was not imported within 0.5 s"),
    ],
)
def test_a_function_that_cannot_be_loaded_is_refused_at_start(folder: Path, spec: str, problem: str):
    """With the exception and its line, and no process is left behind."""
    timeout = 0.5 if spec == "endless:f" else 30.0
    with pytest.raises(SettingsError) as refusal:
        Transformation(spec, folder=folder, start_timeout=timeout).start()
    assert str(refusal.value) == f"transform {spec!r} cannot be used: {problem}"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"spec": "functions"}, "transform must be written as module:function, got 'functions'"),
        ({"spec": "a:b; c"}, "must be written as module:function"),
        ({"spec": "a:b", "deadline": 0}, "deadline of transform 'a:b' must be over 0, got 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments: Any, problem: str):
    """Before any process is started."""
    with pytest.raises(SettingsError) as refusal:
        Transformation(**arguments)
    assert problem in str(refusal.value)


def test_the_process_ends_with_its_owner(make: Make):
    """Closing ends it; so does the end of the pipe."""
    transformation = make("same")
    with transformation:
        pid = transformation.pid
        assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert transformation.pid is None
