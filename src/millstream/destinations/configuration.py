"""Destinations from a configuration: the signature of a constructor is the schema of its table.

    [destinations.product]
    type = "mixpanel"
    token = "…"

`type` is one of `TYPES`, or `package.module:Class` for a destination of your own. What a constructor's annotations say
(`Annotated[Secret, Meta(description=…, examples=…)]`) is what is checked, and what the documentation shows.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache, partial
from importlib import import_module
from types import GenericAlias, NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from .._public import publish
from ..errors import SettingsError
from ..secret import Secret
from .base import Destination

__all__ = ["TYPES", "Option", "class_of", "destination_of", "options_of", "schema_of"]

TYPES = {
    "amplitude": ".amplitude:Amplitude",
    "ga4": ".ga4:GA4",
    "mixpanel": ".mixpanel:Mixpanel",
    "posthog": ".posthog:PostHog",
    "slack": ".slack:Slack",
    "tracking_api": ".tracking_api:TrackingAPI",
    "webhook": ".webhook:Webhook",
}
"""The names of our own types of destinations, and where each is."""


class Option(Struct, frozen=True):
    """An option of a destination, as a configuration has it."""

    name: str
    type: str
    """What may stand there, in words."""
    required: bool
    default: Any
    description: str
    examples: tuple[Any, ...]
    secret: bool


def destination_of(name: str, table: Mapping[str, Any]) -> Destination:
    """Return the destination that a table of a configuration describes.

    Args:
        name: the table's name: what `integrations` calls the destination, unless the table has a `name`.
        table: `type`, and the arguments of its constructor.

    Raises:
        SettingsError: naming the table and the option, what is wrong, and what is allowed.
    """
    place = f"destinations.{name}"
    made_by = class_of(table.get("type"), f"{place}.type")
    given = {option: value for option, value in table.items() if option != "type"}
    known = {option.name: option for option in options_of(made_by)}
    for option in given:
        if option not in known:
            raise SettingsError(f"{place}.{option}: there is no such option{_near(option, known)}")
    if missing := [option.name for option in known.values() if option.required and option.name not in given]:
        raise SettingsError(f"{place}.{missing[0]} is missing: {known[missing[0]].description}")
    if "name" in known:
        given.setdefault("name", name)
    try:
        checked = msgspec.convert(given, schema_of(made_by), dec_hook=_decoded)
    except msgspec.ValidationError as exc:
        raise SettingsError(f"{place}{_told(exc, known)}") from None
    try:
        made = made_by(**{option: getattr(checked, option) for option in given})
    except SettingsError as exc:
        raise SettingsError(f"{place}: {exc}") from exc
    if not isinstance(made, Destination):
        raise SettingsError(f"{place}.type: {table['type']!r} makes a {type(made).__name__}, which is no destination")
    return made


def class_of(written: object, place: str = "type") -> Any:
    """Return the class that a type in a configuration names.

    Raises:
        SettingsError: there is none.
    """
    if not isinstance(written, str):
        wanted = f"one of {', '.join(TYPES)}, or 'package.module:Class'"
        raise SettingsError(f"{place} is {'missing' if written is None else repr(written)}; it must be {wanted}")
    if written not in TYPES and ":" not in written:
        raise SettingsError(f"{place}: there is no type {written!r}{_near(written, TYPES)}")
    module, _, attribute = TYPES.get(written, written).partition(":")
    try:
        return getattr(import_module(module, __package__), attribute)
    except (ImportError, AttributeError) as exc:
        raise SettingsError(f"{place}: {written!r} cannot be loaded: {exc}") from exc


@cache
def schema_of(made_by: Any) -> type[Struct]:
    """Return the schema of a constructor's arguments: a Struct that refuses what it does not know."""
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for parameter, hint in _parameters(made_by):
        wanted, meta = _plain(hint)
        annotated = wanted if meta is None else Annotated[wanted, meta]
        if parameter.default is parameter.empty:
            fields.append((parameter.name, annotated))
        else:
            fields.append((parameter.name, annotated, msgspec.field(default_factory=partial(_same, parameter.default))))
    return msgspec.defstruct(made_by.__name__, fields, kw_only=True, forbid_unknown_fields=True)


def options_of(made_by: Any) -> list[Option]:
    """Return the options of a destination's class, in the order of its constructor."""
    found: list[Option] = []
    for parameter, hint in _parameters(made_by):
        wanted, meta = _plain(hint)
        required = parameter.default is parameter.empty
        found.append(
            Option(
                name=parameter.name,
                type=_words(wanted),
                required=required,
                default=None if required else parameter.default,
                description=(meta.description if meta else None) or "",
                examples=tuple((meta.examples if meta else None) or ()),
                secret=_is_secret(wanted),
            )
        )
    return found


def _parameters(made_by: Any) -> list[tuple[inspect.Parameter, Any]]:
    hints = get_type_hints(made_by.__init__, include_extras=True)
    parameters = list(inspect.signature(made_by).parameters.values())
    return [
        (each, hints.get(each.name, Any))
        for each in parameters
        if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
    ]


def _plain(hint: Any) -> tuple[Any, Meta | None]:
    """Return a type as msgspec takes it, and what is said of it. Where a Secret may be, a text becomes one."""
    meta: Meta | None = None
    if get_origin(hint) in (Union, UnionType) and get_origin(get_args(hint)[0]) is Annotated:
        hint = get_args(hint)[0]  # Python 3.10 puts Optional around a parameter whose default is None
    if get_origin(hint) is Annotated:
        hint, *about = get_args(hint)
        meta = next((each for each in about if isinstance(each, Meta)), None)
    if get_origin(hint) in (Union, UnionType):
        kinds = get_args(hint)
        if Secret in kinds:
            return (Secret | None if NoneType in kinds else Secret), meta
        plain = [_plain(kind)[0] for kind in kinds]
        return Union[tuple(plain)], meta  # noqa: UP007 - of types that are known at run time
    if get_origin(hint) is not None and issubclass(get_origin(hint), Mapping):
        key, value = get_args(hint)
        return GenericAlias(dict, (key, _plain(value)[0])), meta
    return hint, meta


def _same(value: Any) -> Any:
    return value


def _decoded(wanted: type, value: object) -> Any:
    """Make what msgspec does not know: a Secret of a text."""
    if wanted is Secret and isinstance(value, str | Secret):
        return Secret(value)
    raise TypeError(f"it must be a {'str' if wanted is Secret else wanted.__name__}, got a {type(value).__name__}")


def _words(wanted: Any) -> str:
    """Return a type in words."""
    words = {str: "text", int: "integer", float: "number", bool: "boolean", Secret: "secret", NoneType: "none"}
    if wanted in words:
        return words[wanted]
    origin, inner = get_origin(wanted), get_args(wanted)
    if origin in (Union, UnionType):
        return " or ".join(_words(each) for each in inner if each is not NoneType)
    if origin is dict:
        return f"table of {_words(inner[1])}s"
    if origin is not None and inner:
        return f"list of {_words(inner[0])}s"
    return str(getattr(wanted, "__name__", wanted))


def _is_secret(wanted: Any) -> bool:
    """Return whether a value of this type is a secret, or holds some."""
    return wanted is Secret or any(_is_secret(each) for each in get_args(wanted))


def _near(name: str, known: Mapping[str, Any]) -> str:
    near = get_close_matches(name, known, 1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"


def _told(exc: msgspec.ValidationError, known: Mapping[str, Option]) -> str:
    """Return msgspec's message with the option first; it quotes no value."""
    message, _, path = str(exc).partition(" - at `$.")
    option = path.rstrip("`")
    about = known.get(option.partition("[")[0])
    what = f" ({about.description.rstrip('.')})" if about and about.description else ""
    return f".{option}: {message[:1].lower()}{message[1:]}{what}"


publish("millstream.destinations.configuration", Option, class_of, destination_of, options_of, schema_of)
