"""The way to the server, step by step. What fails ends the walk: the steps after it would say nothing new."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
import uuid
from base64 import b64encode
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult, unquote, urlsplit

from millstream._core.delivery.retry import header
from millstream._core.oauth import TokenState, ask
from millstream._delivery.transport import run_token_request
from millstream.auth import OAuth, with_token
from millstream.destinations import TrackingAPI
from millstream.errors import AuthError, TransportError
from millstream.http._environment import authorities, is_socks, proxy_from_environment
from millstream.http.urllib3 import Urllib3Client
from millstream.types import Response
from millstream.urls import redacted

from ..options import Target
from . import local
from .finding import Finding, Findings, ok, problem, warning

__all__ = ["Route", "answer", "connection", "name", "objection", "tls", "token"]

FEW_DAYS = 14
MUCH_SKEW = 30.0


@dataclass(frozen=True)
class Route:
    """Where requests go: `url` is that of batches, `proxy` what stands before it; `timeout` in seconds."""

    url: str
    proxy: str | None
    timeout: float

    @property
    def next_stop(self) -> tuple[str, int]:
        """Host and port that a connection is made to."""
        parts = urlsplit(self.proxy or self.url)
        return parts.hostname or "", port_of(parts)

    @property
    def what(self) -> str:
        """What that is."""
        return "the proxy" if self.proxy else "the host"


def port_of(parts: SplitResult) -> int:
    """The port, also where the URL does not say."""
    return parts.port or {"http": 80, "https": 443}.get(parts.scheme, 1080)


def name(route: Route) -> Findings:
    """Whether the name has an address. The system's resolver knows no deadline, so it gets one here."""
    host, port = route.next_stop
    found: list[str] = []
    failure: list[OSError] = []

    def resolve() -> None:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.extend(dict.fromkeys(str(each[4][0]) for each in answers))
        except (OSError, UnicodeError) as error:
            failure.append(error if isinstance(error, OSError) else OSError(str(error)))

    thread = threading.Thread(target=resolve, daemon=True)
    thread.start()
    thread.join(route.timeout)
    if found:
        if found != [host]:
            yield ok("name", f"{host} is {', '.join(found[:4])}")
        return
    why = failure[0].strerror or str(failure[0]) if failure else f"no answer in {route.timeout:g} s"
    yield problem("name", f"{host} has no address: {why}", f"check {route.what}'s spelling, and this machine's DNS")


def connection(route: Route) -> Findings:
    """Whether somebody takes connections there."""
    host, port = route.next_stop
    began = time.monotonic()
    try:
        socket.create_connection((host, port), timeout=route.timeout).close()
    except OSError as error:
        why = error.strerror or str(error)
        remedy = f"is {route.what} up, is the port right, and does a firewall let it through?"
        yield problem("connection", f"{host} port {port}: {why}", remedy)
        return
    yield ok("connection", f"{host} port {port}, in {(time.monotonic() - began) * 1000:.0f} ms")


def tls(route: Route) -> Findings:
    """Whether the server's certificate is good, and for how long."""
    parts = urlsplit(route.url)
    if parts.scheme != "https" or is_socks(route.proxy):  # what speaks SOCKS is the client alone: see `answer`
        return
    try:
        link = _link(route, parts)
    except ssl.SSLCertVerificationError as error:
        remedy = "is it the right host? A certificate of your own authority: set $SSL_CERT_FILE"
        yield problem("TLS", f"the certificate is not trusted: {error.verify_message}", remedy)
        return
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        yield problem("TLS", f"no encrypted connection: {why}", "does the port speak TLS? Is a proxy in the way?")
        return
    with link.sock as sock:
        expires = ssl.cert_time_to_seconds(str((sock.getpeercert() or {})["notAfter"]))
        days = (expires - time.time()) / 86400
        message = f"{sock.version()}, certificate good for {days:,.0f} days"
    yield ok("TLS", message) if days >= FEW_DAYS else warning("TLS", message, "it has to be renewed soon")


def _context() -> ssl.SSLContext:
    file, directory = authorities()
    return ssl.create_default_context(cafile=file, capath=directory)


def _link(route: Route, parts: SplitResult) -> http.client.HTTPSConnection:
    """An encrypted connection to the server, through the proxy if there is one."""
    host, port = route.next_stop
    link = http.client.HTTPSConnection(host, port, timeout=route.timeout, context=_context())
    if route.proxy:
        before = urlsplit(route.proxy)
        who = f"{unquote(before.username or '')}:{unquote(before.password or '')}"
        headers = {"Proxy-Authorization": "Basic " + b64encode(who.encode()).decode()} if before.username else {}
        link.set_tunnel(parts.hostname or "", port_of(parts), headers)
    link.connect()
    return link


def answer(route: Route, write_key: str, token: str | None) -> Findings:
    """What the server says to a batch without events: a Tracking API takes it, and nothing is recorded."""
    api = TrackingAPI(write_key, host=route.url, path="", timeout=route.timeout, oauth=token is not None)
    client = Urllib3Client()
    began = time.time()
    try:
        request = api.request([], 1, began)
        response = client.send(request if token is None else with_token(request, token))
    except TransportError as error:
        yield problem("answer", str(error), "is it up, is it an HTTP server at all, and does it need more time?")
        return
    finally:
        client.close()
    yield _judged(response, route)
    yield from _clock(response, (began + time.time()) / 2)


def objection(target: Target, url: str, timeout: float) -> Finding | None:
    """Why it is no use to send events there now; None if a batch without any is taken."""
    route = Route(url, proxy_from_environment(url), timeout)
    oauth, found = local.oauth(target, url, timeout)
    granted = None
    if oauth is not None:
        granted, finding = token(oauth)
        found.append(finding)
    if not any(finding.status == "problem" for finding in found):
        found += answer(route, target.key, granted)
    return next((finding for finding in found if finding.status == "problem"), None)


def _judged(response: Response, route: Route) -> Finding:
    status = response.status
    said = response.body[:100].decode("utf-8", "replace").strip()
    message = f"[{status}] to an empty batch" + (f": {said}" if said else "")
    if 200 <= status < 300:
        if "html" in (header(response, "content-type") or ""):
            return problem(
                "answer", f"[{status}] with a web page, as no Tracking API does", f"check {redacted(route.url)}"
            )
        return ok("answer", message)
    if 300 <= status < 400:
        return problem("answer", f"[{status}] to {header(response, 'location')}", "use the new address as the host")
    remedies = {
        401: "check the write key; if the source demands OAuth, pass the --oauth options",
        403: "check the write key",
        404: f"there is no Tracking API at {redacted(route.url)}: check the host",
        405: f"there is no Tracking API at {redacted(route.url)}: check the host",
        407: f"the proxy {redacted(route.proxy or '')} wants a user and a password",
    }
    if status in remedies:
        return problem("answer", message, remedies[status])
    if status == 429 or status >= 500:
        return problem("answer", message, "the server cannot take events now: try again later")
    return warning("answer", message, "some servers refuse a batch without events: `millstream send` tries with one")


def _clock(response: Response, now: float) -> Findings:
    try:
        skew = now - parsedate_to_datetime(header(response, "date") or "").timestamp() - 0.5  # Date is cut to seconds
    except (TypeError, ValueError, IndexError, OverflowError):
        return
    message = f"{abs(skew):,.0f} s {'ahead of' if skew > 0 else 'behind'} the server's"
    if abs(skew) < MUCH_SKEW:
        yield ok("clock", message if abs(skew) >= 2 else "as the server's")
    else:
        yield warning("clock", message, "receivers correct the times of events, but set the clock (NTP) all the same")


def token(oauth: OAuth) -> tuple[str | None, Finding]:
    """A token, if the authorization server grants one."""
    tokens = TokenState(oauth.grant, max_retries=0, random=lambda: 0.0)
    client = Urllib3Client()
    error: AuthError | None = None
    try:
        # Twice: to the first request a clock that is off may be all that is wrong, and the answer says how far.
        for _ in range(2):
            asked = tokens.next_request(time.monotonic(), waiting=True)
            if asked is None:
                break
            dialog = ask(oauth.grant, time.time() - asked.skew, str(uuid.uuid4()))
            response = run_token_request(dialog, oauth.sign, client)
            error = tokens.responded(asked, response, time.monotonic(), time.time())
            if granted := tokens.token(time.monotonic()):
                return granted, ok("OAuth", f"{redacted(oauth.grant.auth_server)} grants a token")
    except AuthError as exc:
        error = exc
    finally:
        client.close()
    remedy = "check the application's id, the key's id, and that its public key is the one that was uploaded"
    return None, problem("OAuth", str(error or "no token"), remedy)
