"""The collector's configuration file, as several commands take it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from millstream.errors import SettingsError

from .options import option

if TYPE_CHECKING:
    from millstream.router import Configuration

__all__ = ["Config", "Data", "configuration_of", "data_of"]

DATA = Path("millstream-data")

Config = Annotated[
    Path | None,
    option(
        "--config", help="The collector's configuration file.", metavar="FILE", envvar="MILLSTREAM_COLLECTOR_CONFIG"
    ),
]
Data = Annotated[
    Path | None,
    option(
        "--data",
        help="The collector's directory. Default: the configuration's, or millstream-data.",
        metavar="DIR",
        envvar="MILLSTREAM_COLLECTOR_DATA",
    ),
]


def configuration_of(path: Path | None) -> Configuration:
    """Read a configuration file. Raises SettingsError: it cannot be used, or none was named."""
    from millstream.router import Configuration  # noqa: PLC0415 - most commands need none

    if path is None:
        raise SettingsError("there is no configuration: pass --config, or set $MILLSTREAM_COLLECTOR_CONFIG")
    return Configuration.read(path, option_names())


def data_of(data: Path | None, configuration: Configuration | None) -> Path:
    """Return the collector's directory: as it was given, else the configuration's."""
    if data is not None:
        return data
    return Path(str(configuration.options.get("data", DATA))) if configuration is not None else DATA


def option_names() -> frozenset[str]:
    """Return the names of the options of `millstream serve` that a configuration file may have."""
    from .serve import serve  # noqa: PLC0415 - it reads its configuration by this module

    return frozenset(inspect.signature(serve).parameters) - {"_config"}
