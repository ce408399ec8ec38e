"""The pipeline: what plugins do to an event on its way, as dialogs that every driver can run.

    before ──▶ enrichment ──▶ the Tracking API and the destinations, side by side ──▶ outcome ──▶ after
    └──────────────────────────────── process ────────────────────────────────┘       └── conclude ──┘

It decides, and its host acts: it calls hooks, hands over, reports. Where a hook's answer has to be awaited, the
dialog (a generator) yields that, and is sent what came of it: so the rules below are written once, for drivers that
await and for those that cannot. Between the two dialogs nothing waits but the event: a generator that waits for an
outcome keeps fifteen objects alive, and the garbage collector took half of the time for those of a burst.

    stage        a hook raises                a hook cancels (`ctx.cancel`, DropEvent)   it returns nothing
    ──────────── ──────────────────────────── ────────────────────────────────────────── ──────────────────
    before       the event fails: PluginError dropped                                    the context is kept
    enrichment   reported, the event goes on  dropped                                    the context is kept
    destination  reported, the others go on   noted as dropped there, the others go on   nothing
    after        reported                     reported                                   nothing
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from msgspec import Struct

from ..errors import DeliveryError, DropEvent, Dropped, EventTooLarge, InvalidEvent, PluginError
from ..spec import MAX_EVENT_BYTES
from .context import Context, Shared
from .events.build import NO_DEFAULTS, whole
from .events.encode import encode, head, largest_field
from .outcome import Outcome
from .receipt import Receipt
from .routing import allows, options

__all__ = [
    "Answer",
    "Awaited",
    "Beside",
    "Dialog",
    "PipelineHost",
    "PluginLike",
    "PluginRegistry",
    "conclude",
    "process",
]

Answer = tuple[Any, BaseException | None]
"""What came of a hook: what it returned, or what it raised."""


class PluginLike(Protocol):
    """As much of a plugin as the pipeline asks for."""

    name: str
    type: str


class Awaited(Struct, eq=False):
    """A hook that has been called, and whose answer has to be awaited: whoever does that notes it here."""

    plugin: PluginLike
    hook: str
    context: Context
    awaitable: Awaitable[Any]
    answer: Answer = (None, None)


class Beside(Struct, eq=False):
    """An event at its destination plugins, where their hooks run beside its delivery."""

    receipt: Receipt
    plugins: list[PluginLike]
    delivered: Shared[Mapping[str, Outcome]] | None  # what became of it if all go well, where all plugins take it
    sent: bool
    left: int
    noted: dict[str, Outcome] | None = None
    after: list[PluginLike] = []
    outcome: Outcome | None = None

    def note(self, plugin: PluginLike, answer: Answer | None, host: PipelineHost) -> bool:
        """Note what came of a hook. Return whether it was the last."""
        context = self.receipt.context()
        if self.delivered is None or answer is not None:
            self.noted = self.noted or {}
            self.noted[plugin.name] = _noted(plugin, answer, context, host)
        self.left -= 1
        if not self.left:
            if self.noted is None and self.delivered is not None:
                context._is_at(self.delivered)  # as nearly always: no dict for each event, that waits with it
            else:
                context.deliveries.update({p.name: AT_PLUGIN for p in self.plugins} | (self.noted or {}))
        return not self.left


class PipelineHost(Protocol):
    """What a driver does for the pipeline."""

    runs_beside: bool
    """Whether the hooks of destinations run beside delivery, and not when they are called."""

    def run_beside(self, beside: Beside, contexts: list[Context]) -> object:
        """Run the hooks of destinations, each with its context; go on at once."""

    def call(self, plugin: PluginLike, hook: str, context: Context) -> Answer | Awaited | None:
        """Call this plugin's hook. None: it has returned nothing, or the context, which is the same."""

    def takes(self, integrations: Mapping[str, Any]) -> bool:
        """Whether the client delivers an event with these integrations anywhere, besides to plugins."""
        ...

    def hand_over(self, receipt: Receipt, data: bytes | None) -> object:
        """The event is through `before` and `enrichment`: deliver these bytes, if any; go on at once."""

    def report(self, error: PluginError, context: Context) -> object:
        """Tell `error` listeners of a plugin that failed where its failure stops nothing."""

    def expect(self, receipt: Receipt, after: list[PluginLike]) -> object:
        """When its delivery has an outcome, `conclude` with these plugins; without this, delivery alone decides."""

    def settle(self, receipt: Receipt, outcome: Outcome) -> object:
        """The event has its outcome."""


Dialog: TypeAlias = Iterator[list[Awaited]]
"""What it yields is to be awaited before it is asked again. It returns nothing: a value would take 0.3 µs more."""


AT_PLUGIN = Outcome()
"""What became of an event at a destination plugin that took it."""


class Stages(Struct, eq=False):
    """The plugins that have a hook for one kind of event, by when they run. Not to be changed."""

    first: list[tuple[PluginLike, Shared[tuple[str, ...]]]]  # `before` and `enrichment`, with the names up to each
    destinations: list[PluginLike]
    delivered: Shared[Mapping[str, Outcome]]  # what became of an event at these, if all went well
    after: list[PluginLike]

    @classmethod
    def of(cls, plugins: list[PluginLike]) -> Stages:
        names = ("before", "enrichment", "destination", "after")
        before, enrichment, destinations, after = ([p for p in plugins if p.type == stage] for stage in names)
        first = before + enrichment
        passed = [Shared(tuple(p.name for p in first[: n + 1])) for n in range(len(first))]
        delivered: Mapping[str, Outcome] = {p.name: AT_PLUGIN for p in destinations}
        return cls([*zip(first, passed, strict=True)], destinations, Shared(delivered), after)


class PluginRegistry:
    """The registered plugins, in order of registration within each type."""

    def __init__(self) -> None:
        self._plugins: dict[int, PluginLike] = {}  # by `id`: not every object can be hashed, and some are equal
        self._stages: dict[str, Stages] = {}  # what has been asked since the last change

    def __bool__(self) -> bool:
        return bool(self._plugins)

    def __contains__(self, plugin: PluginLike) -> bool:
        return id(plugin) in self._plugins

    def add(self, plugin: PluginLike) -> None:
        """Run this plugin for the events that come from now on. A plugin of the same name is replaced."""
        others = [other for other in self._plugins.values() if other.name != plugin.name]
        self._plugins = {id(one): one for one in [*others, plugin]}
        self._stages = {}

    def remove(self, name: str) -> None:
        """Stop running the plugin of this name, if there is one."""
        self._plugins = {id(one): one for one in self._plugins.values() if one.name != name}
        self._stages = {}

    def stages(self, kind: str) -> Stages:
        """The plugins for this kind of event."""
        known = self._stages  # the same to the end: one that changes meanwhile is not to keep what was true before
        found = known.get(kind)
        if found is None:
            found = Stages.of([p for p in self._plugins.values() if callable(getattr(p, kind, None))])
            known[kind] = found
        return found


def process(receipt: Receipt, registry: PluginRegistry, host: PipelineHost) -> Dialog:
    """One event's way through the plugins, up to its delivery."""
    kind = receipt.kind
    context = receipt._context = Context(receipt.data, receipt.message_id)
    first = registry.stages(kind).first
    for plugin, passed in first:
        context._passes(passed)
        answer = host.call(plugin, kind, context)
        if isinstance(answer, Awaited):
            yield [answer]
            answer = answer.answer
        if answer is not None:
            outcome = _after_hook(plugin, kind, answer, context, host)
            if outcome is not None:
                host.settle(receipt, outcome)
                return
    try:
        data = context.data if not context._looked_at else _sealed(context, [plugin.name for plugin, _ in first])
    except DeliveryError as exc:
        host.settle(receipt, Outcome(exc))
    else:
        yield from _deliver(receipt, context, data, registry, host)


def _after_hook(plugin: PluginLike, kind: str, answer: Answer, context: Context, host: PipelineHost) -> Outcome | None:
    """What follows from the answer of a `before` or `enrichment` hook: the event's Outcome, if it ends here."""
    try:
        _take(answer, kind, context)
    except DropEvent as exc:
        return _dropped(plugin, exc, context)
    except Exception as exc:  # noqa: BLE001 - a plugin may raise anything
        error = _plugin_error(plugin, exc)
        if plugin.type == "before":
            return Outcome(error)
        host.report(error, context)
    return None


def _take(answer: Answer, kind: str, context: Context) -> None:
    """Take over what a hook returned, or raise what it raised."""
    returned, raised = answer
    if raised is not None:
        raise raised
    if returned is None or returned is context:
        return
    if not isinstance(returned, Context):
        raise TypeError(f"{kind} returned {type(returned).__name__}; it must return the context, or nothing")
    context._adopt(returned)


def _deliver(receipt: Receipt, context: Context, data: bytes, registry: PluginRegistry, host: PipelineHost) -> Dialog:
    """The event goes out: to the destinations that its integrations allow, and to the Tracking API."""
    kind = receipt.kind
    stages, integrations = registry.stages(kind), _integrations(receipt, data)
    plugins = [p for p in stages.destinations if allows(p, integrations)] if integrations else stages.destinations
    sent = host.takes(integrations)
    host.hand_over(receipt, data if sent else None)
    if plugins:
        # Each gets a context of its own, so that none can change what another sees.
        own = [Context(data, context.id, 0, None, _options(plugin, data, integrations)) for plugin in plugins]
        if host.runs_beside:
            delivered = stages.delivered if plugins is stages.destinations else None
            beside = Beside(receipt, plugins, delivered, sent, len(plugins), None, stages.after)
            host.run_beside(beside, own)
            return
        answers = [host.call(plugin, kind, its) for plugin, its in zip(plugins, own, strict=True)]
        if plugins is stages.destinations and not any(answers):
            context._is_at(stages.delivered)  # as nearly always: no dict for each event, that waits with it
        else:
            late = yield from _late(answers)
            for plugin, answer in zip(plugins, late, strict=True):
                context.deliveries[plugin.name] = _noted(plugin, answer, context, host)
    if not sent:
        if not plugins:
            context.log("info", "no destination")
        yield from conclude(receipt, stages.after, None, registry, host)
    elif plugins or stages.after:
        host.expect(receipt, stages.after)


def _late(answers: list[Answer | Awaited | None]) -> Generator[list[Awaited], None, list[Answer | None]]:
    """The answers, those that have to be awaited included."""
    awaited = [answer for answer in answers if isinstance(answer, Awaited)]
    if awaited:
        yield awaited
    return [answer.answer if isinstance(answer, Awaited) else answer for answer in answers]


def conclude(
    receipt: Receipt, after: list[PluginLike], delivered: Outcome | None, registry: PluginRegistry, host: PipelineHost
) -> Dialog:
    """The end of an event's way: its outcome is noted, and shown to the plugins that are to see it.

    Args:
        after: those of type `after` when it was handed over. Who has been removed since is not called any more.
        delivered: the outcome of its delivery; None: it goes to plugins alone.
    """
    context = receipt.context()
    outcome = _in_sum(context.deliveries) if delivered is None else delivered
    context._settle(outcome.attempts, outcome.error)
    for plugin in after:
        if plugin in registry:
            answer = host.call(plugin, receipt.kind, context)
            if isinstance(answer, Awaited):
                yield [answer]
                answer = answer.answer
            if answer is not None and answer[1] is not None:
                host.report(_plugin_error(plugin, answer[1]), context)
    host.settle(receipt, outcome)


def _noted(plugin: PluginLike, answer: Answer | None, context: Context, host: PipelineHost) -> Outcome:
    """What became of an event at a destination, by what came of its hook."""
    raised = None if answer is None else answer[1]
    if raised is None:
        return AT_PLUGIN
    if isinstance(raised, DropEvent):
        return _dropped(plugin, raised, context)
    error = _plugin_error(plugin, raised)
    host.report(error, context)
    return Outcome(error)


def _in_sum(deliveries: Mapping[str, Outcome]) -> Outcome:
    """The outcome of an event that goes to plugins alone: failed if any failed, dropped if all dropped it."""
    if not deliveries:
        return Outcome(Dropped("its integrations allow no destination that there is"))
    by_kind = {outcome.kind: outcome for outcome in reversed([*deliveries.values()])}
    return by_kind.get("failed") or by_kind.get("delivered") or by_kind["dropped"]


def _integrations(receipt: Receipt, data: bytes) -> Mapping[str, Any]:
    """What the event says of who is to get it. That this is nothing is known since the call: 0.8 µs less."""
    nothing = not receipt._integrations and data is receipt.data
    return {} if nothing else head(data).integrations


def _options(plugin: PluginLike, data: bytes, integrations: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The object that stands for this plugin in the integrations, if it is one: a copy that is the plugin's alone."""
    if not integrations or not options(plugin, integrations):
        return None
    return options(plugin, head(data).integrations)


def _sealed(context: Context, plugins: Sequence[str]) -> bytes:
    """The bytes of an event that plugins have looked at: checked, encoded and measured again.

    Raises:
        DeliveryError: a plugin has made it something that cannot be sent.
    """
    # An id or a time that a plugin took away comes back: the API would put another in its place for every attempt.
    stamp = head(context.data).timestamp, context.id
    try:
        data = encode(whole(context.event, stamp, NO_DEFAULTS))
    except InvalidEvent as exc:
        raise PluginError(", ".join(plugins), f"the event cannot be sent any more: {exc}") from None
    if len(data) > MAX_EVENT_BYTES:
        raise EventTooLarge(len(data), MAX_EVENT_BYTES, largest_field(data))
    context._seal(data)
    return data


def _dropped(plugin: PluginLike, exc: DropEvent, context: Context) -> Outcome:
    context.log("info", f"dropped by {plugin.name}: {exc.reason}")
    return Outcome(Dropped(exc.reason))


def _plugin_error(plugin: PluginLike, exc: BaseException) -> PluginError:
    try:
        said = f"{type(exc).__name__}: {exc}"
    except Exception:  # noqa: BLE001 - even its text may raise
        said = type(exc).__name__
    error = PluginError(plugin.name, said)
    error.__cause__ = exc.with_traceback(None)
    return error
