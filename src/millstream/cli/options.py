"""The options that several commands share, each described once."""

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
    "Access",
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
    "Timeout",
    "WriteKey",
    "help_of",
    "option",
    "spelled",
]

WHERE, HOW, OAUTH = "Where to", "How", "With OAuth"
"""Panels of the help."""


def option(*names: str, help: str, metavar: str = "", panel: str | None = None, **more: Any) -> Any:  # noqa: A002
    """An option as the help shows it. `shape` is what it takes: `URL`, `JSON` …; a flag takes nothing."""
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=panel, **more)


Host = Annotated[
    str | None,
    option(
        help=f"Base URL of the Tracking API; without one {Settings.host}.",
        metavar="URL",
        panel=WHERE,
        envvar="MILLSTREAM_HOST",
    ),
]
WriteKey = Annotated[
    str | None,
    option(
        help="The source's key. In the environment it is safer: options can be seen in the list of processes.",
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
    option(help=f"The authorization server; without one {OAuthSettings.auth_server}.", metavar="URL", panel=OAUTH),
]
Timeout = Annotated[float, option(help="How long to wait for the last outcome.", metavar="SECONDS", panel=HOW, min=0)]
MaxRetries = Annotated[int, option(help="Attempts after the first, for a request.", metavar="N", panel=HOW, min=0)]
Rate = Annotated[float | None, option(help="Events a second, at most.", metavar="N", panel=HOW, min=0.1)]
InOrder = Annotated[bool, option("--in-order", help="One request at a time: no event overtakes another.", panel=HOW)]
SpoolDir = Annotated[Path, typer.Argument(metavar="DIR", help="The spool directory.", show_default=False)]
AsJson = Annotated[bool, option("--json", help="Print the result as JSON, for programs.")]


def help_of(command: Callable[..., object]) -> str:
    """A command's docstring as the help shows it: paragraphs are as wide as the terminal, examples stay as they are."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(each if each.startswith("[bold]") else each.replace("\n", " ") for each in paragraphs)


def spelled(name: str) -> str:
    """An option's name as we spell it: `--userId`, as other libraries have it, is `--user-id`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()


@dataclass(frozen=True)
class Access:
    """Whom to send to, and who it is that sends."""

    host: str | None
    write_key: str | None
    oauth_client_id: str | None = None
    oauth_client_key: Path | None = None
    oauth_key_id: str | None = None
    oauth_auth_server: str | None = None

    @property
    def key(self) -> str:
        """The write key as a client has it; empty if there is none."""
        return (self.write_key or "").strip()

    def settings(self, **given: Unpack[SettingsArgs]) -> Settings:
        """The settings of a client that sends there.

        Raises:
            SettingsError: something is missing or cannot be used.
        """
        if not self.key:
            raise SettingsError("there is no write key: pass --write-key, or set $MILLSTREAM_WRITE_KEY")
        settings = Settings.make(self.write_key, self._all(given))
        if settings.disable:
            raise SettingsError("$MILLSTREAM_DISABLE is set, and nothing would be sent: unset it")
        return settings

    def client(self, **given: Unpack[SettingsArgs]) -> Analytics:
        """A client that sends there.

        Raises:
            SettingsError: something is missing or cannot be used.
        """
        self.settings(**given)
        # Whatever fails is the command's result, and said there: a second time in the log would be noise.
        logging.getLogger("millstream").addHandler(logging.NullHandler())
        return Analytics(self.write_key, **cast("dict[str, Any]", self._all(given)))

    def _all(self, given: SettingsArgs) -> SettingsArgs:
        where: SettingsArgs = {"host": self.host} if self.host else {}
        return {"on_invalid": "raise", **given, **where, "oauth_settings": self.oauth()}

    def oauth(self) -> OAuthSettings | None:
        """The OAuth settings, if any were given.

        Raises:
            SettingsError: one is missing, or the key cannot be read.
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
