"""A collector and its router as processes: killed at the worst moments, reloaded, stopped; nothing is lost."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from routing import assert_in_order, hook, ids, status_of, wait_for_ids, wait_until
from served import Served

from millstream.router import letters_in
from support.api import Answer, Api, Seen, status
from support.processes import environment

pytestmark = [pytest.mark.process, pytest.mark.server]

SOURCES = {"web": {"key": "web-key"}, "app": {"key": "app-key"}}


def router_pid(served: Served, name: str = "a") -> int:
    return status_of(served.data, name).pid


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return b"Z" not in Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[:1]


@pytest.mark.parametrize("after", [1, 15])
@pytest.mark.parametrize("step", ["prepare", "request", "judge"])
def test_a_router_killed_at_any_step_loses_nothing(tmp_path: Path, one: Api, step: str, after: int) -> None:
    """Killed between reading and sending, before the request, and between the answer and its settlement.

    Another one is started; only what was answered and not settled comes again, with the same ids.
    """
    table = {
        "type": "killer:Killer",
        "url": f"{one.url}/in",
        "step": step,
        "mark": str(tmp_path / "killed"),
        "after": after,
        "start": "beginning",
    }
    with Served(tmp_path, {"sources": SOURCES, "destinations": {"a": table}}) as served:
        served.record(range(300))
        counts = wait_for_ids(one, 300)
        wait_until(lambda: status_of(served.data, "a").lag_events == 0)
        counts = wait_for_ids(one, 300)
    assert (tmp_path / "killed").exists()
    assert "the router has ended (SIGKILL); it is started again" in served.errors.read_text()
    assert counts.keys() == {f"m{n}" for n in range(300)}
    assert max(counts.values()) <= 2
    if step == "prepare" and after == 1:
        assert set(counts.values()) == {1}


def test_a_router_killed_again_and_again_under_load_loses_nothing(tmp_path: Path, one: Api) -> None:
    """At random moments, also between the settlement and the cursor: every event arrives."""
    rng = random.Random(11)
    table = hook(one, max_events=20)
    with Served(tmp_path, {"sources": SOURCES, "destinations": {"a": table}}) as served:
        served.record(range(100))
        wait_for_ids(one, 100)
        for round_ in range(6):
            pid = router_pid(served)
            served.record(range(100 + 200 * round_, 300 + 200 * round_))
            seen = len(one.requests)
            wait_until(lambda seen=seen: len(one.requests) > seen + rng.randint(0, 3))
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda pid=pid: router_pid(served) != pid, "another router")
        counts = wait_for_ids(one, 1300)
    assert counts.keys() == {f"m{n}" for n in range(1300)}


def test_the_router_ends_with_its_collector(tmp_path: Path, one: Api) -> None:
    """Also when the collector is killed: two routers would never run at a time, and none is left behind."""
    with Served(tmp_path, {"sources": SOURCES, "destinations": {"a": hook(one)}}) as served:
        served.record(range(10))
        wait_for_ids(one, 10)
        pid = router_pid(served)
        served.kill()
        wait_until(lambda: not is_alive(pid), "the router to end")
        served.start()
        served.record(range(10, 20))
        assert set(wait_for_ids(one, 20).values()) == {1}
        pid = router_pid(served)
    assert not is_alive(pid)
    assert served.process.returncode == 0


def test_a_collector_and_its_router_killed_under_load_lose_nothing_acknowledged(tmp_path: Path, one: Api) -> None:
    """Events that the collector has answered 200 arrive, and only they, however often both are killed."""
    with Served(tmp_path, {"sources": SOURCES, "destinations": {"a": hook(one)}}) as served:
        for round_ in range(3):
            served.record(range(200 * round_, 200 * round_ + 200))
            pid = router_pid(served)
            served.kill()
            os.kill(pid, signal.SIGKILL) if is_alive(pid) else None
            served.start()
        wait_for_ids(one, 600)
    assert set(ids(one)) == {f"m{n}" for n in range(600)}


def test_a_copy_of_the_directory_at_a_random_moment_can_be_started_on(tmp_path: Path, one: Api) -> None:
    """As after a loss of power: what is in the copy is delivered from there, whatever its cursor says."""
    copy = tmp_path / "copy"
    with Served(tmp_path, {"sources": SOURCES, "destinations": {"a": hook(one, max_events=5)}}) as served:
        served.record(range(300))
        one.wait_for(5)
        copy.mkdir()
        shutil.copytree(served.data, copy / "data", ignore=shutil.ignore_patterns("*.new", "collector.lock"))
        wait_for_ids(one, 300)
    stored = {
        line.split(b'"messageId":"')[1].split(b'"')[0].decode()
        for path in (copy / "data").glob("events-*.jsonl")
        for line in path.read_bytes().strip(b"\0").splitlines()
        if line
    }
    with Served(copy, {"sources": SOURCES, "destinations": {"a": hook(one, max_events=5)}}) as again:
        wait_until(lambda: status_of(again.data, "a").pid and status_of(again.data, "a").lag_events == 0)
        again.record(range(300, 310))
        wait_for_ids(one, 310)
    assert stored <= set(ids(one))


def test_a_destination_that_is_stopped_delays_no_other_and_gets_everything(tmp_path: Path, one: Api) -> None:
    """SIGSTOP: connections are accepted by the system, and nothing answers."""
    second = Served(tmp_path / "second", {}) if (tmp_path / "second").mkdir() is None else None
    assert second is not None
    with second:
        table = {
            "type": "tracking_api",
            "write_key": "any",
            "host": second.url,
            "timeout": 1.0,
            "start": "beginning",
        }
        tables = {"sources": SOURCES, "destinations": {"a": hook(one), "stopped": table}}
        with Served(tmp_path, tables) as served:
            second.process.send_signal(signal.SIGSTOP)
            served.record(range(200))
            assert set(wait_for_ids(one, 200, 10).values()) == {1}
            wait_until(lambda: status_of(served.data, "stopped").state == "retrying")
            second.process.send_signal(signal.SIGCONT)
            wait_until(lambda: status_of(served.data, "stopped").counters.delivered == 200)
    text = b"".join(path.read_bytes() for path in second.data.glob("events-*.jsonl"))
    assert {text.count(b'"messageId":"m%d"' % n) for n in range(200)} == {1}


def test_garbage_with_status_200_is_no_delivery(tmp_path: Path, one: Api) -> None:
    """Mixpanel's answers are JSON: anything else is tried again, by a page of a proxy nothing is lost."""
    table = {"type": "mixpanel", "token": "a-token-of-mixpanel", "host": one.url, "start": "beginning"}
    one.script(*(Answer(200, body=b"<html>welcome to the hotel</html>") for _ in range(2)))
    one.always = Answer(200, body=b'{"code":200,"num_records_imported":1,"status":1}')
    with Served(tmp_path, {"sources": SOURCES, "destinations": {"a": table}}) as served:
        served.record(range(20))
        wait_until(lambda: status_of(served.data, "a").counters.delivered == 20)
        assert status_of(served.data, "a").counters.retried >= 1
        assert letters_in(served.data, "a") == []


def test_a_reload_under_load(tmp_path: Path, apis: list[Api]) -> None:
    """`millstream reload` opens a new destination and a new source, and nothing is sent twice."""
    with Served(tmp_path, {"sources": SOURCES, "destinations": {"a": hook(apis[0], max_events=9)}}) as served:
        served.record(range(300))
        more = {"web2": {"key": "new-key"}}
        tables = {
            "sources": {**SOURCES, **more},
            "destinations": {"a": hook(apis[0], max_events=9), "b": hook(apis[1])},
        }
        served.configure(tables)
        done = served.command("reload", "--config", str(served.config))
        assert (done.returncode, done.stdout) == (0, "millstream reload: done\n"), done
        served.record(range(300, 400), key="new-key")
        for each in apis[:2]:
            assert set(wait_for_ids(each, 400).values()) == {1}
            assert_in_order(each)


def test_a_configuration_that_is_wrong_changes_nothing(tmp_path: Path, one: Api) -> None:
    """The collector keeps the old one and says why; the command says so, too, and checks before it asks."""
    with Served(tmp_path, {"sources": SOURCES, "destinations": {"a": hook(one)}}) as served:
        served.configure({"sources": SOURCES, "destinations": {"a": {**hook(one), "ulr": "x"}}})
        done = served.command("reload", "--config", str(served.config))
        assert done.returncode == 2
        assert "destinations.a.ulr: there is no such option; did you mean 'url'?" in done.stderr
        done = served.command("reload")
        assert done.returncode == 1
        assert "kept: " in done.stdout
        served.configure({"port": 1, "sources": SOURCES, "destinations": {"a": hook(one)}})
        done = served.command("reload")
        assert "port cannot be changed while the collector runs: restart it" in done.stdout
        served.record(range(10))
        assert set(wait_for_ids(one, 10).values()) == {1}


def test_dead_letters_are_listed_shown_sent_again_and_exported(tmp_path: Path, one: Api) -> None:
    """The commands, from a refused event to its delivery."""

    def answer(seen: Seen) -> Answer:
        bad = any(each["messageId"] == "m7" for each in seen.events)
        return status(422, b"no sevens") if bad else Answer()

    one.always = answer
    with Served(tmp_path, {"sources": SOURCES, "destinations": {"a": hook(one)}}) as served:
        served.record(range(20))
        wait_until(lambda: letters_in(served.data, "a"))
        wait_for_ids(one, 19)
        (letter,) = letters_in(served.data, "a")
        listed = served.command("deadletters", "list").stdout
        assert "no sevens" in listed
        assert letter.id in listed
        assert '"messageId": "m7"' in served.command("deadletters", "show", "a", "m7").stdout
        assert '"event":{"type":"track"' in served.command("deadletters", "export").stdout
        config = ("--config", str(served.config))
        assert served.command("deadletters", "retry", "a", *config).returncode == 1
        one.always = Answer()
        done = served.command("deadletters", "retry", "a", "m7", *config)
        assert (done.returncode, done.stdout) == (0, "1 of 1 dead letters delivered.\n")
        assert served.command("deadletters", "list").stdout == "There are no dead letters.\n"
        assert served.command("deadletters", "retry", "a", "m7", *config).returncode == 2
    assert set(wait_for_ids(one, 20).values()) == {1}


def test_a_replay_to_a_destination_goes_there_alone(tmp_path: Path, apis: list[Api]) -> None:
    """What was received since a time goes to one destination once more; the route of it and others go on."""
    with Served(tmp_path, {"sources": SOURCES, "destinations": {"a": hook(apis[0]), "b": hook(apis[1])}}) as served:
        served.record(range(50))
        for each in apis[:2]:
            wait_for_ids(each, 50)
        done = served.command("replay", "--to", "a", "--config", str(served.config), "--since", "1h")
        assert (done.returncode, done.stdout.split(" to a")[0]) == (0, "Delivered 50 events"), done
        assert set(wait_for_ids(apis[0], 50).values()) == {2}
        assert set(wait_for_ids(apis[1], 50).values()) == {1}
        done = served.command("replay", "--to", "aa", "--config", str(served.config))
        assert done.returncode == 2
        assert "it has a, b" in done.stderr


def test_check_and_status(tmp_path: Path, one: Api) -> None:
    """A configuration is checked with a test event before anything runs, and the state is shown while it does."""
    served = Served(tmp_path, {"sources": SOURCES, "destinations": {"a": hook(one)}})
    command = [sys.executable, "-m", "millstream", "route", "check", "--config", str(served.config), "--send", "a"]

    def check() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment(), timeout=60)

    done = check()
    assert done.returncode == 0, done
    assert "it has taken the test event" in done.stdout
    assert [each["event"] for each in one.events] == ["Millstream Test"]
    one.script(status(401, b"who are you"))
    done = check()
    assert done.returncode == 1
    assert "[401]" in done.stdout
    with served:
        served.record(range(10))
        wait_until(lambda: status_of(served.data, "a").counters.delivered == 10)
        assert " running " in served.command("route", "status").stdout
        assert '"delivered":10' in served.command("route", "status", "--json").stdout
    assert " stopped " in served.command("route", "status").stdout


def test_sources_have_names_keys_limits_and_origins(tmp_path: Path, one: Api) -> None:
    """A source's events bear its name, and only go to its destinations; other keys and sites are refused."""
    sources = {
        "web": {"key": "web-key", "origins": ["https://shop.example"]},
        "app": {"key": "app-key", "destinations": []},
    }
    with Served(tmp_path, {"sources": sources, "destinations": {"a": hook(one)}}) as served:
        served.record(range(5))
        served.record(range(5, 10), key="app-key")
        assert set(wait_for_ids(one, 5)) == {f"m{n}" for n in range(5)}
        assert {each["sourceId"] for each in one.events} == {"web"}
        wait_until(lambda: status_of(served.data, "a").lag_events == 0)
        assert status_of(served.data, "a").counters.dropped == {"the source app does not go there": 5}
        import urllib3

        def post(key: str, origin: str) -> int:
            body = {"userId": "u", "event": "E", "writeKey": key, "messageId": f"x-{key}-{origin}"}
            answer = urllib3.request("POST", f"{served.url}/v1/track", json=body, headers={"Origin": origin})
            return answer.status

        assert post("web-key", "https://shop.example") == 200
        assert post("web-key", "https://evil.example") == 403
        assert post("other-key", "https://shop.example") == 401
