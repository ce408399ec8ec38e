"""The pipeline: what plugins do to an event on its way, as a dialog that every driver can run.

    before ──▶ enrichment ──▶ the Tracking API and the destinations, side by side ──▶ outcome ──▶ after

The dialog is a generator. It yields what it needs (call this hook, call these side by side, deliver this event) and is
sent what came of it, or thrown what the hook raised. It decides, and the driver does: the thread driver calls hooks one
after another, the asyncio driver awaits them, and the rules below are written once.

    stage        a hook raises                a hook cancels (`ctx.cancel`, DropEvent)   it returns nothing
    ──────────── ──────────────────────────── ────────────────────────────────────────── ──────────────────
    before       the event fails: PluginError dropped                                    the context is kept
    enrichment   reported, the event goes on  dropped                                    the context is kept
    destination  reported, the others go on   noted as dropped there, the others go on   nothing
    after        reported                     reported                                   nothing
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, cast

from msgspec import Struct

from ..errors import DeliveryError, DropEvent, Dropped, EventTooLarge, InvalidEvent, PluginError
from .context import Context
from .encoding import encode, head, largest_field
from .events import MAX_EVENT_BYTES, NO_DEFAULTS, whole
from .receipt import Outcome

__all__ = ["SEGMENT", "Call", "Deliver", "Delivered", "Dialog", "Report", "Step", "Timeline", "Together", "process"]

SEGMENT = "Segment.io"
"""The Tracking API's own name among the destinations, as in the Node library."""


class Hooked(Protocol):
    """As much of a plugin as the pipeline asks for."""

    name: str
    type: str


class Call(Struct, eq=False):
    """Call this plugin's hook with this context; send back what it returns, throw what it raises."""

    plugin: Hooked
    hook: str
    context: Context


class Together(Struct, eq=False):
    """Do these calls side by side; send back, for each, the exception it raised or None."""

    calls: Sequence[Call]


class Deliver(Struct, eq=False):
    """Hand these bytes to the Tracking API, and go on."""

    data: bytes


class Delivered(Struct, eq=False):
    """Send back the Outcome of the delivery, when there is one."""


class Report(Struct, eq=False):
    """Tell `error` listeners of a plugin that failed where its failure stops nothing."""

    error: PluginError
    context: Context


# Structs, because several are made for every event: 0.1 µs for each, and 0.9 for a frozen dataclass.
Step: TypeAlias = Call | Together | Deliver | Delivered | Report
Dialog: TypeAlias = Generator[Step, Any, Outcome | None]


class Timeline:
    """The registered plugins, in order of registration within each type."""

    def __init__(self) -> None:
        self._plugins: list[Hooked] = []
        self._hooked: dict[tuple[str, str], list[Hooked]] = {}  # what has been asked since the last change

    def __bool__(self) -> bool:
        return bool(self._plugins)

    def add(self, plugin: Hooked) -> None:
        """Run this plugin for the events that come from now on. A plugin of the same name is replaced."""
        self._plugins = [*(other for other in self._plugins if other.name != plugin.name), plugin]
        self._hooked = {}

    def remove(self, name: str) -> None:
        """Stop running the plugin of this name, if there is one."""
        self._plugins = [plugin for plugin in self._plugins if plugin.name != name]
        self._hooked = {}

    def hooked(self, stage: str, kind: str) -> list[Hooked]:
        """The plugins of a stage that have a hook for this kind of event. Not to be changed."""
        known = self._hooked  # the same to the end: one that changes meanwhile is not to keep what was true before
        found = known.get((stage, kind))
        if found is None:
            plugins = [p for p in self._plugins if p.type == stage and callable(getattr(p, kind, None))]
            found = known[stage, kind] = plugins
        return found

    def still(self, plugins: Iterable[Hooked]) -> list[Hooked]:
        """Those of these plugins that have not been removed since."""
        return [p for p in plugins if any(p is one for one in self._plugins)]


def process(context: Context, kind: str, timeline: Timeline) -> Dialog:
    """One event's way through the plugins. Returns its Outcome, or None when delivery alone decides it."""
    plugins = [*timeline.hooked("before", kind), *timeline.hooked("enrichment", kind)]
    for plugin in plugins:
        try:
            context.log("debug", "plugin", {"plugin": plugin.name})
            returned: object = yield Call(plugin, kind, context)
            if returned is not None and returned is not context:
                _adopt(context, returned, kind)
        except DropEvent as exc:
            return _dropped(plugin, exc, context)
        except Exception as exc:  # noqa: BLE001 - a plugin may raise anything
            error = _plugin_error(plugin, exc)
            if plugin.type == "before":
                return Outcome(error)
            yield Report(error, context)
    try:
        data = _sealed(context, plugins)
    except DeliveryError as exc:
        return Outcome(exc)
    return (yield from _deliver(context, kind, data, timeline))


def _adopt(context: Context, returned: object, kind: str) -> None:
    if not isinstance(returned, Context):
        raise TypeError(f"{kind} returned {type(returned).__name__}; it must return the context, or nothing")
    context.adopt(returned)


def _deliver(context: Context, kind: str, data: bytes, timeline: Timeline) -> Dialog:
    """The event goes out: to the destinations that its integrations allow, and to the Tracking API."""
    plugins, after = timeline.hooked("destination", kind), timeline.hooked("after", kind)
    integrations = head(data).integrations
    plugins = [p for p in plugins if _chosen(p, integrations) is not False]
    to_segment = integrations.get(SEGMENT, True) is not False
    if to_segment:
        yield Deliver(data)
        if not plugins and not after:
            return None
    elif not plugins:
        context.log("info", "no destination")
    if plugins:
        # Each gets a context of its own, so that none can change what another sees.
        calls = [Call(p, kind, Context(data, context.id, options=_options(p, data, integrations))) for p in plugins]
        raised: list[BaseException | None] = yield Together(calls)
        for plugin, exc in zip(plugins, raised, strict=True):
            context.deliveries[plugin.name] = noted = _noted(context, plugin, exc)
            if isinstance(noted.error, PluginError):
                yield Report(noted.error, context)
    if to_segment:
        outcome: Outcome = yield Delivered()
        context.deliveries[SEGMENT] = outcome
    else:
        outcome = _in_sum(context.deliveries)
    context.settle(outcome.attempts, outcome.error)
    for plugin in timeline.still(after):  # it may be long since it was decided: nobody's hook runs after `unload`
        try:
            yield Call(plugin, kind, context)
        except (DropEvent, Exception) as exc:  # noqa: BLE001
            yield Report(_plugin_error(plugin, exc), context)
    return outcome


_AT_PLUGIN = Outcome()


def _noted(context: Context, plugin: Hooked, exc: BaseException | None) -> Outcome:
    """What became of an event at a destination, by what its hook raised."""
    if exc is None:
        return _AT_PLUGIN
    if isinstance(exc, DropEvent):
        return _dropped(plugin, exc, context)
    return Outcome(_plugin_error(plugin, exc))


def _in_sum(deliveries: Mapping[str, Outcome]) -> Outcome:
    """The outcome of an event that does not go to the Tracking API: failed if any failed, dropped if all dropped it."""
    if not deliveries:
        return Outcome(Dropped("its integrations allow no destination that there is"))
    by_kind = {outcome.kind: outcome for outcome in reversed([*deliveries.values()])}
    return by_kind.get("failed") or by_kind.get("delivered") or by_kind["dropped"]


def _chosen(plugin: Hooked, integrations: Mapping[str, Any]) -> Any:
    """What an event's integrations say of this plugin: under its name, its other names (the last counts), or `All`."""
    if not integrations:
        return True
    for name in (plugin.name, *reversed(getattr(plugin, "alternative_names", ())), "All"):
        if name in integrations:
            return integrations[name]
    return True


def _options(plugin: Hooked, data: bytes, integrations: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object that stands for this plugin in the integrations, if it is one: a copy that is the plugin's alone."""
    chosen = _chosen(plugin, integrations)
    if chosen is True or not isinstance(chosen, Mapping):
        return {}
    return cast("Mapping[str, Any]", _chosen(plugin, head(data).integrations))


def _sealed(context: Context, plugins: Iterable[Hooked]) -> bytes:
    """The event's bytes after the plugins: checked, encoded and measured again, if any of them looked at it.

    Raises:
        DeliveryError: a plugin has made it something that cannot be sent.
    """
    if not context.looked_at:
        return context.data
    # An id or a time that a plugin took away comes back: the API would put another in its place for every attempt.
    stamp = head(context.data).timestamp, context.id
    try:
        data = encode(whole(context.event, stamp, NO_DEFAULTS))
    except InvalidEvent as exc:
        raise PluginError(", ".join(p.name for p in plugins), f"the event cannot be sent any more: {exc}") from None
    if len(data) > MAX_EVENT_BYTES:
        raise EventTooLarge(len(data), MAX_EVENT_BYTES, largest_field(data))
    context.seal(data)
    return data


def _dropped(plugin: Hooked, exc: DropEvent, context: Context) -> Outcome:
    context.log("info", f"dropped by {plugin.name}: {exc.reason}")
    return Outcome(Dropped(exc.reason))


def _plugin_error(plugin: Hooked, exc: BaseException) -> PluginError:
    try:
        said = f"{type(exc).__name__}: {exc}"
    except Exception:  # noqa: BLE001 - even its text may raise
        said = type(exc).__name__
    error = PluginError(plugin.name, said)
    error.__cause__ = exc.with_traceback(None)
    return error
