"""A collector's configuration: its options, the sources that write to it, and the destinations that it routes to.

port = 7070

[sources.web]
key = "${WEB_KEY}"

[destinations.product]
type = "mixpanel"
token = "file:/run/secrets/mixpanel"
[[destinations.product.filters]]
if = "type = 'page'"
drop = true

[alerts]
url = "https://me.example/alerts"
"""

from __future__ import annotations

import hashlib
import importlib
import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta, Struct

from .._core.events.timestamps import iso
from .._core.filters import Filters
from .._core.plan import Policy
from .._public import publish
from ..destinations.base import Destination, Limits
from ..destinations.configuration import destination_of
from ..errors import MissingExtra, SettingsError
from ..plan import Plan
from .transform import Transformation
from .values import resolved

__all__ = ["Alerts", "Configuration", "RoutePlan", "RouteSettings", "Source", "Transform", "check_transformations"]

TABLES = ("sources", "destinations", "alerts")

Positive = Annotated[int, Meta(ge=1)]


class Source(Struct, frozen=True, forbid_unknown_fields=True):
    """Who writes events: a site, an app, a service."""

    key: str
    """Its write key."""
    destinations: tuple[str, ...] | None = None
    """Names of the destinations that its events go to; None is all."""
    rate_limit: Annotated[float, Meta(gt=0)] | None = None
    """Events per second, at most; None is the collector's limit."""
    origins: tuple[str, ...] = ()
    """Sites whose pages may send with its key, as `https://shop.example`; none is any."""
    plan: str | dict[str, Any] | None = None
    """File of its tracking plan; or a table, with what is done with events that break it."""

    def __repr__(self) -> str:
        return f"Source(destinations={self.destinations}, origins={self.origins})"


class Alerts(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a message goes when a destination pauses, or lags."""

    url: str
    """A webhook, or Slack's."""
    lag: Annotated[float, Meta(gt=0)] = 600.0
    """Seconds that the oldest event of a destination may wait."""

    def __repr__(self) -> str:
        return f"Alerts(url=***, lag={self.lag})"


class _RouteOptions(Struct, frozen=True):
    """What a table of a destination has beside the constructor's arguments."""

    start: str = "now"
    lanes: Positive | None = None
    in_flight: Positive | None = None
    retry_for: Annotated[float, Meta(gt=0)] = 4 * 3600.0
    filters: tuple[dict[str, Any] | str, ...] = ()
    plan: str | dict[str, Any] | None = None
    transform: str | dict[str, Any] | None = None


_ROUTE_KEYS = frozenset(_RouteOptions.__struct_fields__)


class RoutePlan(Struct, frozen=True):
    """A tracking plan, and what is done with events that break it."""

    plan: Plan
    policy: Policy


class Transform(Struct, frozen=True, forbid_unknown_fields=True):
    """A function that events go through."""

    function: str
    """`module:function`."""
    deadline: Annotated[float, Meta(gt=0)] = 1.0
    """Seconds for one event."""
    memory: Annotated[int, Meta(ge=0)] = 1 << 30
    """Bytes of its process."""

    def made(self, folder: Path) -> Transformation:
        """Return it, to be started. Raises SettingsError."""
        return Transformation(self.function, deadline=self.deadline, memory=self.memory, folder=folder)


class RouteSettings(Struct, frozen=True):
    """One destination, and how events are routed to it."""

    name: str
    type: str
    destination: Destination
    limits: Limits
    filters: Filters | None = None
    plans: Mapping[str, RoutePlan] = {}
    """By source; that of all of them is under the empty name."""
    transform: Transform | None = None
    folder: Path = Path()
    """Of the configuration, which the function's module is looked for in."""
    start: str = "now"
    """Where it begins when it is new: `now`, `beginning`, or a time at which events were received."""
    retry_for: float = 4 * 3600.0
    """Seconds after its first failure for which a batch is tried again."""
    excluded: frozenset[str] = frozenset()
    """Names of the sources whose events do not go there."""
    fingerprint: str = ""
    """Changes when anything about it does."""

    def __repr__(self) -> str:
        return f"RouteSettings({self.name!r}, type={self.type!r})"


class Configuration(Struct, frozen=True):
    """All that a configuration file says."""

    options: Mapping[str, Any] = {}
    """Values of the options of `millstream serve`."""
    sources: Mapping[str, Source] = {}
    routes: Mapping[str, RouteSettings] = {}
    alerts: Alerts | None = None

    def __repr__(self) -> str:
        return f"Configuration(sources={list(self.sources)}, destinations={list(self.routes)})"

    @classmethod
    def read(cls, path: Path, options: Collection[str]) -> Configuration:
        """Read a file, and everything that it refers to.

        Args:
            path: a TOML file.
            options: the names that may stand at the top level, with underscores.

        Raises:
            SettingsError: naming the file and the place in it, what is wrong, and what is allowed. It quotes no secret.
        """
        try:
            return cls.parse(_toml(path), options, path.parent)
        except SettingsError as error:
            raise SettingsError(f"{path}: {error}") from error

    @classmethod
    def parse(cls, tables: Mapping[str, Any], options: Collection[str], folder: Path = Path()) -> Configuration:
        """Make a configuration of what a file says; `folder` is where it is. Raises SettingsError as `read` does."""
        given = {key.replace("-", "_"): value for key, value in tables.items() if key not in TABLES}
        for name in given:
            if name not in options:
                known = [*(each.replace("_", "-") for each in options), *TABLES]
                raise SettingsError(f"there is no option {name.replace('_', '-')}{_near(name, known)}")
        sources = {
            name: _converted(Source, table, f"sources.{name}") for name, table in _subtables(tables, "sources").items()
        }
        routes = {name: _route(name, table, folder) for name, table in _subtables(tables, "destinations").items()}
        alerts = tables.get("alerts")
        return cls(
            {name: resolved(value, name) for name, value in given.items()},
            sources,
            _joined(sources, routes, folder),
            None if alerts is None else _converted(Alerts, alerts, "alerts"),
        )


def check_transformations(routes: Iterable[RouteSettings]) -> None:
    """Start each transformation once. Raises SettingsError: one cannot be used."""
    for route in routes:
        if route.transform is not None:
            try:
                with route.transform.made(route.folder):
                    pass
            except SettingsError as error:
                raise SettingsError(f"destinations.{route.name}.transform: {error}") from error


def _route(name: str, table: Mapping[str, Any], folder: Path) -> RouteSettings:
    place = f"destinations.{name}"
    options = _converted(_RouteOptions, {key: table[key] for key in table.keys() & _ROUTE_KEYS}, place)
    given = resolved({key: value for key, value in table.items() if key not in _ROUTE_KEYS}, place)
    try:
        destination = destination_of(name, given)
    except SettingsError as error:
        near = _near_route_key(table, str(error))
        raise SettingsError(f"{error}{near}") from error
    try:
        filters = Filters(options.filters) if options.filters else None
    except SettingsError as error:
        raise SettingsError(f"{place}.filters: {error}") from error
    transform = None if options.transform is None else _transform(options.transform, f"{place}.transform", folder)
    limits = destination.limits
    limits = replace(limits, lanes=options.lanes or limits.lanes, in_flight=options.in_flight or limits.in_flight)
    return RouteSettings(
        name,
        str(given["type"]),
        destination,
        limits,
        filters,
        {} if options.plan is None else {"": _plan(options.plan, f"{place}.plan", folder)},
        transform,
        folder.absolute(),
        _start(options.start, f"{place}.start"),
        options.retry_for,
        fingerprint=_fingerprint(sorted(given.items()), options, _contents(options, folder)),
    )


def _fingerprint(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _plan(given: str | dict[str, Any], place: str, folder: Path) -> RoutePlan:
    """Read a tracking plan: `"plan.json"`, or a table with `file` and what is done with events that break it."""
    table = {"file": given} if isinstance(given, str) else dict(given)
    file = table.pop("file", None)
    if not isinstance(file, str):
        raise SettingsError(f"{place}.file is missing: it is the name of a file")
    try:
        return RoutePlan(Plan.load(folder / file), Policy.parse(table))
    except SettingsError as error:
        raise SettingsError(f"{place}: {error}") from error


def _plan_file(given: str | dict[str, Any], folder: Path) -> Path:
    return folder / str(given.get("file", "") if isinstance(given, dict) else given)


def _transform(given: str | dict[str, Any], place: str, folder: Path) -> Transform:
    transform: Transform = _converted(Transform, {"function": given} if isinstance(given, str) else given, place)
    try:
        transform.made(folder)
    except SettingsError as error:
        raise SettingsError(f"{place}: {error}") from error
    return transform


def _contents(options: _RouteOptions, folder: Path) -> list[bytes]:
    """Return the files that a route names: it changes with them."""
    plan, transform = options.plan, options.transform
    function = transform.get("function", "") if isinstance(transform, dict) else transform or ""
    module = str(function).partition(":")[0].replace(".", "/")
    files = [
        plan.get("file", "") if isinstance(plan, dict) else plan,
        module and f"{module}.py",
        module and f"{module}/__init__.py",
    ]
    return [(folder / str(file)).read_bytes() for file in files if file and (folder / str(file)).is_file()]


def _near_route_key(table: Mapping[str, Any], message: str) -> str:
    """A remedy, where what is taken for a constructor's argument is a misspelt option of the route."""
    for key in table:
        if f".{key}: there is no such option" in message and (near := get_close_matches(key, _ROUTE_KEYS, 1)):
            return f"; or {near[0]!r}?"
    return ""


def _start(text: str, place: str) -> str:
    if text in {"now", "beginning"}:
        return text
    try:
        return iso(text)
    except (ValueError, OverflowError):
        raise SettingsError(f"{place} is {text!r}; it must be now, beginning, or a time in ISO 8601") from None


def _joined(sources: Mapping[str, Source], routes: dict[str, RouteSettings], folder: Path) -> dict[str, RouteSettings]:
    """Return the routes with the sources that each of them takes. Raises SettingsError for names that there are not."""
    keys: dict[str, str] = {}
    for name, source in sources.items():
        if not _NAME.fullmatch(name):
            raise SettingsError(f"sources.{name!r}: a name is of letters, digits, _ and -, at most 64")
        if not source.key:
            raise SettingsError(f"sources.{name}.key is empty")
        if source.key in keys:
            raise SettingsError(f"sources.{name}.key is that of sources.{keys[source.key]}, too")
        keys[source.key] = name
        for wanted in source.destinations or ():
            if wanted not in routes:
                raise SettingsError(
                    f"sources.{name}.destinations: there is no destination {wanted!r}{_near(wanted, routes)}"
                )
    plans = {
        name: _plan(source.plan, f"sources.{name}.plan", folder)
        for name, source in sources.items()
        if source.plan is not None
    }
    files = [_plan_file(source.plan, folder).read_bytes() for source in sources.values() if source.plan is not None]
    return {name: _of_sources(route, sources, plans, files) for name, route in routes.items()}


def _of_sources(
    route: RouteSettings, sources: Mapping[str, Source], plans: Mapping[str, RoutePlan], files: Sequence[bytes]
) -> RouteSettings:
    """Return a route without the sources whose events do not go there, and with the tracking plans of the others."""
    excluded = frozenset(
        name for name, each in sources.items() if each.destinations is not None and route.name not in each.destinations
    )
    return msgspec.structs.replace(
        route,
        excluded=excluded,
        plans={**plans, **route.plans},
        fingerprint=_fingerprint(route.fingerprint, sorted(excluded), sorted(plans), files),
    )


_NAME = re.compile(r"[0-9A-Za-z_-]{1,64}")


def _subtables(tables: Mapping[str, Any], name: str) -> Mapping[str, Mapping[str, Any]]:
    found = tables.get(name, {})
    if not isinstance(found, dict):
        raise SettingsError(f"{name} must be a table: write [{name}.NAME]")
    named = cast("dict[str, Any]", found)
    for key, table in named.items():
        if not isinstance(table, dict):
            raise SettingsError(f"{name}.{key} must be a table: write [{name}.{key}]")
    return named


def _converted(kind: type[Any], table: object, place: str) -> Any:
    if not isinstance(table, dict):
        raise SettingsError(f"{place} must be a table: write [{place}]")
    given = cast("dict[str, Any]", table)
    for key in given:
        if key not in kind.__struct_fields__:
            raise SettingsError(f"{place}.{key}: there is no such option{_near(key, kind.__struct_fields__)}")
    try:
        return msgspec.convert(resolved(given, place), kind)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise SettingsError(f"{place}{path.rstrip('`')}: {message[:1].lower()}{message[1:]}") from None


def _near(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name, known, 1)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(sorted(known))}"


def _toml(path: Path) -> dict[str, Any]:
    try:
        toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    except ImportError:
        raise MissingExtra("a configuration file on Python 3.10", "collector") from None
    try:
        found: dict[str, Any] = toml.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"it cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"it is no TOML: {error}") from error
    return found


publish("millstream.router", Alerts, Configuration, RouteSettings, Source)
