"""What a route does to events before they are sent: transformations, tracking plans, filters, in this order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from routing import event, hook, ids, routed, status_of, wait_for_ids, wait_until, write

from millstream.errors import SettingsError
from millstream.router import Configuration, letters_in
from millstream.router.configuration import check_transformations
from support.api import Api

pytestmark = [pytest.mark.server, pytest.mark.process]

RULES = """
import time

def rules(event):
    number = event["properties"]["n"]
    if number == 1:
        return None
    if number == 2:
        raise ValueError("not two")
    if number == 3:
        time.sleep(60)
    if number == 4:
        return [event, {**event, "event": "Twice"}]
    event["properties"]["email"] = "x@example.org"
    return event
"""
PLAN = {
    "rules": [
        {
            "type": "TRACK",
            "key": "Counted",
            "version": 1,
            "jsonSchema": {
                "type": "object",
                "properties": {"properties": {"type": "object", "properties": {"n": {"type": "integer"}}}},
            },
        }
    ]
}


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api()
    yield made
    made.close()


def configured(folder: Path, table: dict[str, Any]) -> Configuration:
    (folder / "rules.py").write_text(RULES)
    (folder / "plan.json").write_text(json.dumps(PLAN))
    return Configuration.parse({"destinations": {"a": table}}, (), folder)


def test_a_transformation_changes_drops_and_multiplies_and_its_faults_are_dead_letters(
    tmp_path: Path, api: Api
) -> None:
    """An event for which it raises or hangs is a dead letter; the others arrive, and filters see what it made."""
    data = tmp_path / "data"
    write(data, map(event, range(10)))
    table = hook(
        api,
        transform={"function": "rules:rules", "deadline": 0.5},
        filters=[{"if": "all", "drop_properties": {"properties": ["email"]}}],
    )
    with routed(data, configured(tmp_path, table)):
        wait_for_ids(api, 8)
        wait_until(lambda: status_of(data, "a").counters.dead == 2)
        assert status_of(data, "a").counters.dropped == {"its transformation drops it": 1}
    assert set(ids(api)) == {"m0", "m4:0", "m4:1", *(f"m{n}" for n in range(5, 10))}
    assert all("email" not in each["properties"] for seen in api.requests for each in seen.events)
    reasons = {each.message_id: (each.code, each.reason) for each in letters_in(data, "a")}
    assert reasons["m2"][0] == "not_prepared"
    assert "ValueError: not two" in reasons["m2"][1]
    assert "took longer than 0.5 s" in reasons["m3"][1]


def test_a_transformation_that_hangs_delays_no_other_route(tmp_path: Path, api: Api) -> None:
    """While one route waits for its function, another gets its events."""
    other = Api()
    try:
        data = tmp_path / "data"
        write(data, [event(3), *map(event, range(4, 10))])
        configured(tmp_path, hook(api))
        slow = hook(api, transform={"function": "rules:rules", "deadline": 4.0})
        tables = {"destinations": {"slow": slow, "quick": hook(other)}}
        with routed(data, Configuration.parse(tables, (), tmp_path)):
            wait_for_ids(other, 7, 3)
            assert ids(api) == []
            wait_for_ids(api, 7)
    finally:
        other.close()


@pytest.mark.parametrize(
    ("modes", "arrive", "dropped", "dead"),
    [({}, 3, 0, 0), ({"other_violations": "drop"}, 2, 1, 0), ({"other_violations": "block"}, 2, 0, 1)],
)
def test_a_tracking_plan_counts_drops_or_refuses(
    tmp_path: Path, api: Api, modes: dict[str, str], arrive: int, dropped: int, dead: int
) -> None:
    """An event that breaks the plan is counted, and goes on unless the configuration says otherwise."""
    pytest.importorskip("jsonschema_rs")
    data = tmp_path / "data"
    write(data, [event(0), event(1, properties={"n": "one"}), event(2)])
    with routed(data, configured(tmp_path, hook(api, plan={"file": "plan.json", **modes}))):
        wait_for_ids(api, arrive)
        wait_until(lambda: status_of(data, "a").lag_events == 0)
        found = status_of(data, "a")
    assert (found.counters.delivered, sum(found.counters.dropped.values()), found.counters.dead) == (
        arrive,
        dropped,
        dead,
    )
    assert sum(found.violations.values()) == 1


def test_files_that_a_route_names_are_checked_and_change_it(tmp_path: Path, api: Api) -> None:
    """A function that is not there is refused with its place; a changed module or plan is a changed route."""
    pytest.importorskip("jsonschema_rs")
    table = hook(api, transform="rules:rules", plan="plan.json")
    before = configured(tmp_path, table).routes["a"]
    check_transformations([before])
    (tmp_path / "rules.py").write_text("def rules(event): return event")
    assert (
        Configuration.parse({"destinations": {"a": table}}, (), tmp_path).routes["a"].fingerprint != before.fingerprint
    )
    with pytest.raises(SettingsError, match=r"destinations\.a\.transform: .*has no no.other"):
        check_transformations(configured(tmp_path, hook(api, transform="rules:no.other")).routes.values())
    with pytest.raises(SettingsError, match=r"destinations\.a\.transform: .*must be written as module:function"):
        configured(tmp_path, hook(api, transform="rules"))
    with pytest.raises(SettingsError, match=r"destinations\.a\.plan: .*no\.json cannot be read"):
        configured(tmp_path, hook(api, plan="no.json"))
