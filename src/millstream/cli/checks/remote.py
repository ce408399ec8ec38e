"""Checks the way to the server, step by step. The first failure ends them: later steps would only repeat it."""

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
    """The route of requests: `url` is that of batches, `proxy` is in front of it; `timeout` in seconds."""

    url: str
    proxy: str | None
    timeout: float

    @property
    def next_stop(self) -> tuple[str, int]:
        """Host and port of the connection."""
        parts = urlsplit(self.proxy or self.url)
        return parts.hostname or "", port_of(parts)

    @property
    def what(self) -> str:
        """The connection's other end, in words."""
        return "the proxy" if self.proxy else "the host"


def port_of(parts: SplitResult) -> int:
    """The port, also where the URL has none."""
    return parts.port or {"http": 80, "https": 443}.get(parts.scheme, 1080)


def name(route: Route) -> Findings:
    """Resolve the host's name. The system's resolver has no time limit, so it gets one here."""
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
    """Check that the server accepts connections."""
    host, port = route.next_stop
    began = time.monotonic()
    try:
        socket.create_connection((host, port), timeout=route.timeout).close()
    except OSError as error:
        why = error.strerror or str(error)
        remedy = f"check that {route.what} is up, the port is right, and no firewall is in the way"
        yield problem("connection", f"{host} port {port}: {why}", remedy)
        return
    yield ok("connection", f"{host} port {port}, in {(time.monotonic() - began) * 1000:.0f} ms")


def tls(route: Route) -> Findings:
    """Check the server's certificate, and how long it is valid."""
    parts = urlsplit(route.url)
    if parts.scheme != "https" or is_socks(route.proxy):  # only the client speaks SOCKS: see `answer`
        return
    try:
        link = _link(route, parts)
    except ssl.SSLCertVerificationError as error:
        remedy = "check the host; for a certificate authority of your own set $SSL_CERT_FILE"
        yield problem("TLS", f"the certificate is not trusted: {error.verify_message}", remedy)
        return
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        yield problem("TLS", f"no encrypted connection: {why}", "check that the port speaks TLS, and check the proxy")
        return
    with link.sock as sock:
        expires = ssl.cert_time_to_seconds(str((sock.getpeercert() or {})["notAfter"]))
        days = (expires - time.time()) / 86400
        message = f"{sock.version()}, certificate valid for {days:,.0f} days"
    yield ok("TLS", message) if days >= FEW_DAYS else warning("TLS", message, "renew it soon")


def _context() -> ssl.SSLContext:
    file, directory = authorities()
    return ssl.create_default_context(cafile=file, capath=directory)


def _link(route: Route, parts: SplitResult) -> http.client.HTTPSConnection:
    """Make a TLS connection to the server, through the proxy if there is one."""
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
    """Send a batch without events: a Tracking API accepts it, and nothing is recorded."""
    api = TrackingAPI(write_key, host=route.url, path="", timeout=route.timeout, oauth=token is not None)
    client = Urllib3Client()
    began = time.time()
    try:
        request = api.request([], 1, began)
        response = client.send(request if token is None else with_token(request, token))
    except TransportError as error:
        yield problem("answer", str(error), "check that it is up and an HTTP server, or allow more time")
        return
    finally:
        client.close()
    yield _judged(response, route)
    yield from _clock(response, (began + time.time()) / 2)


def objection(target: Target, url: str, timeout: float) -> Finding | None:
    """Send an empty batch; return the problem if the server refuses it, else None."""
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
            return problem("answer", f"[{status}] with a web page: not a Tracking API", f"check {redacted(route.url)}")
        return ok("answer", message)
    if 300 <= status < 400:
        return problem("answer", f"[{status}] to {header(response, 'location')}", "use the new address as the host")
    remedies = {
        401: "check the write key; if the source demands OAuth, pass the --oauth options",
        403: "check the write key",
        404: f"no Tracking API at {redacted(route.url)}: check the host",
        405: f"no Tracking API at {redacted(route.url)}: check the host",
        407: f"the proxy {redacted(route.proxy or '')} requires a user and a password",
    }
    if status in remedies:
        return problem("answer", message, remedies[status])
    if status == 429 or status >= 500:
        return problem("answer", message, "the server cannot accept events now: try again later")
    return warning("answer", message, "some servers refuse a batch without events: `millstream send` tries with one")


def _clock(response: Response, now: float) -> Findings:
    try:
        skew = now - parsedate_to_datetime(header(response, "date") or "").timestamp() - 0.5  # Date has whole seconds
    except (TypeError, ValueError, IndexError, OverflowError):
        return
    message = f"{abs(skew):,.0f} s {'ahead of' if skew > 0 else 'behind'} the server's"
    if abs(skew) < MUCH_SKEW:
        yield ok("clock", message if abs(skew) >= 2 else "as the server's")
    else:
        yield warning("clock", message, "receivers correct the times of events, but set the clock (NTP) all the same")


def token(oauth: OAuth) -> tuple[str | None, Finding]:
    """Request a token from the authorization server."""
    tokens = TokenState(oauth.grant, max_retries=0, random=lambda: 0.0)
    client = Urllib3Client()
    error: AuthError | None = None
    try:
        # Twice: the first request may fail only because of clock skew, which the answer reveals.
        for _ in range(2):
            asked = tokens.next_request(time.monotonic(), waiting=True)
            if asked is None:
                break
            steps = ask(oauth.grant, time.time() - asked.skew, str(uuid.uuid4()))
            response = run_token_request(steps, oauth.sign, client)
            error = tokens.responded(asked, response, time.monotonic(), time.time())
            if granted := tokens.token(time.monotonic()):
                return granted, ok("OAuth", f"{redacted(oauth.grant.auth_server)} grants a token")
    except AuthError as exc:
        error = exc
    finally:
        client.close()
    remedy = "check the application's id, the key's id, and that its public key was uploaded"
    return None, problem("OAuth", str(error or "no token"), remedy)
