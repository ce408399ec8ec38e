"""Checks that need no network: versions, the write key, the host's name, the proxy, OAuth settings, the spool."""

from __future__ import annotations

import os
import platform
import re
import shutil
import stat
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

from millstream._version import __version__
from millstream.auth import OAuth, oauth_of
from millstream.errors import MillstreamError
from millstream.http import as_client
from millstream.settings import Settings
from millstream.spool.inspect import lanes
from millstream.urls import redacted

from ..options import Target
from .finding import Finding, Findings, ok, problem, warning

__all__ = ["disabled", "host", "key", "oauth", "proxy", "spool", "versions"]

PACKAGES = ("msgspec", "urllib3", "aiohttp", "pyjwt", "cryptography", "starlette", "uvicorn")
OREGON, DUBLIN = "api.segment.io", "events.eu1.segmentapis.com"
LITTLE_SPACE = 1 << 30
_PLACEHOLDER = re.compile(r"(?i)(your|my|the)?[_ -]?(segment)?[_ -]?write[_ -]?key|<.*>|\[.*\]|\{.*\}|x+|changeme")


def versions() -> Findings:
    """Report installed versions."""
    found: list[str] = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    yield ok("versions", f"millstream {__version__}, Python {platform.python_version()}, {', '.join(found)}")


def disabled() -> Findings:
    """Report a switch in the environment that disables clients."""
    if Settings.make("any", {}).disable:
        yield problem("disabled", "$MILLSTREAM_DISABLE is set: clients send nothing", "unset it")


def key(write_key: str | None, url: str) -> Findings:
    """Check that there is a write key in the usual form."""
    if not write_key:
        yield problem("write key", "missing", "pass --write-key, or set $MILLSTREAM_WRITE_KEY")
        return
    shown = f"{write_key[:4]}…" if len(write_key) >= 12 else "a short one"
    remedy = "compare it with the source's settings"
    if not re.fullmatch(r"[\x21-\x7e]+", write_key) or write_key[0] in "\"'":
        yield problem("write key", f"{shown} has quotes, spaces or other characters that keys cannot have", remedy)
    elif _is_segment(url) and _PLACEHOLDER.fullmatch(write_key):
        yield problem("write key", f"{shown} looks like a placeholder", remedy)
    elif _is_segment(url) and not re.fullmatch(r"[A-Za-z0-9]{32}", write_key):
        yield warning("write key", f"{shown}; Segment's have 32 letters and digits", remedy)
    else:
        yield ok("write key", shown)


def host(url: str) -> Findings:
    """Check that the base URL is a known region's, without a path too many."""
    parts, url = urlsplit(url), redacted(url)
    name = parts.hostname or ""
    if re.search(r"/v1(/\w+)?/?$", parts.path):
        yield warning("host", f"{url}: clients add /v1/batch themselves", "remove the end of the path")
    elif name == OREGON:
        yield ok("host", f"{url}, for workspaces in Oregon. One in Dublin needs --host https://{DUBLIN}")
    elif name == DUBLIN:
        yield ok("host", f"{url}, for workspaces in Dublin. One in Oregon needs --host https://{OREGON}")
    elif _is_segment(url) or name.endswith("segment.com"):
        yield warning("host", f"{url} is not a known Segment host", f"{OREGON} or {DUBLIN}?")
    elif parts.scheme == "http" and not _is_near(name):
        yield warning("host", f"{url} is not encrypted: the key can be read in transit", "use https://")
    else:
        yield ok("host", url)


def proxy(through: str | None) -> Findings:
    """Report the proxy in use."""
    if through:
        yield ok("proxy", f"{redacted(through)}, from the environment; $NO_PROXY names exceptions")


def oauth(target: Target, url: str, timeout: float) -> tuple[OAuth | None, list[Finding]]:
    """Check the OAuth settings; return them ready for use, with findings."""
    try:
        settings = target.oauth()
        if settings is None:
            return None, []
        made = Settings.make("any", {"oauth_settings": settings, "http_request_timeout": timeout})
        ready = oauth_of(made, as_client)
    except MillstreamError as error:
        return None, [problem("OAuth", str(error), "see --help; `millstream keygen` makes a pair of keys")]
    found: list[Finding] = []
    file = target.oauth_client_key
    if file and (mode := stat.S_IMODE(file.stat().st_mode)) & 0o077:
        found.append(warning("OAuth", f"{file} is readable by other users ({mode:o})", f"chmod 600 {file}"))
    if _is_segment(url) and ("eu1" in url) != ("eu1" in settings.auth_server):
        regions = f"{redacted(settings.auth_server)} grants tokens that {redacted(url)} does not take"
        found.append(problem("OAuth", regions, "use host and --oauth-auth-server of one region"))
    return ready, found


def spool(directory: Path) -> Findings:
    """Check that the spool is writable, and report events left in it."""
    if not directory.is_dir():
        parent = next((each for each in directory.parents if each.exists()), directory)
        if directory.exists() or not os.access(parent, os.W_OK | os.X_OK):
            why = "is a file" if directory.exists() else f"does not exist, and {parent} is not writable"
            yield problem("spool", f"{directory} {why}", "choose a directory that the application may write to")
        else:
            yield ok("spool", f"{directory} does not exist yet; the application makes it")
        return
    try:
        with tempfile.TemporaryFile(dir=directory, prefix=".doctor-") as file:
            file.write(b"x")
    except OSError as error:
        yield problem("spool", f"cannot write to {directory}: {error.strerror}", "give the application permission")
        return
    free = shutil.disk_usage(directory).free
    message = f"{directory} is writable, with {free / (1 << 30):,.1f} GiB of space"
    yield (
        ok("spool", message) if free >= LITTLE_SPACE else warning("spool", message, "make room, or set spool_max_bytes")
    )
    left = [lane for lane in lanes(directory) if not lane.alive]
    if count := sum(lane.events for lane in left):
        message = f"{count:,} events wait in {len(left):,} lanes of exited processes"
        yield warning(
            "spool", message, f"the application's next start delivers them, or `millstream spool drain {directory}`"
        )
    if corrupt := sum(lane.corrupt for lane in left):
        yield warning("spool", f"{corrupt:,} pieces of it cannot be read", "a start or a drain puts them in quarantine")


def _is_segment(url: str) -> bool:
    name = urlsplit(url).hostname or ""
    return name.endswith((".segment.io", ".segmentapis.com"))


def _is_near(name: str) -> bool:
    """Whether a name is this machine's, or of a private network."""
    return "." not in name or bool(re.match(r"127\.|10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.", name))
