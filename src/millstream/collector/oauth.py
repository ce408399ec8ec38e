"""An OAuth 2.0 authorization server of one route: a signed assertion in, a token out (RFC 6749 §4.4, RFC 7523)."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from millstream._public import publish
from millstream.errors import MissingExtra, SettingsError

MAX_FORM = 16_384
"""Bytes of a token request that are looked at."""
SCOPE = "tracking_api:write"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_LIFE = 60
"""Seconds that an assertion may have left: Segment allows no more."""
_LEEWAY = 5
"""Seconds by which clocks may differ. The answer's Date tells a client how much it is off."""
_MAX_TOKENS = 10_000


class Denied(Exception):  # a verdict on its way up, not a fault
    """No token. `error` is one of RFC 6749 §5.2's codes."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.status = 401 if error == "invalid_client" else 400
        self.body = msgspec.json.encode({"error": error, "error_description": description})


@dataclass(frozen=True)
class Application:
    """Somebody who may have tokens: its id, and its public key. With an empty `key_id` any id of the key will do."""

    client_id: str
    key_id: str
    algorithm: str
    key: Any = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Application:
        """An application from `FILE`, `CLIENT_ID=FILE` or `CLIENT_ID/KEY_ID=FILE`, where the file is its public key.

        Without an id it is the file's name up to the first dot: `acme` for what `millstream keygen acme` has made.

        Raises:
            SettingsError: the file cannot be read, or holds no public key.
            MissingExtra: the extra `oauth` is not installed.
        """
        names, _, file = text.rpartition("=")
        client_id, _, key_id = names.partition("/")
        path = Path(file)
        try:
            key, algorithm = _public_key(path)
        except OSError as error:
            raise SettingsError(f"oauth-key: cannot read {path}: {error.strerror}") from error
        return cls(client_id or path.name.partition(".")[0], key_id, algorithm, key)


class TokenServer:
    """Grants tokens to applications, and knows the tokens it has granted. Both are forgotten when the process ends.

    Args:
        applications: who may have tokens.
        audience: our URL as clients know it; empty is whatever the Host header says.
        life: seconds for which a token is good.
    """

    def __init__(self, applications: Sequence[Application], *, audience: str = "", life: int = 3600) -> None:
        self._applications = applications
        self._audience = audience.rstrip("/")
        self._life = life
        self._tokens: dict[str, float] = {}  # and until when they are good, the oldest first
        self._spent: dict[tuple[str, str], float] = {}  # names of assertions, and until when they would be good

    def accepts(self, token: str, now: float) -> bool:
        """Whether this token is good, at `now` in seconds since the epoch."""
        return self._tokens.get(token, 0.0) > now

    def grant(self, form: bytes, host: str, now: float) -> bytes:
        """The answer to a token request.

        Args:
            form: the request's body.
            host: its Host header, with the path before ours.
            now: seconds since the epoch.

        Raises:
            Denied: there is no token for this.
        """
        if not self._applications:
            raise Denied("invalid_client", "nobody gets a token here: start the collector with --oauth-key")
        fields = _fields(form)
        if fields.get("grant_type") != "client_credentials":
            raise Denied("unsupported_grant_type", "grant_type must be client_credentials")
        if fields.get("client_assertion_type") != ASSERTION_TYPE:
            raise Denied("invalid_request", f"client_assertion_type must be {ASSERTION_TYPE}")
        claims = self._verified(fields.get("client_assertion", ""))
        self._check(claims, host, now)
        if fields.get("scope", SCOPE).split() != [SCOPE]:
            raise Denied("invalid_scope", f"the scope must be {SCOPE}")
        self._spend(claims, now)
        return msgspec.json.encode(
            {
                "access_token": self._new_token(now),
                "token_type": "Bearer",
                "expires_in": self._life,
                "scope": SCOPE,
            }
        )

    def _verified(self, assertion: str) -> dict[str, Any]:
        """The claims of an assertion that one of the applications has signed."""
        import jwt  # noqa: PLC0415 (an extra, and loaded already)

        try:
            key_id = jwt.get_unverified_header(assertion).get("kid", "")
            client_id = jwt.decode(assertion, options={"verify_signature": False}).get("sub")
        except jwt.InvalidTokenError as error:
            raise Denied("invalid_request", f"client_assertion is no JWT: {error}") from error
        known = [each for each in self._applications if each.client_id == client_id and each.key_id in ("", key_id)]
        for application in known:
            try:
                # The algorithm is the key's, never the assertion's. Times are checked below, by the caller's clock.
                return jwt.decode(assertion, application.key, algorithms=[application.algorithm], options=_UNTIMED)
            except jwt.InvalidTokenError:
                continue
        what = "the signature is not of this application's key" if known else "no such application and key (sub, kid)"
        raise Denied("invalid_client", what)

    def _check(self, claims: dict[str, Any], host: str, now: float) -> None:
        """Refuse what is for somebody else, for another time, or was used before."""
        names = self._names(host)
        audience: Any = claims["aud"]  # one name, or a list of them; like each claim, it may be any JSON value
        if not any(name == audience or (isinstance(audience, list) and name in audience) for name in names):
            raise Denied("invalid_client", f"aud must be {names[0]}")
        if claims.get("iss", claims["sub"]) not in [claims["sub"], *names]:
            raise Denied("invalid_client", "iss must be the application's id")
        if not _is_time(claims["exp"], now - _LEEWAY, now + _ASSERTION_LIFE + _LEEWAY):
            raise Denied("invalid_client", f"exp must be within the next {_ASSERTION_LIFE} seconds")
        for name in ("iat", "nbf"):
            if not _is_time(claims.get(name, 0), 0, now + _LEEWAY):
                raise Denied("invalid_client", f"{name} is in the future")

    def _names(self, host: str) -> list[str]:
        """What we may be called in an assertion: our URL, also with the path of this route."""
        known = [self._audience] if self._audience else [f"http://{host}", f"https://{host}"]
        return [name + path for path in ("", "/", "/token") for name in known]

    def _spend(self, claims: dict[str, Any], now: float) -> None:
        name = (str(claims["sub"]), str(claims["jti"]))
        self._spent = {each: until for each, until in self._spent.items() if until > now}
        if name in self._spent:
            raise Denied("invalid_client", "this assertion was used before: each needs a jti of its own")
        self._spent[name] = claims["exp"] + _LEEWAY

    def _new_token(self, now: float) -> str:
        for token, until in list(self._tokens.items()):
            if until > now and len(self._tokens) < _MAX_TOKENS:
                break
            del self._tokens[token]
        token = secrets.token_urlsafe(32)
        self._tokens[token] = now + self._life
        return token


_UNTIMED: Any = {
    "require": ["sub", "aud", "exp", "jti"],
    **dict.fromkeys(("verify_aud", "verify_iss", "verify_exp", "verify_iat", "verify_nbf"), False),
}


def _is_time(value: object, earliest: float, latest: float) -> bool:
    return isinstance(value, int | float) and earliest <= value <= latest


def _fields(form: bytes) -> dict[str, str]:
    try:
        return dict(parse_qsl(form[:MAX_FORM].decode(), max_num_fields=20))
    except ValueError as error:
        raise Denied("invalid_request", "the body is no form: send application/x-www-form-urlencoded") from error


def _public_key(path: Path) -> tuple[Any, str]:
    """A public key from a PEM file, and the algorithm that goes with it."""
    try:
        import jwt  # noqa: F401, PLC0415 # pyright: ignore[reportUnusedImport]
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415
    except ImportError:
        raise MissingExtra("OAuth", "oauth") from None
    data = path.read_bytes()
    if b"PRIVATE KEY-----" in data:
        raise SettingsError(f"oauth-key: {path} holds a private key: that stays with the client, give the public one")
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SettingsError(f"oauth-key: {path} holds no public key in PEM form that can be read") from error
    if isinstance(key, RSAPublicKey) and key.key_size >= _RSA_BITS:
        return key, "RS256"
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return key, "ES256"
    raise SettingsError(f"oauth-key: {path} must hold an RSA key of {_RSA_BITS} bits or more, or an EC key on P-256")


_RSA_BITS = 2048


publish("millstream.collector", Application)
