"""The errors: drawn as they are, survivors of pickle and copy, and each within reach."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
import sys
from collections.abc import Callable

import pytest

from millstream import Analytics, ErrorEvent, Plugin, Urllib3Client, errors, warehouse
from millstream.errors import (
    Abandoned,
    AuthError,
    ClientClosed,
    DeliveryError,
    DropEvent,
    Dropped,
    EventTooLarge,
    Fenced,
    InvalidEvent,
    MillstreamError,
    MissingExtra,
    PluginError,
    QueryError,
    QueueFull,
    RateLimitExpired,
    Rejected,
    RetriesExhausted,
    SettingsError,
    SpoolError,
    TransportError,
)
from millstream.log import Cursor, MemoryCursorStore
from millstream.settings import OAuthSettings
from millstream.types import Request
from support.api import Api, drop, stall, status

Make = Callable[..., Analytics]
CLASSES = {name: getattr(errors, name) for name in errors.__all__}

SAMPLES: dict[str, BaseException] = {
    "MillstreamError": MillstreamError("what happened"),
    "SettingsError": SettingsError("flush_at is 0"),
    "InvalidEvent": InvalidEvent("user_id is needed"),
    "MissingExtra": MissingExtra("OAuth", "oauth"),
    "QueryError": QueryError("2 statements: pass one at a time"),
    "Fenced": Fenced("another router has moved the cursor of crm"),
    "SpoolError": SpoolError("events are in memory alone: No space left on device"),
    "DeliveryError": DeliveryError("did not arrive"),
    "EventTooLarge": EventTooLarge(40_000, 32_768, "properties.html"),
    "Rejected": Rejected(401, b"no", "check the write key"),
    "RetriesExhausted": RetriesExhausted(4, Rejected(503, b"busy")),
    "RateLimitExpired": RateLimitExpired(3, 43_200.0),
    "QueueFull": QueueFull("max_queue_events=10"),
    "Abandoned": Abandoned(spooled=True),
    "ClientClosed": ClientClosed(),
    "Dropped": Dropped("by a plugin"),
    "PluginError": PluginError("Lowercase", "it raised"),
    "AuthError": AuthError("no token"),
    "TransportError": TransportError("refused"),
    "DropEvent": DropEvent("not wanted"),
}


def test_the_drawing_is_the_tree() -> None:
    """The tree in the module's docstring has exactly the classes that there are, under their real parents."""
    drawn = _drawn(errors.__doc__ or "")
    assert {name for name, _, _ in drawn} == set(CLASSES)
    for name, parent, also in drawn:
        bases = {base.__name__ for base in CLASSES[name].__bases__}
        assert {parent, also} - {None} <= bases, f"{name} is drawn under {parent} ({also}), but is {bases}"


def test_all_errors_are_exported() -> None:
    """Each error that Millstream raises can be imported from `millstream`, and is Millstream's."""
    import millstream

    for name, cls in CLASSES.items():
        if issubclass(cls, MillstreamError):
            assert getattr(millstream, name) is cls


def test_there_is_a_sample_of_each() -> None:
    """No error is forgotten below."""
    assert set(SAMPLES) == set(CLASSES)


@pytest.mark.parametrize("name", sorted(CLASSES))
@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, *[lambda e, p=p: pickle.loads(pickle.dumps(e, p)) for p in (2, 5)]],
    ids=["copy", "deepcopy", "pickle 2", "pickle 5"],
)
def test_an_error_survives(name: str, again: Callable[[BaseException], BaseException]) -> None:
    """Pickled or copied, an error is of the same kind, says the same and has the same fields."""
    error = SAMPLES[name]
    second = again(error)
    assert type(second) is type(error)
    assert str(second) == str(error)
    assert _fields(second) == _fields(error)


def test_messages_say_what_happened() -> None:
    """Each message is a text that one can read, with the numbers that matter in it."""
    for name, error in SAMPLES.items():
        assert str(error), name
    assert "pip install 'millstream[oauth]'" in str(SAMPLES["MissingExtra"])
    assert "7,232 over the limit of 32,768" in str(SAMPLES["EventTooLarge"])
    assert "[503]" in str(SAMPLES["RetriesExhausted"])


# -- each error can be met ------------------------------------------------------------------------------

Meeting = Callable[[Api, Make], object]
MEETINGS: dict[str, Meeting] = {}
ROOTS = {"MillstreamError", "DeliveryError"}


def meets(cls: type[BaseException]) -> Callable[[Meeting], Meeting]:
    def remember(meeting: Meeting) -> Meeting:
        MEETINGS[cls.__name__] = meeting
        return meeting

    return remember


@pytest.mark.parametrize("name", sorted(set(CLASSES) - ROOTS - {"DropEvent"}))
def test_each_error_can_be_met(api: Api, client: Make, name: str) -> None:
    """There is a way to get each documented error, and this is it."""
    with pytest.raises(CLASSES[name]) as caught:
        MEETINGS[name](api, client)
    error = caught.value
    assert type(error) is CLASSES[name] or name == "TransportError"


def test_no_gap_is_forgotten() -> None:
    """What cannot be met yet is listed with its reason, and nothing is in both lists."""
    assert set(MEETINGS) | ROOTS | {"DropEvent"} == set(CLASSES)


@meets(SettingsError)
def _(api: Api, client: Make) -> object:
    return client(flush_at=0)


@meets(InvalidEvent)
def _(api: Api, client: Make) -> object:
    return client().track("A")


@meets(EventTooLarge)
def _(api: Api, client: Make) -> object:
    return client().track("A", user_id="u", properties={"t": "x" * 40_000}).wait(timeout=10)


@meets(Rejected)
def _(api: Api, client: Make) -> object:
    api.always = status(400)
    return client().track("A", user_id="u").wait(timeout=10)


@meets(RetriesExhausted)
def _(api: Api, client: Make) -> object:
    api.always = status(503)
    return client().track("A", user_id="u").wait(timeout=10)


@meets(RateLimitExpired)
def _(api: Api, client: Make) -> object:
    api.always = status(429, retry_after=60)
    return client(max_rate_limit_duration=0.1).track("A", user_id="u").wait(timeout=10)


@meets(QueueFull)
def _(api: Api, client: Make) -> object:
    analytics = client(max_queue_events=1, flush_interval=300.0)
    analytics.track("A", user_id="u")
    return analytics.track("B", user_id="u").wait(timeout=10)


@meets(Abandoned)
def _(api: Api, client: Make) -> object:
    api.always = stall()
    analytics = client(flush_at=1)
    receipt = analytics.track("A", user_id="u")
    analytics.close(timeout=0.1)
    return receipt.wait(timeout=10)


@meets(ClientClosed)
def _(api: Api, client: Make) -> object:
    analytics = client()
    analytics.close(timeout=10)
    return analytics.track("A", user_id="u").wait(timeout=10)


@meets(Dropped)
def _(api: Api, client: Make) -> object:
    class Censor(Plugin):
        type = "before"

        def track(self, ctx: object) -> object:
            raise DropEvent("not wanted")

    analytics = client()
    analytics.register(Censor())
    return analytics.track("A", user_id="u").wait(timeout=10)


@meets(PluginError)
def _(api: Api, client: Make) -> object:
    class Broken(Plugin):
        type = "before"

        def track(self, ctx: object) -> object:
            raise ValueError("mine")

    analytics = client()
    analytics.register(Broken())
    return analytics.track("A", user_id="u").wait(timeout=10)


@meets(AuthError)
def _(api: Api, client: Make) -> object:
    api.always = status(400)
    oauth = OAuthSettings("id", key_id="kid", auth_server=api.url, signer=lambda _: b"signed", algorithm="RS256")
    return client(oauth_settings=oauth).track("A", user_id="u").wait(timeout=10)


@meets(MissingExtra)
def _(api: Api, client: Make) -> object:
    oauth = OAuthSettings("id", key_id="kid", client_key="-----BEGIN PRIVATE KEY-----")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("jwt", "jwt.algorithms"):  # as if the extra were not installed
            patch.setitem(sys.modules, name, None)
        return client(oauth_settings=oauth)


@meets(QueryError)
def _(api: Api, client: Make) -> object:
    return warehouse.query("no matter where", "select")


@meets(SpoolError)
def _(api: Api, client: Make) -> object:
    told: list[ErrorEvent] = []
    analytics = client(spool=__file__)  # which is no directory
    analytics.on("error", told.append)
    analytics.track("A", user_id="u").wait(timeout=10)
    raise told[0].reason


@meets(Fenced)
def _(api: Api, client: Make) -> object:
    store = MemoryCursorStore()
    store.save("crm", "0", Cursor(0), 0)
    return store.save("crm", "0", Cursor(0), 0)


@meets(TransportError)
def _(api: Api, client: Make) -> object:
    api.always = drop()
    return Urllib3Client().send(Request("POST", api.url, {}, b"{}"))


def _fields(error: BaseException) -> dict[str, object]:
    return {k: _fields(v) | {"": str(v)} if isinstance(v, BaseException) else v for k, v in vars(error).items()}


def _drawn(doc: str) -> list[tuple[str, str | None, str | None]]:
    """Name, parent and second base of each line of the drawing."""
    above: list[str] = []
    found = []
    for line in doc.splitlines():
        match = re.fullmatch(r"    ([│├└─ ]*)([A-Z]\w+)(?: \((\w+)\))?(?: .*)?", line)
        if match is None or not inspect.isclass(getattr(errors, match[2], None)):
            continue
        depth = len(match[1]) // 4
        above[depth:] = [match[2]]
        found.append((match[2], above[depth - 1] if depth else None, match[3]))
    return found
