"""The commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from millstream._version import __version__

from .deadletters import app as deadletters
from .doctor import doctor
from .export import export
from .keygen import keygen
from .options import help_of, spelled
from .plan import app as plan
from .query import query
from .reload import reload
from .replay import replay
from .route import app as route
from .send import send
from .serve import serve
from .spool import app as spool
from .suppression import suppress
from .tail import tail
from .transform import transform

SEND, RECEIVE, OPERATE = "Send events", "Receive events", "Operate"

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "token_normalize_func": spelled},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"millstream {__version__}")
        raise typer.Exit


@app.callback()
def millstream(
    _version_wanted: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version.")
    ] = False,
) -> None:
    """Send and receive customer-data events, and lose none on the way."""


# In the order of the help.
for panel, commands in {
    SEND: (send, replay),
    RECEIVE: (serve, reload, tail, query, export),
    OPERATE: (doctor, keygen, suppress, transform),
}.items():
    for command in commands:
        app.command(help=help_of(command), rich_help_panel=panel)(command)
app.add_typer(route, name="route", rich_help_panel=RECEIVE)
app.add_typer(deadletters, name="deadletters", rich_help_panel=RECEIVE)
app.add_typer(spool, name="spool", rich_help_panel=OPERATE)
app.add_typer(plan, name="plan", rich_help_panel=OPERATE)
