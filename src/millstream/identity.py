"""Whose events a piece of code records: ids, traits and context for the event calls inside it, on contextvars."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

from ._core.events.build import Alias, Identify, WireEvent, mapping
from ._public import publish

__all__ = ["Identity", "Link", "carried", "context", "current", "fill", "resolved"]

F = TypeVar("F", bound=Callable[..., Any])
Report: TypeAlias = Callable[[Exception], object]
"""Told what a function raised that was to say an id, traits or context."""


class Identity:
    """Whose events are recorded in a block of code; made by `millstream.context`, see there.

    The attributes may be set while the block runs: the events that follow have the new values.

    Attributes:
        user_id: the user's id in your database, or a function that returns it, or None.
        anonymous_id: an id for a visitor whose user id is not known, or a function that returns it, or None.
        traits: what is known about the user, or a function that returns it, or None.
        context: goes into each event's `context`: a mapping, or a function that returns one, or None.
    """

    __slots__ = ("_new_visitor", "anonymous_id", "context", "traits", "user_id")

    def __init__(
        self,
        user_id: object = None,
        anonymous_id: object = None,
        traits: object = None,
        context: object = None,
        new_visitor: Callable[[], str] | None = None,
    ) -> None:
        self.user_id = user_id
        self.anonymous_id = anonymous_id
        self.traits = traits
        self.context = context
        self._new_visitor = new_visitor  # makes an anonymous id for an event that would have no id at all

    def __repr__(self) -> str:
        return f"Identity({', '.join(name for name in sorted(self.__slots__) if getattr(self, name) is not None)})"

    def __enter__(self) -> Identity:
        _current.set((self, _current.get()))
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        # Not by a token: blocks in generators end in any order, and sometimes in another context than they began in.
        _current.set(_without(_current.get(), self))

    def __call__(self, fn: F) -> F:
        """Decorate a function, coroutine function or generator: its events are this identity's."""
        body: Any = fn
        while isinstance(body, functools.partial):
            body = body.func  # pyright: ignore[reportUnknownMemberType]
        if inspect.iscoroutinefunction(body):
            wrapped = self._awaiting(fn)
        elif inspect.isgeneratorfunction(body):
            wrapped = self._stepping(fn)
        elif inspect.isasyncgenfunction(body):
            wrapped = self._async_stepping(fn)
        else:
            wrapped = self._calling(fn)
        return cast("F", functools.wraps(fn)(wrapped))

    # -- the kinds of functions; each call has an entry of its own ------------------------------------------

    def _own(self) -> Identity:
        return Identity(self.user_id, self.anonymous_id, self.traits, self.context, self._new_visitor)

    def _calling(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with self._own():
                return fn(*args, **kwargs)

        return call

    def _awaiting(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            with self._own():
                return await fn(*args, **kwargs)

        return call

    def _stepping(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Enter around each step: between two of them the caller's code runs, which is not this identity's."""

        def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            own, items = self._own(), fn(*args, **kwargs)
            step: Callable[[], Any] = functools.partial(next, items)
            while True:
                try:
                    with own:
                        item = step()
                except StopIteration as end:
                    return end.value
                try:
                    step = functools.partial(items.send, (yield item))
                except GeneratorExit:
                    with own:
                        items.close()
                    raise
                except BaseException as exc:  # noqa: BLE001 - thrown in, for the generator to see
                    step = functools.partial(items.throw, exc)

        return call

    def _async_stepping(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            own, items = self._own(), fn(*args, **kwargs)
            step: Callable[[], Any] = items.__anext__
            while True:
                try:
                    with own:
                        item = await step()
                except StopAsyncIteration:
                    return
                try:
                    step = functools.partial(items.asend, (yield item))
                except GeneratorExit:
                    with own:
                        await items.aclose()
                    raise
                except BaseException as exc:  # noqa: BLE001 - as above
                    step = functools.partial(items.athrow, exc)

        return call


def context(
    *,
    user_id: object = None,
    anonymous_id: object = None,
    traits: Mapping[str, Any] | Callable[[], Mapping[str, Any] | None] | None = None,
    context: Mapping[str, Any] | Callable[[], Mapping[str, Any] | None] | None = None,
) -> Identity:
    """Give the event calls in a block, or in a decorated function, the ids, traits and context that they do not bring.

        with millstream.context(user_id="019mr8mf4r"):
            analytics.track("Item Purchased")

    Holds in the tasks that the block starts and in what `asyncio.to_thread` runs, and ends with the block. A thread of
    its own and a thread pool begin without: hand them `contextvars.copy_context().run`. Blocks can be nested; the inner
    one wins, and so does what a call brings itself. An event never gets the ids and traits of two people: where a call
    or an inner block names another user or visitor, those of the outer block are left out, and its context stays.

    Each argument may be a function without arguments, which is called for each event.

    Args:
        user_id: the user's id in your database.
        anonymous_id: an id for a visitor whose user id is not known.
        traits: what is known about the user: the `traits` of `identify`, and `context.traits` of other events.
        context: merged key by key into each event's `context`.
    """
    return Identity(user_id, anonymous_id, traits, context)


Link: TypeAlias = "tuple[Identity, Link | None]"
"""An identity, and what it stands in."""

_current: ContextVar[Link | None] = ContextVar("millstream_identity", default=None)
current = _current.get
"""The innermost identity of this thread or task: a quick look, for every event call."""


def _without(link: Link | None, gone: Identity) -> Link | None:
    if link is None:
        return None
    head, outer = link
    return outer if head is gone else (head, _without(outer, gone))


class Resolved(NamedTuple):
    """What an identity amounts to, with those that it stands in."""

    user_id: Any = None
    anonymous_id: Any = None
    traits: Mapping[Any, Any] = {}
    context: Mapping[Any, Any] = {}
    new_visitor: Callable[[], str] | None = None


NOBODY = Resolved()


def resolved(link: Link | None, report: Report) -> Resolved:
    """Return what this identity amounts to; what one of its functions raises is reported, and counts as None.

    Raises:
        InvalidEvent: traits or context is no mapping.
    """
    if link is None:
        return NOBODY
    identity, outer_link = link
    user_id, anonymous_id = _said(identity.user_id, report), _said(identity.anonymous_id, report)
    traits, context = _said(identity.traits, report), _said(identity.context, report)
    traits = {} if traits is None else mapping("traits", traits)
    context = {} if context is None else mapping("context", context)
    if outer_link is None:
        return Resolved(user_id, anonymous_id, traits, context, identity._new_visitor)  # noqa: SLF001
    outer = resolved(outer_link, report)
    if _agree(user_id, outer.user_id) and _agree(anonymous_id, outer.anonymous_id):
        user_id = outer.user_id if user_id is None else user_id
        anonymous_id = outer.anonymous_id if anonymous_id is None else anonymous_id
        traits = {**outer.traits, **traits}
    merged = {**outer.context, **context}
    return Resolved(user_id, anonymous_id, traits, merged, outer.new_visitor or identity._new_visitor)  # noqa: SLF001


def carried(report: Report) -> dict[str, str]:
    """Return the ids of the identity here, for a job that another process does: those that there are, as texts.

    A visitor of a web request who has none gets one, or the job's events would be no visitor's.
    """
    who = resolved(current(), report)
    ids = {"user_id": who.user_id, "anonymous_id": who.anonymous_id}
    if ids["user_id"] is None and ids["anonymous_id"] is None:
        ids["anonymous_id"] = _said(who.new_visitor, report)
    return {name: str(value) for name, value in ids.items() if value is not None}


def fill(event: WireEvent, link: Link, report: Report) -> None:
    """Give an event what it does not bring itself.

    Raises:
        InvalidEvent: traits or context is no mapping.
    """
    who = resolved(link, report)
    if who.context:  # else the event's own is left as it is: what has none is encoded already
        own = event.context
        event.context = dict(who.context) if own is None else {**who.context, **mapping("context", own)}
    if isinstance(event, Alias):  # it names both of its ids
        return
    traits: Mapping[Any, Any] = {}
    if _agree(event.user_id, who.user_id) and _agree(event.anonymous_id, who.anonymous_id):
        traits = who.traits
        event.user_id = who.user_id if event.user_id is None else event.user_id
        event.anonymous_id = who.anonymous_id if event.anonymous_id is None else event.anonymous_id
        if event.user_id is None and event.anonymous_id is None:
            event.anonymous_id = _said(who.new_visitor, report)
    if traits and isinstance(event, Identify):
        event.traits = {**traits, **mapping("traits", event.traits)}
    elif traits:
        own = mapping("context", event.context)
        event.context = {**own, "traits": {**traits, **mapping("context.traits", own.get("traits"))}}


def _agree(one: object, other: object) -> bool:
    """Whether these are no ids of two people: a database's number and its text are the same id."""
    if one is None or other is None:
        return True
    try:
        return str(one) == str(other)
    except Exception:  # noqa: BLE001 - no id; the event is refused for it
        return False


def _said(value: Any, report: Report) -> Any:
    if not callable(value):
        return value
    try:
        return value()
    except Exception as exc:  # noqa: BLE001 - the application's function; the event goes on without
        report(exc)
        return None


publish("millstream", Identity, context)
