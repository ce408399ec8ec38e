"""A log to route from, destinations that count, and a router: in this process, or as `millstream route`."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from millstream.router import Configuration, Router, RouteStatus, statuses
from support.api import Api

PATIENCE = 30.0


def event(number: int, **more: Any) -> dict[str, Any]:
    """One stored event. Users have every 7th."""
    return {
        "type": "track",
        "event": "Counted",
        "messageId": f"m{number}",
        "userId": f"user-{number % 7}",
        "timestamp": "2026-05-17T10:00:00.000Z",
        "receivedAt": "2026-05-17T10:00:01.000Z",
        "sourceId": "web",
        "properties": {"n": number},
        "integrations": {},
        **more,
    }


def write(directory: Path, events: Iterable[dict[str, Any]], base: int = 0) -> Path:
    """Append events to the log's segment that begins at `base`."""
    directory.mkdir(exist_ok=True)
    path = directory / f"events-{base:020d}.jsonl"
    with path.open("ab") as file:
        file.writelines(json.dumps(each).encode() + b"\n" for each in events)
    return path


def configuration(**destinations: Api | dict[str, Any]) -> Configuration:
    """A configuration with webhooks, from the beginning unless they say otherwise."""
    tables = {name: hook(each) if isinstance(each, Api) else each for name, each in destinations.items()}
    return Configuration.parse({"destinations": tables}, ("data", "port"))


def hook(api: Api, **more: Any) -> dict[str, Any]:
    """The table of a webhook that posts to this server."""
    return {"type": "webhook", "url": f"{api.url}/in", "start": "beginning", "timeout": 2.0, **more}


def ids(api: Api) -> list[str]:
    """The ids of events in requests that were answered with 2xx, in order."""
    return [each["messageId"] for seen in list(api.requests) if 200 <= seen.status < 300 for each in seen.events]


def wait_until(true: Callable[[], object], what: str = "", patience: float = PATIENCE) -> None:
    """Wait until something is true, or fail."""
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline, f"waited {patience:g} s for {what or true}"
        time.sleep(0.01)


def wait_for_ids(api: Api, count: int, patience: float = PATIENCE) -> Counter[str]:
    """Wait until so many different events have been taken. Returns how often each was."""
    wait_until(lambda: len(set(ids(api))) >= count, f"{count} events; {len(set(ids(api)))} came", patience)
    return Counter(ids(api))


def assert_in_order(api: Api) -> None:
    """Fail if the events of a user were taken in another order than they are stored in."""
    numbers = defaultdict(list)
    for seen in list(api.requests):
        if 200 <= seen.status < 300:
            for each in seen.events:
                numbers[each["userId"]].append(each["properties"]["n"])
    for user, those in numbers.items():
        assert those == sorted(those), f"{user}: {those}"


@contextmanager
def routed(directory: Path, wanted: Configuration) -> Generator[Router, None, None]:
    """A router in a thread of this process."""
    router = Router(directory)
    router.apply(wanted.routes.values())
    thread = threading.Thread(target=router.run, name="router", daemon=True)
    thread.start()
    try:
        yield router
    finally:
        router.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def status_of(directory: Path, name: str) -> RouteStatus:
    """The state of a route, once there is one."""
    wait_until(lambda: any(each.name == name for each in statuses(directory, time.time())), f"a status of {name}")
    return next(each for each in statuses(directory, time.time()) if each.name == name)
