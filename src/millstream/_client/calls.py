"""The event calls of every client. They never wait, so one version serves sync and async clients."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from inspect import isfunction
from typing import Any, ClassVar, Literal, NoReturn, SupportsIndex, TypeAlias, overload
from uuid import UUID

from .._clock import monotonic, stamp
from .._core.context import Callback, ErrorEvent
from .._core.events import build
from .._core.events.build import LIBRARY, Defaults, WireEvent
from .._core.events.encode import decode, encode, largest_field
from .._core.receipt import Receipt, SpooledReceipt
from .._delivery.assemble import Parts
from .._delivery.driver import Driver
from .._delivery.process import gate
from .._elsewhere import METHODS, Elsewhere, refuse_positional
from .._feedback import feeds_back, in_log_call, is_exchanging
from .._logging import Summary, show_debug
from .._public import Self
from ..destinations import Destination
from ..emitter import (
    Delivered,
    Emitter,
    Listener,
    OnDelivered,
    OnError,
    OnEvent,
    OnNames,
    OnNothing,
    OnRequest,
    OnResponse,
    Plugged,
    check_name,
)
from ..errors import ClientClosed, DeliveryError, Dropped, EventTooLarge, InvalidEvent, SettingsError
from ..http import as_client
from ..identity import Identity, current, fill
from ..reserved import EventContext, GroupTraits, PageProperties, TrackProperties, UserTraits
from ..settings import OAuthSettings, OnInvalid, Overflow, Settings, seconds
from ..spec import MAX_EVENT_BYTES
from ..types import HTTPClient, HTTPClientFunction, Stats
from ..urls import origin
from .invalid import InvalidLog, caller, name_of
from .lifecycle import Lifecycle
from .parts import parts_of
from .registration import Registration

__all__ = ["EventCalls"]

FED_BACK = "a log handler recorded a line about one of our requests, which would repeat endlessly"
MORE_PLACES = "not recorded: InvalidEvent, at more places than have lines of their own (listen to `error`)"

COUNTERS = ("accepted", "delivered", "failed", "dropped", "pending")
Key: TypeAlias = str | SupportsIndex | UUID
"""An id: numpy's integers are not ints, but have an index."""
Id = Key | None
Map = Mapping[str, Any] | None


class EventCalls:
    """Base of the clients: records what users do, and says what became of it."""

    _may_await: ClassVar[bool]
    """Whether hooks and HTTP clients may be `async def`."""

    _bound: tuple[Identity, ...] = ()

    def __init__(
        self,
        write_key: str | None = None,
        *,
        host: str | None = None,
        path: str = "/v1/batch",
        max_retries: int = 3,
        flush_at: int = 15,
        flush_interval: float = 10.0,
        http_request_timeout: float = 10.0,
        disable: bool = False,
        debug: bool = False,
        http_client: HTTPClient | HTTPClientFunction | None = None,
        oauth_settings: OAuthSettings | None = None,
        max_batch_events: int | None = None,
        max_in_flight: int = 4,
        max_queue_events: int = 100_000,
        max_queue_bytes: int = 64 * 1024 * 1024,
        overflow: Overflow = "drop_newest",
        max_total_backoff_duration: float = 43_200.0,
        max_rate_limit_duration: float = 43_200.0,
        gzip: bool = False,
        proxy: str | None = None,
        context: EventContext | Mapping[str, Any] | None = None,
        integrations: Mapping[str, Any] | None = None,
        context_providers: Sequence[Callable[[], Mapping[str, Any]]] = (),
        on_invalid: OnInvalid | None = None,
        exit_timeout: float = 5.0,
        handle_sigterm: bool = True,
        plugin_timeout: float = 30.0,
        destinations: Sequence[Destination] = (),
        spool: str | os.PathLike[str] | None = None,
        spool_sync: str = "never",
        spool_max_bytes: int = 1 << 30,
        spool_max_age: float = 604_800.0,
        **unknown: NoReturn,
    ) -> None:
        """Make a client. Times are in seconds, sizes in bytes.

        Args:
            write_key: the source's key; left out, `$MILLSTREAM_WRITE_KEY` counts.
            host: base URL of the Tracking API; left out, `$MILLSTREAM_HOST` counts, or else it is
                `https://api.segment.io`.
            path: path of the batch endpoint, after `host`.
            max_retries: attempts after the first, for a batch.
            flush_at: events that start a flush; 1 sends each event in a request of its own.
            flush_interval: seconds after which an event is sent even if fewer than `flush_at` wait.
            http_request_timeout: seconds for one request.
            disable: check calls and send nothing; no key is needed. `$MILLSTREAM_DISABLE` does the same.
            debug: show requests, answers, retries and outcomes in the log. `$MILLSTREAM_DEBUG` does the same.
            http_client: sends the requests: an object with `send` and `close`, a function of a Request, or a session of
                requests, httpx, aiohttp or urllib3.
            oauth_settings: send with OAuth 2.0 tokens.
            max_batch_events: events in one request, at most: 2500, or 1 when `flush_at` is 1.
            max_in_flight: requests under way at once; 1 keeps the order of events.
            max_queue_events: events that may wait, at most.
            max_queue_bytes: bytes of events that may wait, at most.
            overflow: when the queue is full: `drop_newest`, `block` (Analytics alone) or `raise`.
            max_total_backoff_duration: seconds for which a batch is tried again.
            max_rate_limit_duration: seconds for which the host may limit the rate.
            gzip: compress request bodies.
            proxy: URL of a proxy; left out, `HTTPS_PROXY` and its kin count.
            context: context for every event; a call's own is merged over it.
            integrations: integrations for every event; a call's own are merged over them.
            context_providers: functions that return context for the event of a call.
            on_invalid: what a call does that cannot become an event: `report` it in the log and to `error` listeners,
                or `raise` InvalidEvent. Left out, `$MILLSTREAM_ON_INVALID` counts, or else it is `report`.
            exit_timeout: seconds that the end of the process may take to deliver what is left.
            handle_sigterm: deliver what is left on SIGTERM, too.
            plugin_timeout: seconds for one `async def` hook of a plugin.
            destinations: get every event, as if registered: `[Mixpanel(token=…)]`; with one, no write key is needed.
            spool: directory that keeps events until they have an outcome, so that a killed process loses none.
            spool_sync: when the spool is forced to disk: `never`, `always` or `interval:500ms`.
            spool_max_bytes: bytes that the spool may hold, at most.
            spool_max_age: seconds for which the spool keeps an event that cannot be delivered.
            unknown: there are no others.

        Raises:
            SettingsError: a setting has a value that cannot be used, or there is none of its name.
            MissingExtra: what a setting needs is not installed.
        """
        given = locals()
        for name in ("self", "write_key", "unknown"):
            del given[name]
        self._open(Settings.make(write_key, {**given, **unknown}))

    def _open(self, settings: Settings) -> None:
        may_await, build = self._may_await, self._build
        if settings.http_client is not None:
            as_client(settings.http_client, may_await=may_await)  # refused here, not at the first event
        if may_await and settings.overflow == "block":
            raise SettingsError(
                "overflow is 'block', which would block the event loop; AsyncAnalytics takes 'drop_newest' or 'raise'"
            )
        if settings.debug:
            show_debug()
        self._settings = settings
        self._summary = summary = Summary()
        self._emitter = emitter = Emitter(lambda fault: summary.fault(fault, monotonic()), lambda: gate.closed)
        self._registration = registration = Registration(emitter, may_await=may_await)
        registration.include(settings.destinations)
        self._receipt = Receipt if settings.spool is None else SpooledReceipt
        self._context_providers = settings.context_providers
        self._invalid_log = InvalidLog()
        self._drops = settings.overflow == "drop_newest"
        try:
            self._defaults = Defaults.of({**settings.context, "library": LIBRARY}, settings.integrations)
        except InvalidEvent as exc:
            raise SettingsError(str(exc)) from exc
        self._integrations = bool(self._defaults.integrations)

        def make_driver() -> Driver:  # refers to the parts, and not to the client
            driver = build(settings, parts_of(settings, emitter, summary, may_await=may_await))
            registration.apply(driver)
            return driver

        self._lifecycle = Lifecycle(settings, make_driver, summary)

    @staticmethod
    def _build(settings: Settings, parts: Parts) -> Driver:
        """Make a driver of its parts. It must not refer to the client, which would keep it alive."""
        raise NotImplementedError

    def __repr__(self) -> str:
        stats = self._lifecycle.stats()
        counters = ", ".join(f"{getattr(stats, name):,} {name}" for name in COUNTERS)
        return f"<{type(self).__name__} {origin(self._settings.host)} {self._lifecycle.state}: {counters}>"

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn:
        """Refuse to be copied or pickled: closing a copy would close the original, and events have one owner."""
        name = type(self).__name__
        raise TypeError(
            f"{name} cannot be copied or pickled: share the one client; in a process that is not forked from this one, "
            f"make another {name} with the same settings"
        )

    # -- the six calls ------------------------------------------------------------------------------

    def identify(
        self,
        user_id: Id = None,
        *elsewhere: NoReturn,
        anonymous_id: Id = None,
        traits: UserTraits | Map = None,
        timestamp: datetime | str | None = None,
        context: EventContext | Map = None,
        integrations: Map = None,
        message_id: str | UUID | None = None,
        callback: Callback | None = None,
    ) -> Receipt:
        """Tie a user to their actions and record traits about them.

        Args:
            user_id: the user's id in your database. This or `anonymous_id` is needed.
            anonymous_id: an id for a user whose user id is not known (yet).
            traits: traits of the user: `name`, `email`, `plan` …
            timestamp: time of the event, by default now: a datetime (without a zone: UTC) or an ISO-8601 str.
            context: context for this event; `library` is added to it.
            integrations: the destinations of the event; names are case-sensitive.
            message_id: your own id for the event, at most 100 characters; by default a fresh UUID.
            callback: `callback(err, ctx)`, called once with the event's outcome: on the worker, or in the call itself
                for an event that is refused there (too large, no room, the client closed or disabled).

        Raises:
            InvalidEvent: an argument cannot be sent, and `on_invalid` is `raise`; the message names it.
            QueueFull: the queue is full, and `overflow` is `raise`.
        """
        if elsewhere:
            refuse_positional(type(self).__name__, "identify")
        made = build.Identify(message_id, timestamp, user_id, anonymous_id, context, integrations, traits)
        return self._record(made, callback)

    def track(
        self,
        event: str,
        *elsewhere: NoReturn,
        user_id: Id = None,
        anonymous_id: Id = None,
        properties: TrackProperties | Map = None,
        timestamp: datetime | str | None = None,
        context: EventContext | Map = None,
        integrations: Map = None,
        message_id: str | UUID | None = None,
        callback: Callback | None = None,
    ) -> Receipt:
        """Record an action that a user performed.

        Args:
            event: the action's name, such as "Item Purchased".
            properties: properties of the action: `revenue`, `product_id` …

        The other arguments, and what is raised: see `identify`.
        """
        if elsewhere:
            refuse_positional(type(self).__name__, "track")
        made = build.Track(message_id, timestamp, user_id, anonymous_id, context, integrations, event, properties)
        return self._record(made, callback)

    def page(
        self,
        name: str | None = None,
        *elsewhere: NoReturn,
        category: str | None = None,
        user_id: Id = None,
        anonymous_id: Id = None,
        properties: PageProperties | Map = None,
        timestamp: datetime | str | None = None,
        context: EventContext | Map = None,
        integrations: Map = None,
        message_id: str | UUID | None = None,
        callback: Callback | None = None,
    ) -> Receipt:
        """Record a page view.

        Args:
            name: the page's name, such as "Signup".
            category: the page's category, such as "Docs"; also sent as a property.
            properties: properties of the page: `url`, `title`, `referrer` …

        The other arguments, and what is raised: see `identify`.
        """
        if elsewhere:
            refuse_positional(type(self).__name__, "page")
        own = name, category, properties
        made = build.Page(message_id, timestamp, user_id, anonymous_id, context, integrations, *own)
        return self._record(made, callback)

    def screen(
        self,
        name: str | None = None,
        *elsewhere: NoReturn,
        category: str | None = None,
        user_id: Id = None,
        anonymous_id: Id = None,
        properties: Map = None,
        timestamp: datetime | str | None = None,
        context: EventContext | Map = None,
        integrations: Map = None,
        message_id: str | UUID | None = None,
        callback: Callback | None = None,
    ) -> Receipt:
        """Record a view of an app's screen. The arguments are those of `page`; `category` is not made a property."""
        if elsewhere:
            refuse_positional(type(self).__name__, "screen")
        own = name, category, properties
        made = build.Screen(message_id, timestamp, user_id, anonymous_id, context, integrations, *own)
        return self._record(made, callback)

    def group(
        self,
        group_id: Key,
        *elsewhere: NoReturn,
        user_id: Id = None,
        anonymous_id: Id = None,
        traits: GroupTraits | Map = None,
        timestamp: datetime | str | None = None,
        context: EventContext | Map = None,
        integrations: Map = None,
        message_id: str | UUID | None = None,
        callback: Callback | None = None,
    ) -> Receipt:
        """Tie a user to a group: a company, an account, a team.

        Args:
            group_id: the group's id in your database.
            traits: traits of the group: `name`, `industry` …

        The other arguments, and what is raised: see `identify`.
        """
        if elsewhere:
            refuse_positional(type(self).__name__, "group")
        made = build.Group(message_id, timestamp, user_id, anonymous_id, context, integrations, group_id, traits)
        return self._record(made, callback)

    def alias(
        self,
        user_id: Key,
        *,
        previous_id: Key,
        timestamp: datetime | str | None = None,
        context: EventContext | Map = None,
        integrations: Map = None,
        message_id: str | UUID | None = None,
        callback: Callback | None = None,
    ) -> Receipt:
        """Merge two ids of one user.

        Args:
            user_id: the id to keep.
            previous_id: the user's previous id.

        The other arguments, and what is raised: see `identify`.
        """
        made = build.Alias(message_id, timestamp, user_id, None, context, integrations, previous_id)
        return self._record(made, callback)

    def send(self, event: Mapping[str, Any], *, callback: Callback | None = None) -> Receipt:
        """Send a whole event as it is sent over HTTP: a dict with `type` and camelCase keys.

        Its `messageId` and `timestamp` are kept, so that events from `unsent` or `call_after_close` can be sent again
        without becoming duplicates.

        Raises:
            InvalidEvent: the Tracking API would not keep the event, and `on_invalid` is `raise`.
        """
        try:
            whole = build.whole(event, stamp(), self._defaults)
            data = encode(whole)
        except InvalidEvent as exc:
            return self._invalid("send", name_of(event), exc, callback)
        receipt = self._receipt(
            data, whole["type"], whole["messageId"], self._lifecycle.driver, bool(whole["integrations"])
        )
        self._submit(receipt, callback)
        return receipt

    # -- around them --------------------------------------------------------------------------------

    def bind(self, *, user_id: Id = None, anonymous_id: Id = None, traits: Map = None, context: Map = None) -> Self:
        """Return this client with ids, traits and context for every event call that does not bring its own.

            customer = analytics.bind(user_id="019mr8mf4r")
            customer.track("Item Purchased")

        It has the same queue, listeners and plugins: to close one closes the other. Its ids go before those of
        `millstream.context`, by the rules that are described there.

        Args:
            user_id: the user's id in your database.
            anonymous_id: an id for a visitor whose user id is not known.
            traits: the `traits` of `identify`, and `context.traits` of other events.
            context: merged key by key into each event's `context`.
        """
        bound = object.__new__(type(self))
        bound.__dict__.update(self.__dict__)
        bound._bound = (*self._bound, Identity(user_id, anonymous_id, traits, context))
        return bound

    def stats(self) -> Stats:
        """The client's current counters."""
        return self._lifecycle.driver.stats()

    @overload
    def on(self, name: Delivered, listener: OnDelivered) -> OnDelivered: ...
    @overload
    def on(self, name: Delivered) -> Callable[[OnDelivered], OnDelivered]: ...
    @overload
    def on(self, name: Literal["error"], listener: OnError) -> OnError: ...
    @overload
    def on(self, name: Literal["error"]) -> Callable[[OnError], OnError]: ...
    @overload
    def on(self, name: Literal["http_request"], listener: OnRequest) -> OnRequest: ...
    @overload
    def on(self, name: Literal["http_request"]) -> Callable[[OnRequest], OnRequest]: ...
    @overload
    def on(self, name: Literal["http_response"], listener: OnResponse) -> OnResponse: ...
    @overload
    def on(self, name: Literal["http_response"]) -> Callable[[OnResponse], OnResponse]: ...
    @overload
    def on(self, name: Literal["call_after_close"], listener: OnEvent) -> OnEvent: ...
    @overload
    def on(self, name: Literal["call_after_close"]) -> Callable[[OnEvent], OnEvent]: ...
    @overload
    def on(self, name: Plugged, listener: OnNames) -> OnNames: ...
    @overload
    def on(self, name: Plugged) -> Callable[[OnNames], OnNames]: ...
    @overload
    def on(self, name: Literal["drained"], listener: OnNothing) -> OnNothing: ...
    @overload
    def on(self, name: Literal["drained"]) -> Callable[[OnNothing], OnNothing]: ...
    def on(self, name: str, listener: Listener | None = None) -> Any:
        """Call `listener` whenever `name` is emitted; without a listener, a decorator.

        `error` listeners are given an ErrorEvent; `track` and its kin, on delivery, the event's Context; `http_request`
        the Request; `http_response` the Request and the Response; `call_after_close` the event, a dict; `register` and
        `deregister` names of plugins; `drained` nothing.

        Raises:
            SettingsError: nothing is emitted under this name, or the listener cannot be called with it.
        """
        if listener is not None:
            return self._emitter.on(name, listener)
        check_name(name)
        return partial(self._emitter.on, name)

    @overload
    def once(self, name: Delivered, listener: OnDelivered) -> OnDelivered: ...
    @overload
    def once(self, name: Literal["error"], listener: OnError) -> OnError: ...
    @overload
    def once(self, name: Literal["http_request"], listener: OnRequest) -> OnRequest: ...
    @overload
    def once(self, name: Literal["http_response"], listener: OnResponse) -> OnResponse: ...
    @overload
    def once(self, name: Literal["call_after_close"], listener: OnEvent) -> OnEvent: ...
    @overload
    def once(self, name: Plugged, listener: OnNames) -> OnNames: ...
    @overload
    def once(self, name: Literal["drained"], listener: OnNothing) -> OnNothing: ...
    def once(self, name: str, listener: Listener) -> Any:
        """Call `listener` the next time `name` is emitted, and not again; see `on`."""
        return self._emitter.once(name, listener)

    def off(self, name: str, listener: Listener) -> None:
        """Stop calling `listener` for `name`."""
        check_name(name)
        self._emitter.off(name, listener)

    def emit(self, name: str, *args: Any) -> None:
        """Call the listeners of `name`, for events of your own: their names have a colon, such as `shop:restocked`."""
        check_name(name)
        self._emitter.emit(name, *args)

    @property
    def plugins(self) -> dict[str, Any]:
        """The registered plugins and destinations, by name."""
        return self._registration.plugins()

    # -- how an event is recorded -------------------------------------------------------------------

    def _record(self, event: WireEvent, callback: Callback | None) -> Receipt:
        integrations = event.integrations
        try:
            if self._bound or current() is not None:
                self._identify(event)
            if self._context_providers:
                event.context = self._provided(event.context)
            given = event.complete(stamp(), self._defaults)
            data = encode(event, given)
        except InvalidEvent as exc:
            return self._invalid(event.kind, name_of(event), exc, callback)
        integrated = self._integrations if integrations is None else bool(event.integrations)
        life = self._lifecycle
        driver = life.driver
        receipt = self._receipt(data, event.kind, event.message_id, driver, integrated)
        if self._drops and not life.closed and len(data) <= MAX_EVENT_BYTES and not is_exchanging():
            if callback is not None:
                driver.watch_callback(receipt, callback)
            driver.accept(receipt)
        else:
            self._submit(receipt, callback)
        return receipt

    def _submit(self, receipt: Receipt, callback: Callback | None) -> None:
        """Queue an encoded event, or handle an unusual case."""
        if feeds_back():
            self._reject(receipt, Dropped(FED_BACK), callback)
            self._summary.count("event", f"not accepted: {FED_BACK}", 1, monotonic())
            return
        if self._lifecycle.closed:
            self._lifecycle.submit_late(
                receipt, lambda: self._submit(receipt, callback), lambda: self._refuse_closed(receipt, callback)
            )
            return
        driver, size, overflow = self._lifecycle.driver, len(receipt.data), self._settings.overflow
        # Before the worker has the event; but if QueueFull is raised, the callback must not be remembered.
        if callback is not None and overflow != "raise":
            driver.watch_callback(receipt, callback)
        if size > MAX_EVENT_BYTES:
            driver.refuse(receipt, EventTooLarge(size, MAX_EVENT_BYTES, largest_field(receipt.data)))
        elif overflow == "drop_newest":
            driver.accept(receipt)
        elif overflow == "block":
            driver.accept_when_room(receipt)
        else:
            full = driver.accept_if_room(receipt)
            if full is not None:
                raise full
        if callback is not None and overflow == "raise":
            driver.watch_callback(receipt, callback, first=False)

    def _refuse_closed(self, receipt: Receipt, callback: Callback | None) -> None:
        """Settle an event that was recorded after the application closed the client."""
        self._reject(receipt, ClientClosed(), callback)
        self._emitter.emit("call_after_close", decode(receipt.data))

    def _reject(self, receipt: Receipt, error: DeliveryError, callback: Callback | None) -> None:
        """Settle an event that is not accepted."""
        if callback is not None:
            self._lifecycle.driver.watch_callback(receipt, callback)
        self._lifecycle.driver.reject(receipt, error)

    def _timeout(self, given: float | None) -> float:
        """Return the seconds that a flush or a close may wait.

        A log handler that flushes holds its own lock: a sender thread that logs would wait for the lock, and the flush
        for the thread. And if it handles the line of a request, this thread is the sender.
        """
        settings = self._settings
        patience = settings.patience if given is None else seconds("timeout", given)
        if feeds_back():
            return 0.0
        return min(patience, settings.exit_timeout) if given is None and in_log_call() else patience

    def _identify(self, event: WireEvent) -> None:
        """Give an event the ids, traits and context of `bind` and `millstream.context`."""
        link = current()
        for identity in self._bound:
            link = identity, link
        if link is not None:
            fill(event, link, lambda exc: self._emitter.fault("context_provider", exc))

    def _provided(self, context: Map) -> Map:
        """Merge the call's context over that of the providers."""
        merged: dict[str, Any] = {}
        for provider in self._settings.context_providers:
            try:
                merged.update(provider())
            except Exception as exc:  # noqa: BLE001 - it is the user's code, and the event goes on without it
                self._emitter.fault("context_provider", exc)
        return {**merged, **build.mapping("context", context)}

    def _invalid(self, kind: str, event: object, exc: InvalidEvent, callback: Callback | None) -> Receipt:
        """Raise, or report: a line in the log, an `error` event, and a receipt that has failed already."""
        if self._settings.on_invalid == "raise":
            raise exc
        now = monotonic()
        if not self._invalid_log.note(f"{type(self).__name__}.{kind}", event, exc, caller(), now):
            self._summary.count("event", MORE_PLACES, 1, now)
        self._emitter.emit("error", ErrorEvent("invalid_event", exc))
        receipt = Receipt(b"{}", kind, "", self._lifecycle.driver)
        error = Dropped(str(exc))
        error.__cause__ = exc.with_traceback(None)
        self._reject(receipt, error, callback)
        return receipt


for _name, _value in vars(EventCalls).items():
    if isfunction(_value):
        _value.__qualname__ = f"Analytics.{_name}"  # so that a TypeError names what users know
for _name, _hint in METHODS.items():
    setattr(EventCalls, _name, Elsewhere(_name, _hint))

gate.guard(
    EventCalls.identify,
    EventCalls.track,
    EventCalls.page,
    EventCalls.screen,
    EventCalls.group,
    EventCalls.alias,
    EventCalls.send,
)
