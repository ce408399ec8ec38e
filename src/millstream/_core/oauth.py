"""OAuth 2.0: when to request a token, how, and what the answer means. Does no I/O.

The client authenticates with a signed assertion (RFC 7523) and gets a token of limited life. `ask` is the exchange with
the authorization server: a generator that yields the next step (`Sign`, then a Request) and is sent its result.
`TokenState` decides: like the engine it is given facts with a time, and holds the one token of a client.

    token       fact                                  next                 also
    ─────────── ───────────────────────────────────── ──────────────────── ───────────────────────────────────────────
    none        a batch waits                         asked for            one request, however many batches wait
    asked for   granted                               valid                waiting batches go on
    asked for   failed, or a status worth a retry     none, not before t   over max_retries: waiting batches fail
    asked for   429                                   none, not before t   the same, t by Retry-After
    asked for   400, 401, 415                         none, not before t   batches before t fail
    asked for   the same, but our clock was off       none                 once: the answer's Date said the right time
    asked for   no report by the deadline             none, not before t   as failed; a later report is ignored
    valid       used, and half its life is over       valid, asked for     in the background
    valid       its life is over                      none
    valid       the API refuses it                    none                 once, until it accepts one again

Without polling: an unused token is not renewed, so an idle client requests none.
"""

from __future__ import annotations

import math
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

import msgspec

from .._version import __version__
from ..errors import AuthError
from ..types import Request, Response
from ..urls import hidden
from .delivery.retry import backoff, header, retry_after, server_time

__all__ = ["REFUSAL_REMEMBERED", "ClientCredentials", "Sign", "TokenRequest", "TokenState", "ask"]

REFUSAL_REMEMBERED = 60.0
"""Seconds for which an unrecoverable answer fails every batch, before the server is asked again."""
RATE_LIMITED = 5.0
"""Seconds to wait after a 429 without Retry-After (reference library: the same)."""
UNRECOVERABLE = frozenset({400, 401, 415})
ISSUED_AGO, EXPIRES_IN = 5, 55
"""The validity of an assertion, around the time of signing."""
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_P256_BYTES = 32


@dataclass(frozen=True)
class Sign:
    """Sign these bytes with the client's key, and send in the signature."""

    data: bytes = field(repr=False)


TokenSteps = Generator["Sign | Request", Any, Response]
"""A token request: yields a step, and is sent its result (or thrown its exception)."""


@dataclass(frozen=True)
class ClientCredentials:
    """The OAuth client, scope and server of token requests. `timeout` is in seconds, for the request."""

    client_id: str
    key_id: str
    auth_server: str
    scope: str
    algorithm: str
    timeout: float


@dataclass(frozen=True, eq=False)
class TokenRequest:
    """A token request: report with this very value. After `deadline` a report is ignored.

    `skew` is the seconds by which our clock is ahead of the server's, as far as is known.
    """

    deadline: float
    skew: float


def ask(grant: ClientCredentials, server_time: float, jti: str) -> TokenSteps:
    """Request a token once. Neither the returned answer nor a raised error quotes a secret.

    Args:
        grant: the OAuth client, scope and server.
        server_time: seconds since the epoch, by the server's clock.
        jti: a unique id of the assertion.
    """
    unsigned = _unsigned(grant, server_time, jti)
    try:
        signature = yield Sign(unsigned)
    except Exception as exc:
        raise AuthError(f"the token request could not be signed: {type(exc).__name__}: {exc}") from exc
    assertion = (unsigned + b"." + _base64url(_signature(grant.algorithm, signature))).decode()
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": assertion,
        "scope": grant.scope,
    }
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "Accept": "application/json",
        "User-Agent": f"millstream/{__version__}",
    }
    url = grant.auth_server.rstrip("/") + "/token"
    try:
        response: Response = yield Request("POST", url, headers, urlencode(form).encode(), grant.timeout)
    except Exception as exc:
        said = hidden(f"{type(exc).__name__}: {exc}")
        if assertion in said:  # it grants tokens for a minute
            raise AuthError(f"the token request failed: {type(exc).__name__}, whose text quotes it") from None
        raise AuthError(f"the token request failed: {said}") from exc
    return replace(response, body=response.body.replace(assertion.encode(), b"[assertion]"))


class TokenState:
    """Keeps a client's token fresh, with one request at a time."""

    def __init__(self, grant: ClientCredentials, *, max_retries: int, random: Callable[[], float]) -> None:
        self._max_retries = max_retries
        self._patience = grant.timeout + 1.0
        self._random = random
        self._token: str | None = None
        self._expires = self._renew = 0.0
        self._used = False  # since the token was granted
        self._replaces_rejected = False  # and the API has accepted none since
        self._rejected_at = -math.inf
        self._asking: TokenRequest | None = None
        self._not_before = -math.inf
        self._failures = 0  # since the last token
        self._refusal: AuthError | None = None
        self._skew = 0.0
        self._corrected = False  # for clock skew, since the last token

    # -- questions ----------------------------------------------------------------------------------

    def token(self, now: float) -> str | None:
        """The token to send with, if any."""
        return self._token if now < self._expires else None

    def refusal(self, now: float) -> AuthError | None:
        """The reason why no token will be granted for a while, if the server gave one."""
        return self._refusal if now < self._not_before else None

    def next_request(self, now: float, *, waiting: bool) -> TokenRequest | None:
        """The request to make now, if any. `waiting`: whether a batch waits for a token."""
        due = self.due_at(now, waiting=waiting)
        if self._asking is not None or due is None or now < due:
            return None
        self._asking = TokenRequest(now + self._patience, self._skew)
        return self._asking

    def due_at(self, now: float, *, waiting: bool) -> float | None:
        """The time at which something is due without a new fact."""
        if self._asking is not None:
            return self._asking.deadline
        if self.token(now) is not None:
            return max(self._renew, self._not_before) if self._used else None
        return max(now, self._not_before) if waiting else None

    # -- facts --------------------------------------------------------------------------------------

    def use(self, now: float) -> str | None:
        """Use the token for a batch: return it, if any. Only a used token is renewed."""
        token = self.token(now)
        self._used = self._used or token is not None
        return token

    def responded(self, ask: TokenRequest, response: Response, now: float, epoch: float) -> AuthError | None:
        """Handle the answer; return the error for waiting batches, if any. `epoch`: seconds since the epoch."""
        if not self._take_back(ask):
            return None
        self._learn_time(response, epoch)
        granted = _granted(response)
        if isinstance(granted, tuple):
            self._keep(*granted, now)
            return None
        status = response.status
        if status in UNRECOVERABLE:
            return self._refuse(granted, ask, now)
        wait = retry_after(header(response, "retry-after"), epoch - self._skew)
        if wait is None and status == 429:
            wait = RATE_LIMITED
        return self._fail(granted, now, wait)

    def failed(self, ask: TokenRequest, error: AuthError, now: float) -> AuthError | None:
        """Handle a missing answer; return the error for waiting batches, if any."""
        return self._fail(error, now) if self._take_back(ask) else None

    def expire(self, now: float) -> AuthError | None:
        """Handle the passing of time; return the error for waiting batches, if any."""
        if self._asking is None or now < self._asking.deadline:
            return None
        return self.failed(self._asking, AuthError("the token request did not come back in time"), now)

    def accepted(self, token: str) -> None:
        """Record that the API accepted this token."""
        if token == self._token:
            self._replaces_rejected = False

    def rejected(self, token: str, now: float) -> bool:
        """Record that the API rejected this token; return whether to retry with another one.

        Not if this one has just replaced a rejected one: then new tokens change nothing, and a request for each batch
        would only burden both servers.
        """
        if token != self._token:
            return True
        if self._replaces_rejected and now - self._rejected_at < REFUSAL_REMEMBERED:
            return False
        self._replaces_rejected, self._rejected_at = True, now
        self._token, self._expires = None, 0.0
        return True

    # -- decisions ----------------------------------------------------------------------------------

    def _take_back(self, ask: TokenRequest) -> bool:
        if self._asking is not ask:
            return False
        self._asking = None
        return True

    def _keep(self, token: str, life: float, now: float) -> None:
        self._token, self._expires, self._renew = token, now + life, now + life / 2
        self._used = self._corrected = False
        self._failures, self._not_before, self._refusal = 0, -math.inf, None

    def _fail(self, error: AuthError, now: float, wait: float | None = None) -> AuthError | None:
        """Keep batches waiting while retries are left; afterwards every failure is theirs as well."""
        self._failures += 1
        self._refusal = None
        self._not_before = now + (backoff(self._failures, self._random()) if wait is None else wait)
        return error if self._failures > self._max_retries else None

    def _refuse(self, error: AuthError, ask: TokenRequest, now: float) -> AuthError | None:
        off = self._skew - ask.skew
        if not -EXPIRES_IN < off < ISSUED_AGO and not self._corrected:
            # By the server's clock the assertion was invalid. Its time is now known: the next assertion is valid.
            self._corrected = True
            self._not_before = now
            return None
        self._refusal = error
        self._not_before = now + REFUSAL_REMEMBERED
        return error

    def _learn_time(self, response: Response, epoch: float) -> None:
        theirs = server_time(response)
        if theirs is not None:
            self._skew = epoch - theirs


def _unsigned(grant: ClientCredentials, server_time: float, jti: str) -> bytes:
    """Header and claims of the assertion, to be signed (RFC 7515 §3.1, RFC 7523 §3)."""
    now = int(server_time)
    header = {"alg": grant.algorithm, "kid": grant.key_id, "typ": "JWT"}
    claims = {
        "iss": grant.client_id,
        "sub": grant.client_id,
        "aud": grant.auth_server.rstrip("/"),
        "iat": now - ISSUED_AGO,
        "exp": now + EXPIRES_IN,
        "jti": jti,
    }
    return b".".join(_base64url(msgspec.json.encode(part)) for part in (header, claims))


def _base64url(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def _signature(algorithm: str, signature: object) -> bytes:
    """Convert a signature to a JWT's form. Key services sign ES256 in DER, a JWT has two bare numbers."""
    if not isinstance(signature, bytes | bytearray) or not signature:
        raise AuthError(f"the token request could not be signed: signer returned {type(signature).__name__}, not bytes")
    signature = bytes(signature)
    if algorithm != "ES256" or len(signature) == 2 * _P256_BYTES:
        return signature
    der = re.fullmatch(rb"\x30[\x06-\x46]\x02([\x01-\x21])(.*)", signature, re.DOTALL)
    if der:
        first, rest = der[2][: der[1][0]], der[2][der[1][0] :]
        if len(rest) > 2 and rest[:1] == b"\x02" and len(rest) == 2 + rest[1]:
            return b"".join(number.lstrip(b"\0").rjust(_P256_BYTES, b"\0") for number in (first, rest[2:]))
    raise AuthError("the token request could not be signed: for ES256 signer must return 64 bytes, or DER")


def _granted(response: Response) -> tuple[str, float] | AuthError:
    """Return the token and the seconds of its life; or an error that quotes no token."""
    status = response.status
    try:
        answer = msgspec.json.decode(response.body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        answer = {}
    if not 200 <= status < 300:
        said = [str(answer[key])[:200] for key in ("error", "error_description") if answer.get(key)]
        return AuthError(f"[{status}] the authorization server granted no token" + ": ".join(["", *said]), status)
    token, life = answer.get("access_token"), answer.get("expires_in")
    if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
        return AuthError(f"[{status}] the authorization server's answer has no usable access_token", status)
    if isinstance(life, bool) or not isinstance(life, int | float) or not 0 < life < math.inf:
        return AuthError(f"[{status}] the authorization server's answer has no usable expires_in", status)
    return token, float(life)
