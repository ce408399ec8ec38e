"""Options that several commands share."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from millstream.client import Analytics
from millstream.errors import SettingsError
from millstream.settings import OAuthSettings, Settings

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from millstream.settings import SettingsArgs

__all__ = [
    "HOW",
    "AsJson",
    "Host",
    "InOrder",
    "MaxRetries",
    "OAuthAuthServer",
    "OAuthClientId",
    "OAuthClientKey",
    "OAuthKeyId",
    "Rate",
    "SpoolDir",
    "Target",
    "Timeout",
    "WriteKey",
    "help_of",
    "option",
    "spelled",
]

WHERE, HOW, OAUTH = "Where to", "How", "With OAuth"
"""Panels of the help."""


def option(*names: str, help: str, metavar: str = "", panel: str | None = None, **more: Any) -> Any:  # noqa: A002
    """Declare an option. `metavar` is its value in the help: `URL`, `JSON` …; a flag has none."""
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=panel, **more)


Host = Annotated[
    str | None,
    option(
        help=f"Base URL of the Tracking API. Default: {Settings.host}.",
        metavar="URL",
        panel=WHERE,
        envvar="MILLSTREAM_HOST",
    ),
]
WriteKey = Annotated[
    str | None,
    option(
        help="The source's write key. Safer in the environment: process lists show options.",
        metavar="KEY",
        panel=WHERE,
        envvar="MILLSTREAM_WRITE_KEY",
    ),
]
OAuthClientId = Annotated[str | None, option(help="The OAuth application's id.", metavar="ID", panel=OAUTH)]
OAuthClientKey = Annotated[Path | None, option(help="Its private key, a PEM file.", metavar="FILE", panel=OAUTH)]
OAuthKeyId = Annotated[str | None, option(help="The id of the public key.", metavar="ID", panel=OAUTH)]
OAuthAuthServer = Annotated[
    str | None,
    option(help=f"The authorization server. Default: {OAuthSettings.auth_server}.", metavar="URL", panel=OAUTH),
]
Timeout = Annotated[float, option(help="Time to wait for the last outcome.", metavar="SECONDS", panel=HOW, min=0)]
MaxRetries = Annotated[int, option(help="Retries of a request.", metavar="N", panel=HOW, min=0)]
Rate = Annotated[float | None, option(help="Rate limit, in events per second.", metavar="N", panel=HOW, min=0.1)]
InOrder = Annotated[bool, option("--in-order", help="Keep the order: one request at a time.", panel=HOW)]
SpoolDir = Annotated[Path, typer.Argument(metavar="DIR", help="The spool directory.", show_default=False)]
AsJson = Annotated[bool, option("--json", help="Print the result as JSON, for programs.")]


def help_of(command: Callable[..., object]) -> str:
    """A command's docstring as help text: paragraphs are wrapped to the terminal, examples stay as they are."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(each if each.startswith("[bold]") else each.replace("\n", " ") for each in paragraphs)


def spelled(name: str) -> str:
    """The canonical spelling of an option: `--userId`, as in other libraries, is `--user-id`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()


@dataclass(frozen=True)
class Target:
    """The Tracking API to send to, and the credentials."""

    host: str | None
    write_key: str | None
    oauth_client_id: str | None = None
    oauth_client_key: Path | None = None
    oauth_key_id: str | None = None
    oauth_auth_server: str | None = None

    @property
    def key(self) -> str:
        """The write key, stripped; empty if missing."""
        return (self.write_key or "").strip()

    def settings(self, **given: Unpack[SettingsArgs]) -> Settings:
        """Make the client's settings.

        Raises:
            SettingsError: a setting is missing or invalid.
        """
        if not self.key:
            raise SettingsError("no write key: pass --write-key, or set $MILLSTREAM_WRITE_KEY")
        settings = Settings.make(self.write_key, self._all(given))
        if settings.disable:
            raise SettingsError("$MILLSTREAM_DISABLE is set, so that nothing is sent: unset it")
        return settings

    def client(self, **given: Unpack[SettingsArgs]) -> Analytics:
        """Make a client.

        Raises:
            SettingsError: a setting is missing or invalid.
        """
        self.settings(**given)
        # The command reports failures itself: a second time in the log would be noise.
        logging.getLogger("millstream").addHandler(logging.NullHandler())
        return Analytics(self.write_key, **cast("dict[str, Any]", self._all(given)))

    def _all(self, given: SettingsArgs) -> SettingsArgs:
        where: SettingsArgs = {"host": self.host} if self.host else {}
        return {"on_invalid": "raise", **given, **where, "oauth_settings": self.oauth()}

    def oauth(self) -> OAuthSettings | None:
        """The OAuth settings, if any option was given.

        Raises:
            SettingsError: an option is missing, or the key cannot be read.
        """
        needed = {
            "--oauth-client-id": self.oauth_client_id,
            "--oauth-client-key": self.oauth_client_key,
            "--oauth-key-id": self.oauth_key_id,
        }
        if not any((*needed.values(), self.oauth_auth_server)):
            return None
        if missing := [name for name, value in needed.items() if not value]:
            raise SettingsError(f"OAuth needs {', '.join(needed)}; {' and '.join(missing)} is missing")
        return OAuthSettings(
            client_id=str(self.oauth_client_id),
            client_key=_text_of(Path(str(self.oauth_client_key))),
            key_id=str(self.oauth_key_id),
            auth_server=self.oauth_auth_server or OAuthSettings.auth_server,
        )


def _text_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"cannot read --oauth-client-key {path}: {error.strerror}") from error
