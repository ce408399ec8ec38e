"""The page and the numbers of a collector that routes: states, what became of an event, dead letters, alerts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from routing import hook, status_of, wait_for_ids, wait_until
from served import Served

from millstream.router import letters_in
from support.api import Answer, Api, Seen, status

pytestmark = [pytest.mark.process, pytest.mark.server]


@pytest.fixture
def served(tmp_path: Path, apis: list[Api]) -> Iterator[Served]:
    """A collector with two webhooks: one refuses m3, one is down."""

    def answer(seen: Seen) -> Answer:
        bad = any(each["messageId"] == "m3" for each in seen.events)
        return status(422, b"no threes <b>") if bad else Answer()

    apis[0].always = answer
    apis[1].refuse()
    tables = {
        "sources": {"web": {"key": "web-key"}},
        "destinations": {"a": hook(apis[0], secret="a-secret-of-a-webhook"), "down": hook(apis[1])},
    }
    with Served(tmp_path, tables) as made:
        made.record(range(10))
        wait_for_ids(apis[0], 9)
        wait_until(lambda: status_of(made.data, "a").counters.dead == 1)
        wait_until(lambda: status_of(made.data, "down").state == "retrying")
        yield made


def get(served: Served, path: str) -> Any:
    return json.loads(urllib3.request("GET", f"{served.url}{path}").data)


def ids_of_entries(served: Served) -> dict[str, int]:
    """The page's number of each event, by messageId."""
    found = {}
    for number in range(1, 11):
        detail = get(served, f"/debug/events/{number}")
        found[json.loads(detail["json"])["messageId"]] = number
    return found


def test_the_page_tells_what_became_of_each_event(served: Served) -> None:
    """Delivered, pending, or a dead letter and why, at each destination."""
    numbers = ids_of_entries(served)

    def fates(message_id: str) -> dict[str, tuple[str, str]]:
        found = get(served, f"/debug/events/{numbers[message_id]}")["destinations"]
        return {each["destination"]: (each["state"], each["why"]) for each in found}

    wait_until(lambda: fates("m9")["a"][0] == "delivered")
    assert fates("m1")["a"][0] == "delivered"
    assert fates("m3")["a"] == ("dead letter", "[422] the server refused the events (no threes <b>)")
    assert fates("m3")["down"] == ("pending", "")
    states = {each["name"]: each for each in get(served, "/debug/destinations")}
    assert (states["a"]["state"], states["a"]["dead"]) == ("running", 1)
    assert states["down"]["state"] == "retrying"
    assert states["down"]["last_error"]


def test_an_event_is_shown_as_a_destination_gets_it(served: Served) -> None:
    """The preview has the request, and no secret."""
    (request,) = get(served, f"/debug/events/{ids_of_entries(served)['m1']}/a")
    assert request["url"].endswith("/in")
    assert '"messageId":"m1"' in request["body"]
    assert "a-secret-of-a-webhook" not in json.dumps(request)


def test_a_dead_letter_is_sent_again_from_the_page_alone(served: Served, apis: list[Api]) -> None:
    """A POST without our header, or from another site, is refused: it could be forged."""
    (letter,) = get(served, "/debug/deadletters/a")
    assert (letter["messageId"], letter["code"]) == ("m3", "rejected")
    url = f"{served.url}/debug/deadletters/a/{letter['id']}"
    ours = {"X-Millstream-Action": "retry"}
    assert urllib3.request("POST", url).status == 403
    assert urllib3.request("POST", url, headers={**ours, "Origin": "https://evil.example"}).status == 403
    assert urllib3.request("POST", url, headers={**ours, "Sec-Fetch-Site": "cross-site"}).status == 403
    assert len(letters_in(served.data, "a")) == 1
    first = json.loads(urllib3.request("POST", url, headers=ours, timeout=60).data)
    assert not first["delivered"]
    assert "no threes" in first["message"]
    apis[0].always = Answer()
    assert json.loads(urllib3.request("POST", url, headers=ours, timeout=60).data) == {"delivered": True, "message": ""}
    assert letters_in(served.data, "a") == []


def test_metrics_and_readiness(served: Served) -> None:
    """Prometheus gets the numbers of each destination, and `/ready` says that events can be taken."""
    text = urllib3.request("GET", f"{served.url}/metrics").data.decode()
    for sample in (
        'millstream_destination_events_total{destination="a",outcome="delivered"} 9.0',
        'millstream_destination_events_total{destination="a",outcome="dead"} 1.0',
        'millstream_destination_state{destination="down",state="retrying"} 1.0',
        'millstream_destination_lag_events{destination="down"} 10.0',
        'millstream_collector_events_total{outcome="stored"} 10.0',
    ):
        assert sample in text
    assert get(served, "/ready") == {"status": "ready"}


def test_a_message_says_when_a_destination_pauses_and_when_it_is_well(tmp_path: Path, apis: list[Api]) -> None:
    """One message each, to a webhook that Slack's would understand."""
    hooked, alerts, _ = apis
    hooked.always = status(401, b"who are you")
    tables = {"sources": {"web": {"key": "web-key"}}, "destinations": {"a": hook(hooked)}}
    with Served(tmp_path, tables) as served:
        served.config.write_text(f'{served.config.read_text()}\n[alerts]\nurl = "{alerts.url}/alert"\n')
        assert served.command("reload", "--config", str(served.config)).returncode == 0
        served.record(range(10))
        (paused,) = alerts.wait_for(1)
        assert paused.json["text"].startswith("Millstream: a is paused: it refuses what it is sent")
        assert "[401]" in paused.json["text"]
        hooked.always = Answer()
        served.config.write_text(
            served.config.read_text().replace("[alerts]", "\n[alerts]").replace("timeout = 2.0", "timeout = 3.0")
        )
        assert served.command("reload", "--config", str(served.config)).returncode == 0
        wait_for_ids(hooked, 10)
        assert alerts.wait_for(2)[1].json["text"].startswith("Millstream: a is well again")
