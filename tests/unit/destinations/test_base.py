"""An event as a destination gets it."""

from __future__ import annotations

from millstream.destinations import Destination, Event, TrackingAPI


def test_an_event_is_decoded_once_and_copied_each_time() -> None:
    """`whole` is shared by all who look; what a destination changes in a `copy` is its own."""
    event = Event(b'{"type":"track","properties":{"a":1},"integrations":{"Mine":{"x":1}}}')
    mine = event.copy()
    mine["properties"]["a"] = 2
    assert event.whole is event.whole
    assert event.whole["properties"] == event.copy()["properties"] == {"a": 1}
    assert event.integrations == {"Mine": {"x": 1}}


def test_an_event_without_integrations_has_none() -> None:
    """Most events say nothing of where they go."""
    assert Event(b'{"type":"track"}').integrations == {}


def test_a_destination_is_known_by_what_it_can_do() -> None:
    """Any class with the methods and attributes is one; a plugin is none."""

    class Half:
        name = "Half"

        def prepare(self) -> None: ...

    assert isinstance(TrackingAPI("key"), Destination)
    assert not isinstance(Half(), Destination)
