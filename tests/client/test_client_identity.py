"""millstream.context and bind: whose an event is, where its call does not say so."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import AsyncGenerator, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_type_hints

import pytest

import millstream
from millstream import Analytics, AsyncAnalytics, ClientClosed, Identity, InvalidEvent
from millstream.identity import current
from support.background import Background

Made = dict[str, Any]


class Recorded:
    """A client that is disabled, and what it has recorded."""

    def __init__(self, **settings: Any) -> None:
        self.analytics = Analytics(disable=True, **settings)
        self.events: list[Made] = []
        self.errors: list[Any] = []
        for kind in ("identify", "track", "page", "screen", "group", "alias"):
            self.analytics.on(kind, lambda ctx: self.events.append(ctx.event))
        self.analytics.on("error", self.errors.append)

    def track(self, name: str = "Seen", **arguments: Any) -> Made:
        self.analytics.track(name, **arguments)
        return self.events[-1]

    def who(self, **arguments: Any) -> tuple[str | None, str | None]:
        event = self.track(**arguments)
        return event.get("userId"), event.get("anonymousId")

    def of(self, name: str) -> list[str | None]:
        return [event.get("userId") for event in self.events if event["event"] == name]


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    recorded = Recorded()
    yield recorded
    recorded.analytics.close_and_flush(timeout=1)
    assert current() is None  # no test leaves anything behind


# -- what an event gets ---------------------------------------------------------------------------------


def test_calls_in_a_block_need_no_id(recorded: Recorded) -> None:
    """Every kind of call gets the ids of its block, and after the block none does."""
    with millstream.context(user_id=17, anonymous_id="a"):
        recorded.analytics.identify()
        recorded.analytics.track("Seen")
        recorded.analytics.page()
        recorded.analytics.screen()
        recorded.analytics.group("g")
    assert [(event["userId"], event["anonymousId"]) for event in recorded.events] == [("17", "a")] * 5
    with pytest.raises(InvalidEvent, match="user_id or anonymous_id"):
        Analytics(disable=True, on_invalid="raise").track("Seen")


@pytest.mark.parametrize(
    ("outer", "given", "expected"),
    [
        ({"user_id": "u", "anonymous_id": "a"}, {}, ("u", "a")),
        ({"user_id": "u", "anonymous_id": "a"}, {"user_id": "u"}, ("u", "a")),
        ({"user_id": 17, "anonymous_id": "a"}, {"user_id": "17"}, ("17", "a")),
        ({"user_id": "u", "anonymous_id": "a"}, {"user_id": "v"}, ("v", None)),
        ({"user_id": "u", "anonymous_id": "a"}, {"anonymous_id": "b"}, (None, "b")),
        ({"anonymous_id": "a"}, {"user_id": "u"}, ("u", "a")),  # a login
        ({"user_id": "u"}, {"anonymous_id": "a"}, ("u", "a")),
    ],
)
def test_an_event_never_has_the_ids_of_two(
    recorded: Recorded, outer: dict[str, Any], given: dict[str, Any], expected: tuple[str | None, str | None]
) -> None:
    """A call that names another user or visitor gets no id of its block; a block in a block goes by the same rule."""
    with millstream.context(**outer):
        assert recorded.who(**given) == expected
        if given:
            with millstream.context(**given):
                assert recorded.who() == expected
            assert recorded.analytics.bind(**given).track("Seen")
            assert (recorded.events[-1].get("userId"), recorded.events[-1].get("anonymousId")) == expected


def test_context_and_traits_are_merged_and_the_innermost_wins(recorded: Recorded) -> None:
    """Context goes into `context`; traits into those of identify, and into `context.traits` of other events."""
    with millstream.context(user_id="u", traits={"plan": "pro", "age": 3}, context={"ip": "1", "app": 1}):
        with millstream.context(traits={"age": 4}, context={"app": 2, "page": {}}):
            event = recorded.track(context={"page": {"path": "/"}})
        recorded.analytics.identify(traits={"age": 5})
        other = recorded.track(user_id="v")
    library = event["context"].pop("library")
    assert library["name"] == "millstream"
    assert event["context"] == {"ip": "1", "app": 2, "page": {"path": "/"}, "traits": {"plan": "pro", "age": 4}}
    assert recorded.events[1]["traits"] == {"plan": "pro", "age": 5}
    assert "traits" not in recorded.events[1]["context"]
    assert (other["context"]["ip"], "traits" in other["context"]) == ("1", False)


def test_a_blocks_context_goes_over_the_providers() -> None:
    """The client's context is the least specific, then its providers, then the block, then the call."""
    recorded = Recorded(context={"a": 0, "b": 0, "c": 0, "d": 0}, context_providers=[lambda: {"b": 1, "c": 1, "d": 1}])
    with millstream.context(user_id="u", context={"c": 2, "d": 2}):
        context = recorded.track(context={"d": 3})["context"]
    assert {key: context[key] for key in "abcd"} == {"a": 0, "b": 1, "c": 2, "d": 3}


def test_an_alias_has_ids_of_its_own(recorded: Recorded) -> None:
    """It gets the context of its block, and neither id."""
    with millstream.context(user_id="u", anonymous_id="a", context={"ip": "1"}):
        recorded.analytics.alias("new", previous_id="old")
    (event,) = recorded.events
    assert (event["userId"], event["previousId"], "anonymousId" in event) == ("new", "old", False)
    assert event["context"]["ip"] == "1"


def test_values_may_be_functions(recorded: Recorded) -> None:
    """A function is asked for each event; one that raises is reported, and its event goes on without."""
    users = iter(["one", "two"])
    with millstream.context(user_id=lambda: next(users), context=lambda: 1 / 0):
        assert recorded.who() == ("one", None)
        assert recorded.who() == ("two", None)
    assert [error.code for error in recorded.errors] == ["context_provider"] * 2


def test_an_identity_can_change_while_its_block_runs(recorded: Recorded) -> None:
    """A user who logs in is the user of the events that follow, also of those of other functions."""
    with millstream.context(anonymous_id="a") as visitor:
        assert recorded.who() == (None, "a")
        visitor.user_id = "u"
        assert recorded.who() == ("u", "a")


@pytest.mark.parametrize("field", ["traits", "context"])
def test_what_is_no_mapping_is_said(recorded: Recorded, field: str) -> None:
    """Traits and context that are no mapping make an event invalid, as those of a call do."""
    strict = Analytics(disable=True, on_invalid="raise")
    with millstream.context(user_id="u", **{field: [1]}), pytest.raises(InvalidEvent, match=field):
        strict.track("Seen")


def test_a_repr_shows_no_value() -> None:
    """An identity is personal: its repr has the names of what is set alone."""
    assert repr(millstream.context(user_id="secret", traits={"email": "e"})) == "Identity(traits, user_id)"


# -- where it holds -------------------------------------------------------------------------------------


def test_tasks_have_the_identity_they_were_started_with(recorded: Recorded) -> None:
    """A task keeps its identity beyond the block, whatever other tasks do; so does what `to_thread` runs."""

    async def later(name: str, begin: asyncio.Event) -> None:
        await begin.wait()
        recorded.track(name)
        await asyncio.to_thread(recorded.track, name)
        with millstream.context(context={"inner": name}):
            await asyncio.sleep(0)
            recorded.track(name)

    async def main() -> None:
        begin, tasks = asyncio.Event(), []
        for number in range(50):
            with millstream.context(user_id=f"user-{number}"):
                tasks.append(asyncio.create_task(later(f"event-{number}", begin)))
        begin.set()
        await asyncio.gather(*tasks)

    asyncio.run(main())
    for number in range(50):
        assert recorded.of(f"event-{number}") == [f"user-{number}"] * 3


def test_threads_begin_without_and_can_be_handed_it(recorded: Recorded) -> None:
    """A thread has no identity of another's; with `copy_context().run` it has that of the one who hands it over."""
    with millstream.context(user_id="u"), ThreadPoolExecutor(1) as pool:
        assert pool.submit(recorded.who, anonymous_id="a").result() == (None, "a")
        assert pool.submit(contextvars.copy_context().run, recorded.who).result() == ("u", None)
        assert pool.submit(recorded.who, anonymous_id="a").result() == (None, "a")
    assert Background(recorded.who, user_id="v").result() == ("v", None)


def test_blocks_in_generators_end_in_any_order(recorded: Recorded) -> None:
    """Generators that are left in the middle, or end one before the other, leave no identity behind."""

    def numbers(user: str) -> Generator[None, None, None]:
        with millstream.context(user_id=user):
            yield
            yield

    one, two, left = numbers("one"), numbers("two"), numbers("left")
    next(one)
    next(two)
    next(left)
    one.close()
    assert recorded.who()[0] == "left"
    left.close()
    assert recorded.who() == ("two", None)
    two.close()


def test_a_block_may_end_in_another_context(recorded: Recorded) -> None:
    """What is entered in one context and left in another raises nothing, and changes nothing there."""
    identity = millstream.context(user_id="u")
    inside = contextvars.copy_context()
    inside.run(identity.__enter__)
    with millstream.context(user_id="v"):
        contextvars.copy_context().run(identity.__exit__, None, None, None)
        assert recorded.who() == ("v", None)
    assert inside.run(recorded.who) == ("u", None)


def test_one_identity_can_be_entered_again(recorded: Recorded) -> None:
    """In itself, and by several threads at a time."""
    identity = millstream.context(user_id="u")
    with identity:
        with identity:
            assert recorded.who() == ("u", None)
        assert recorded.who() == ("u", None)


# -- as a decorator -------------------------------------------------------------------------------------


def test_it_decorates_every_kind_of_function(recorded: Recorded) -> None:
    """Functions, coroutine functions and generators of both kinds stay what they are, and have the identity inside."""
    decorated = millstream.context(user_id="u")

    @decorated
    def plain() -> Any:
        return recorded.who()

    @decorated
    async def coroutine() -> Any:
        await asyncio.sleep(0)
        return recorded.who()

    @decorated
    def generator() -> Generator[Any, Any, str]:
        said = yield recorded.who()
        try:
            yield said, recorded.who()
        except KeyError:
            yield "thrown", recorded.who()
        return "returned"

    @decorated
    async def async_generator() -> AsyncGenerator[Any, Any]:
        said = yield recorded.who()
        try:
            yield said, recorded.who()
        except KeyError:
            yield "thrown", recorded.who()

    assert plain() == ("u", None)
    assert functools.partial(plain)() == ("u", None)
    assert inspect.iscoroutinefunction(coroutine)
    assert asyncio.run(coroutine()) == ("u", None)

    assert inspect.isgeneratorfunction(generator)
    with millstream.context(anonymous_id="caller"):
        items = generator()
        assert next(items) == ("u", "caller")
        assert recorded.who() == (None, "caller")
        assert items.send("said") == ("said", ("u", "caller"))
        assert items.throw(KeyError()) == ("thrown", ("u", "caller"))
        assert recorded.who() == (None, "caller")
        with pytest.raises(StopIteration) as end:
            next(items)
        assert end.value.value == "returned"

    async def steps() -> None:
        assert inspect.isasyncgenfunction(async_generator)
        items = async_generator()
        assert await anext(items) == ("u", None)
        assert recorded.who(user_id="outside") == ("outside", None)
        assert await items.asend("said") == ("said", ("u", None))
        assert await items.athrow(KeyError()) == ("thrown", ("u", None))
        await items.aclose()

    asyncio.run(steps())


def test_a_generator_that_is_closed_cleans_up_with_its_identity(recorded: Recorded) -> None:
    """What it records in a `finally` is its identity's."""

    @millstream.context(user_id="u")
    def generator() -> Generator[None, None, None]:
        try:
            yield
        finally:
            recorded.track("Cleaned Up")

    items = generator()
    next(items)
    items.close()
    assert recorded.of("Cleaned Up") == ["u"]


# -- bind -----------------------------------------------------------------------------------------------


def test_a_bound_client_is_the_client_with_an_identity(recorded: Recorded) -> None:
    """Its calls need no id, its listeners and its queue are those of the client, and the client is as it was."""
    analytics = recorded.analytics
    customer = analytics.bind(user_id="u", context={"ip": "1"})
    customer.track("Seen")
    customer.bind(anonymous_id="a").track("Seen")
    assert [(e["userId"], e.get("anonymousId"), e["context"]["ip"]) for e in recorded.events] == [
        ("u", None, "1"),
        ("u", "a", "1"),
    ]
    assert recorded.who(user_id="v") == ("v", None)
    assert customer.stats() == analytics.stats()
    customer.close_and_flush()
    with pytest.raises(ClientClosed):
        analytics.track("Late", user_id="u").wait(timeout=5)


def test_an_async_client_can_be_bound() -> None:
    """A bound AsyncAnalytics is an AsyncAnalytics."""

    async def main() -> None:
        async with AsyncAnalytics(disable=True) as analytics:
            bound = analytics.bind(user_id="u")
            assert type(bound) is AsyncAnalytics
            context = await bound.track("Seen")
            assert context.event["userId"] == "u"

    asyncio.run(main())


def test_the_names_are_public() -> None:
    """`context` and `Identity` are found where users look for them."""
    assert isinstance(millstream.context(), Identity)
    assert get_type_hints(millstream.context)["return"] is Identity
    with pytest.raises(TypeError, match="shop"):
        millstream.context(shop="u")  # type: ignore[call-arg]
