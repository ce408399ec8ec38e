"""Tools that stand in for HTTP in tests: what they mock of other people's they mock of ours, and then let go of it."""

from __future__ import annotations

from collections import Counter

import pytest
from delivered import EVENTS, Run, assert_arrived, assert_delivered, assert_told, batches

from support.api import Api

CLIENTS = ["Analytics", "AsyncAnalytics"]


@pytest.mark.parametrize("client", CLIENTS)
def test_vcr(api: Api, run: Run, client: str) -> None:
    """A cassette records each request, plays it back without the host, and leaves nothing behind in any client."""
    said = run("vcr_", client)
    for learnt in (said, said["played"], said["after"]):
        assert_told(learnt)
    assert Counter(said["seen"]) == {"/plain": 1, "/v1/batch": said["requests"]}
    assert said["seen_of_another"] == 1
    assert said["played"]["count"] == said["played"]["requests"]
    purchased = [event for event in api.accepted if event["event"] == "Item Purchased"]
    assert_arrived(purchased[:EVENTS])  # recorded: they went through
    assert_arrived(purchased[EVENTS:])  # after it
    others = [event["event"] for event in api.accepted if event["event"] != "Item Purchased"]
    assert others == ["Before", "Within", "After"]


@pytest.mark.parametrize("client", CLIENTS)
def test_responses(api: Api, run: Run, client: str) -> None:
    """A session of requests is mocked; the client's own HTTP library is not."""
    said = run("responses_", client)
    assert_told(said["mocked"])
    assert sorted(said["seen"]) == list(range(EVENTS))
    assert_delivered(api, said)


@pytest.mark.parametrize("client", CLIENTS)
def test_pook(api: Api, run: Run, client: str) -> None:
    """Pook answers our requests where it answers other people's, and the same library goes on without it."""
    said = run("pook_", client)
    assert said["works"] == (client == "Analytics"), "docs/how-to/beside-other-tools.md says otherwise"
    if said["works"]:
        assert_told(said["mocked"])
        assert sorted(said["seen"]) == list(range(EVENTS))
    else:
        assert said["mocked"]["stats"]["failed"] == EVENTS
    assert_delivered(api, said)


@pytest.mark.parametrize("client", CLIENTS)
def test_httpretty(api: Api, run: Run, client: str) -> None:
    """It breaks urllib3 and aiohttp for everybody: events fail, and say whose fault it is; without it they arrive."""
    said = run("httpretty_", client)
    assert not said["works"], "docs/how-to/beside-other-tools.md says otherwise"
    assert said["mocked"]["stats"]["failed"] == EVENTS
    ((reason, count),) = said["mocked"]["errors"].items()
    assert count == EVENTS
    assert "raised in httpretty.core" in reason
    assert_delivered(api, said)
    assert len(batches(api)) == said["requests"]
