"""The settings: defaults, units and allowed values. Checked when a client is made."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypedDict, cast

from ._elsewhere import setting_hint
from ._public import publish
from .errors import SettingsError
from .reserved import EventContext
from .spec import MAX_BATCH_EVENTS
from .types import HTTPClient, HTTPClientFunction
from .urls import objection, redacted

__all__ = ["OAuthSettings", "Settings", "SettingsArgs", "seconds"]

Overflow = Literal["drop_newest", "block", "raise"]
OnInvalid = Literal["raise", "report"]
SigningAlgorithm = Literal["RS256", "ES256"]

MILLISECONDS_FROM = 1000.0
"""From here on a number of seconds must be milliseconds: so long a wait helps no event."""


class SettingsArgs(TypedDict, total=False):
    """The settings as keyword arguments of a client; documented at `Settings`."""

    host: str | None
    path: str
    max_retries: int
    flush_at: int
    flush_interval: float
    http_request_timeout: float
    disable: bool
    debug: bool
    http_client: HTTPClient | HTTPClientFunction | None
    oauth_settings: OAuthSettings | None
    max_batch_events: int | None
    max_in_flight: int
    max_queue_events: int
    max_queue_bytes: int
    overflow: Overflow
    max_total_backoff_duration: float
    max_rate_limit_duration: float
    gzip: bool
    proxy: str | None
    context: EventContext | Mapping[str, Any] | None
    integrations: Mapping[str, Any] | None
    context_providers: Sequence[Callable[[], Mapping[str, Any]]]
    on_invalid: OnInvalid | None
    exit_timeout: float
    handle_sigterm: bool
    plugin_timeout: float
    destinations: Sequence[Any]
    spool: str | os.PathLike[str] | None
    spool_sync: str
    spool_max_bytes: int
    spool_max_age: float


@dataclass(frozen=True)
class OAuthSettings:
    """OAuth 2.0 credentials of a client: client credentials with a signed assertion (RFC 7523).

    With a key in a key service, `signer` replaces `client_key`. Values are checked when a client is made with them, and
    no key is ever printed.
    """

    client_id: str
    """The OAuth application's id."""
    client_key: str | bytes | None = field(default=None, repr=False)
    """The private key, the text of a PEM file: RSA (signs RS256) or EC on P-256 (signs ES256)."""
    key_id: str = ""
    """The id of the public key at the server."""
    auth_server: str = "https://oauth2.segment.io"
    """Base URL of the authorization server: that of the workspace's region, as tokens are valid in one region only."""
    scope: str = "tracking_api:write"
    """The scope of the token."""
    max_retries: int | None = None
    """Retries of a token request before waiting batches count it as their own failed attempt. Default: the client's
    `max_retries`."""
    http_client: HTTPClient | HTTPClientFunction | None = field(default=None, repr=False)
    """Sends token requests; by default the events' HTTP client."""
    signer: Callable[[bytes], bytes] | None = field(default=None, repr=False)
    """Signs bytes with SHA-256 and the private key; may be called in any thread."""
    algorithm: SigningAlgorithm | None = None
    """The algorithm of `signer`. With `client_key` the key determines it."""

    def __repr__(self) -> str:
        return _shown(self, "auth_server")

    def stripped(self) -> OAuthSettings:
        """Strip white space around texts: files and environments often end in a newline."""
        return replace(self, **_stripped(vars(self), "client_id", "key_id", "auth_server", "scope"))

    def check(self) -> None:
        """Raise SettingsError for the first invalid value. The key is read later."""
        for name in ("client_id", "key_id", "scope"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise _wrong(f"oauth_settings: {name}", value, "a text that is not empty")
            _check_printable(f"oauth_settings: {name}", value)
        _check_url("oauth_settings: auth_server", self.auth_server)
        if (self.client_key is None) == (self.signer is None):
            raise SettingsError("oauth_settings needs a client_key or a signer, and not both")
        _check_secret("oauth_settings: client_key", self.client_key, str, bytes, type(None))
        if self.algorithm is not None or self.signer is not None:
            _check_choice("oauth_settings: algorithm", self.algorithm, ("RS256", "ES256"))
        if self.signer is not None and not callable(self.signer):
            raise SettingsError("oauth_settings: signer must be a function of bytes that returns the signature")
        if self.max_retries is not None:
            _check_count("oauth_settings: max_retries", self.max_retries, least=0)


@dataclass(frozen=True)
class Settings:
    """The settings of a client. Times are in seconds, sizes in bytes."""

    write_key: str = field(default="", repr=False)
    """The source's key. Default: `$MILLSTREAM_WRITE_KEY`."""
    host: str = "https://api.segment.io"
    """Base URL of the Tracking API; a path in it is kept. Default: `$MILLSTREAM_HOST`."""
    path: str = "/v1/batch"
    """Path of the batch endpoint, after `host`."""
    max_retries: int = 3
    """Retries of a batch."""
    flush_at: int = 15
    """Events that make a batch due. 1 sends every event in a request of its own."""
    flush_interval: float = 10.0
    """Seconds after which an event is sent even if fewer than `flush_at` wait."""
    http_request_timeout: float = 10.0
    """Seconds for one request, from connecting to the end of the answer."""
    disable: bool = False
    """Validate calls and do nothing else: receipts succeed, no key is needed. `$MILLSTREAM_DISABLE` does the same."""
    debug: bool = False
    """Show requests, answers, retries and outcomes in the log, without keys and contents. `$MILLSTREAM_DEBUG` does the
    same, and so does the level DEBUG of the logger `millstream`."""
    http_client: HTTPClient | HTTPClientFunction | None = None
    """Sends requests; by default a Urllib3Client, for AsyncAnalytics an AiohttpClient."""
    oauth_settings: OAuthSettings | None = None
    """Send with OAuth 2.0 tokens instead of the write key alone. Needs the extra `oauth`, unless it has a `signer`."""
    max_batch_events: int | None = None
    """Events in one request, at most. By default 2500, the API's limit, or 1 when `flush_at` is 1."""
    max_in_flight: int = 4
    """Requests in flight at once. 1 keeps the total order of events, retries included."""
    max_queue_events: int = 100_000
    """Pending events, at most."""
    max_queue_bytes: int = 64 * 1024 * 1024
    """Bytes of pending events, at most."""
    overflow: Overflow = "drop_newest"
    """When the queue is full: drop the new event (`drop_newest`), wait for room (`block`), or `raise` QueueFull."""
    max_total_backoff_duration: float = 43_200.0
    """Seconds after its first counted failure for which a batch is retried, at most."""
    max_rate_limit_duration: float = 43_200.0
    """Seconds for which the server may limit the rate, at most."""
    gzip: bool = False
    """Compress request bodies."""
    proxy: str | None = None
    """URL of a proxy, HTTP or SOCKS. Default: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`."""
    context: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Context for every event; a call's own is merged over it."""
    integrations: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Integrations for every event; a call's own are merged over them."""
    context_providers: Sequence[Callable[[], Mapping[str, Any]]] = ()
    """Called in the event call: their results are merged under the call's own context."""
    on_invalid: OnInvalid = "report"
    """What a call does that cannot become an event: `report` it (a line in the log, an `error` event, a failed receipt)
    or `raise` InvalidEvent, for tests and scripts. Without it `$MILLSTREAM_ON_INVALID` counts."""
    exit_timeout: float = 5.0
    """Seconds for delivering pending events at the end of the process."""
    handle_sigterm: bool = True
    """Deliver pending events on SIGTERM, too, and then end by it. Only if the client is made on the main thread, and
    never in place of a handler of the application."""
    plugin_timeout: float = 30.0
    """Seconds for an `async def` hook of a plugin; then it fails with TimeoutError. Only for AsyncAnalytics:
    a plain function that hangs cannot be interrupted."""
    destinations: Sequence[Any] = field(default=(), repr=False)
    """Destinations that get every event from the first one on, as if registered: `[Mixpanel(token=…)]`. With one, no
    write key is needed: without a key there is no Tracking API."""
    spool: str | os.PathLike[str] | None = None
    """Directory that stores every event from its call until its outcome, so that a killed process loses nothing.
    Several processes may share it; the next one that starts delivers what an exited one left."""
    spool_sync: str = "never"
    """When the spool is synced to disk (fsync), against a loss of power: `never` (the operating system decides, which
    is enough for a killed process), `always` (before the call returns) or `interval:500ms` (or `interval:2s`)."""
    spool_max_bytes: int = 1 << 30
    """Bytes of the spool directory, at most. Beyond, events are only in memory."""
    spool_max_age: float = 604_800.0
    """Seconds after which a spooled event whose retries are exhausted fails, instead of resting again."""

    @classmethod
    def make(cls, write_key: str | None, given: Mapping[str, Any]) -> Settings:
        """Make the settings from a client's arguments and the environment.

        Raises:
            SettingsError: names the setting, its value, and what is allowed.
        """
        known = [f.name for f in fields(cls)]
        for name in given:
            if name not in known:
                near = get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
                raise SettingsError(f"no setting {name!r}; {setting_hint(name) or hint}")
        values: dict[str, Any] = {
            name: value for name, value in given.items() if value is not None or name not in LEFT_OUT
        }
        for name, variable in FROM_ENVIRONMENT.items():
            values.setdefault(name, os.environ.get(variable, "").strip() or getattr(cls, name))
        values["write_key"] = os.environ.get("MILLSTREAM_WRITE_KEY", "") if write_key is None else write_key
        for name, variable in SWITCHES.items():
            if os.environ.get(variable, "").strip().lower() in {"1", "true", "yes", "on"}:
                values[name] = True
        values |= _stripped(values, "write_key", "host", "path", "proxy")
        if isinstance(oauth := values.get("oauth_settings"), OAuthSettings):
            values["oauth_settings"] = oauth.stripped()
        settings = cls(**values)
        settings.check()
        return settings if settings.spool is None else replace(settings, spool=_absolute("spool", settings.spool))

    def __repr__(self) -> str:
        return _shown(self, "host", "proxy")

    def check(self) -> None:
        """Raise SettingsError for the first invalid value."""
        _check_type("write_key", self.write_key, str)
        if not (self.write_key or self.destinations or self.disable):
            raise SettingsError(
                "write_key is missing: pass it first (`Analytics('…')`) or set $MILLSTREAM_WRITE_KEY; without a "
                "Tracking API name where events go instead (`Analytics(destinations=[Mixpanel(token=…)])`); "
                "tests need none with disable=True or $MILLSTREAM_DISABLE=1"
            )
        if not self.write_key.isprintable():
            raise SettingsError("write_key has a line break or another invisible character in it: pass the key alone")
        self._check_http()
        self._check_oauth()
        self._check_counts()
        self._check_times()
        for name in ("disable", "debug", "gzip", "handle_sigterm"):
            _check_type(name, getattr(self, name), bool)
        for name in ("context", "integrations"):
            _check_type(name, getattr(self, name), Mapping)
        _check_destinations("destinations", self.destinations)
        _check_functions("context_providers", self.context_providers)
        _check_choice("overflow", self.overflow, ("drop_newest", "block", "raise"))
        _check_choice("on_invalid", self.on_invalid, ("raise", "report"))
        self._check_spool()

    def _check_spool(self) -> None:
        _check_path("spool", self.spool)
        _sync_interval(self.spool_sync)
        _check_count("spool_max_bytes", self.spool_max_bytes, least=1)
        seconds("spool_max_age", self.spool_max_age, long=True)

    def _check_http(self) -> None:
        _check_url("host", self.host)
        _check_type("path", self.path, str)
        if not self.path.isprintable() or re.search(r"[ \\?#]", self.path):
            allowed = "a path without ?query, #fragment, spaces, backslashes and invisible characters"
            raise _wrong("path", redacted(self.path), f"{allowed}: percent-encode them")
        if self.proxy is not None:
            _check_url("proxy", self.proxy, "http", "https", "socks5", "socks5h", "socks4", "socks4a")

    def _check_oauth(self) -> None:
        _check_secret("oauth_settings", self.oauth_settings, OAuthSettings, type(None))
        if self.oauth_settings is not None and not self.disable:  # else no key is needed either
            self.oauth_settings.check()

    def _check_counts(self) -> None:
        for name in ("flush_at", "max_in_flight", "max_queue_events", "max_queue_bytes"):
            _check_count(name, getattr(self, name), least=1)
        _check_count("max_retries", self.max_retries, least=0)
        if self.max_batch_events is not None:
            _check_count("max_batch_events", self.max_batch_events, least=1)
            if self.max_batch_events > MAX_BATCH_EVENTS:
                raise _wrong("max_batch_events", self.max_batch_events, f"1 to {MAX_BATCH_EVENTS}, the API's limit")

    def _check_times(self) -> None:
        for name in ("flush_interval", "http_request_timeout", "plugin_timeout"):
            seconds(name, getattr(self, name), above_zero=True)
        seconds("exit_timeout", self.exit_timeout)
        for name in ("max_total_backoff_duration", "max_rate_limit_duration"):
            seconds(name, getattr(self, name), long=True)

    @property
    def url(self) -> str:
        """The URL of batches: `path` after `host`, whose own path is kept."""
        path = self.path.strip("/")
        return self.host.rstrip("/") + (f"/{path}" if path else "")

    @property
    def batch_events(self) -> int:
        """Events in one request, at most."""
        if self.max_batch_events is not None:
            return self.max_batch_events
        return 1 if self.flush_at == 1 else MAX_BATCH_EVENTS

    @property
    def sync_interval(self) -> float | None:
        """Seconds between two fsyncs of the spool: 0 is in every call, None is never."""
        return _sync_interval(self.spool_sync)

    @property
    def patience(self) -> float:
        """The default timeout of `flush` and `close_and_flush` in seconds, as the Node library's close."""
        return 1.25 * max(60.0, self.flush_interval)


FROM_ENVIRONMENT = {"host": "MILLSTREAM_HOST", "on_invalid": "MILLSTREAM_ON_INVALID"}
"""Settings that a variable stands in for, when they are not given."""
LEFT_OUT = {*FROM_ENVIRONMENT, "context", "integrations"}
"""Settings for which None means that they are not given."""
SWITCHES = {"disable": "MILLSTREAM_DISABLE", "debug": "MILLSTREAM_DEBUG"}
"""Settings that a variable switches on, whatever the argument says."""


def seconds(name: str, value: object, *, above_zero: bool = False, long: bool = False) -> float:
    """Check a time in seconds.

    Raises:
        SettingsError: it is not a number, negative, or so large that it must be milliseconds (unless `long`).
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise _wrong(name, value, "a number of seconds, 0 or more")
    if value == 0 and above_zero:
        raise _wrong(name, value, "a number of seconds above 0")
    if value >= MILLISECONDS_FROM and not long:
        raise _wrong(name, value, f"seconds; {value:g} looks like milliseconds: write {value / 1000:g}")
    return float(value)


def _check_path(name: str, value: Any) -> None:
    if value is None:
        return
    try:
        path = cast("str | bytes", os.fspath(value))
        usable = isinstance(path, str) and bool(path) and b"\0" not in os.fsencode(path)
    except (TypeError, ValueError):
        usable = False
    if not usable:
        raise _wrong(name, value, "the path of a directory")


def _absolute(name: str, path: str | os.PathLike[str]) -> Path:
    """Make a path absolute: a process that becomes a daemon changes its directory, and makes its spool later."""
    try:
        return Path(path).absolute()
    except OSError as exc:
        raise SettingsError(f"{name} is a relative path, and the working directory is gone: make it absolute") from exc


def _sync_interval(value: object) -> float | None:
    """Parse `never` (None), `always` (0), `interval:500ms` or `interval:2s` to seconds."""
    if value == "never":
        return None
    if value == "always":
        return 0.0
    match = re.fullmatch(r"interval:(\d+(?:\.\d+)?)(ms|s)", value) if isinstance(value, str) else None
    if match is None or not float(match[1]):
        raise _wrong("spool_sync", value, "'never', 'always' or an interval such as 'interval:500ms'")
    return float(match[1]) / (1000 if match[2] == "ms" else 1)


def _check_count(name: str, value: object, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise _wrong(name, value, f"an int of {least} or more")


def _check_type(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise _wrong(name, value, f"a {kind.__name__.lower()}")


def _check_secret(name: str, value: object, kind: type, *others: type) -> None:
    if not isinstance(value, (kind, *others)):
        raise SettingsError(f"{name} is a {type(value).__name__}; it must be a {kind.__name__}")


def _check_destinations(name: str, value: object) -> None:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise _wrong(name, value, "a list of destinations, such as [Mixpanel(token=…)]")


def _check_functions(name: str, value: object) -> None:
    parts = cast("Sequence[object]", value)
    if not isinstance(value, Sequence) or not all(map(callable, parts)):
        raise _wrong(name, parts, "a sequence of functions that return a mapping")


def _check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise _wrong(name, value, " or ".join(repr(choice) for choice in allowed))


def _check_url(name: str, value: object, *schemes: str) -> None:
    _check_type(name, value, str)
    url = cast("str", value)
    if allowed := objection(url, *schemes):
        raise _wrong(name, redacted(url), allowed)


def _check_printable(name: str, value: str) -> None:
    if not value.isprintable():
        raise _wrong(name, value, "a text without line breaks and other invisible characters")


def _stripped(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Strip white space around those of these values that are texts."""
    return {name: values[name].strip() for name in names if isinstance(values.get(name), str)}


def _shown(settings: Settings | OAuthSettings, *urls: str) -> str:
    """Return the settings' repr, without the passwords in these URLs."""
    values = {each.name: getattr(settings, each.name) for each in fields(settings) if each.repr}
    values |= {name: redacted(values[name]) for name in urls if isinstance(values[name], str)}
    return f"{type(settings).__name__}({', '.join(f'{name}={value!r}' for name, value in values.items())})"


def _wrong(name: str, value: object, allowed: str) -> SettingsError:
    shown = f"a {type(value).__name__}" if name == "write_key" else repr(value)
    return SettingsError(f"{name} is {shown}; it must be {allowed}")


publish("millstream", OAuthSettings)
