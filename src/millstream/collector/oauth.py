"""An OAuth 2.0 token endpoint: exchanges a signed assertion for a token (RFC 6749 §4.4, RFC 7523)."""

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
"""Bytes of a token request that are read."""
SCOPE = "tracking_api:write"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_LIFE = 60
"""Seconds until an assertion expires, at most, as Segment has it."""
_LEEWAY = 5
"""Seconds by which clocks may differ. The answer's Date header shows a client its skew."""
_MAX_TOKENS = 10_000


class Denied(Exception):  # control flow, not a fault
    """The request for a token is denied. `error` is one of RFC 6749 §5.2's codes."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.status = 401 if error == "invalid_client" else 400
        self.body = msgspec.json.encode({"error": error, "error_description": description})


@dataclass(frozen=True)
class Application:
    """An OAuth client: its id and its public key. An empty `key_id` accepts any key id."""

    client_id: str
    key_id: str
    algorithm: str
    key: Any = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Application:
        """Parse `FILE`, `CLIENT_ID=FILE` or `CLIENT_ID/KEY_ID=FILE`, where the file holds the public key.

        The default id is the file's name up to the first dot: `acme` for what `millstream keygen acme` has made.

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
    """Grants tokens to applications, and checks them. Tokens are lost when the process ends.

    Args:
        applications: the OAuth clients.
        audience: this server's URL as clients know it; by default from the Host header.
        life: seconds until a token expires.
    """

    def __init__(self, applications: Sequence[Application], *, audience: str = "", life: int = 3600) -> None:
        self._applications = applications
        self._audience = audience.rstrip("/")
        self._life = life
        self._tokens: dict[str, float] = {}  # with their expiry, the oldest first
        self._spent: dict[tuple[str, str], float] = {}  # ids of used assertions, with their expiry

    def accepts(self, token: str, now: float) -> bool:
        """Whether this token is valid, at `now` in seconds since the epoch."""
        return self._tokens.get(token, 0.0) > now

    def grant(self, form: bytes, host: str, now: float) -> bytes:
        """Answer a token request.

        Args:
            form: the request's body.
            host: its Host header, with the path of the mount point.
            now: seconds since the epoch.

        Raises:
            Denied: the request is invalid, or the client unknown.
        """
        if not self._applications:
            raise Denied("invalid_client", "no OAuth client is configured: start the collector with --oauth-key")
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
        """Verify an assertion's signature, and return its claims."""
        import jwt  # noqa: PLC0415 (an extra, and loaded already)

        try:
            key_id = jwt.get_unverified_header(assertion).get("kid", "")
            client_id = jwt.decode(assertion, options={"verify_signature": False}).get("sub")
        except jwt.InvalidTokenError as error:
            raise Denied("invalid_request", f"client_assertion is not a JWT: {error}") from error
        known = [each for each in self._applications if each.client_id == client_id and each.key_id in ("", key_id)]
        for application in known:
            try:
                # The algorithm is the key's, never the assertion's. Times are checked below, by the caller's clock.
                return jwt.decode(assertion, application.key, algorithms=[application.algorithm], options=_UNTIMED)
            except jwt.InvalidTokenError:
                continue
        what = "the signature is not by this application's key" if known else "no such application and key (sub, kid)"
        raise Denied("invalid_client", what)

    def _check(self, claims: dict[str, Any], host: str, now: float) -> None:
        """Deny an assertion for another audience or time, or one that was used before."""
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
        """The audiences accepted in an assertion: this server's URL, also with the path of this route."""
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
        raise Denied("invalid_request", "the body is not a form: send application/x-www-form-urlencoded") from error


def _public_key(path: Path) -> tuple[Any, str]:
    """Read a public key from a PEM file; return it with its algorithm."""
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
        raise SettingsError(f"oauth-key: {path} holds a private key: keep it with the client, and pass the public key")
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SettingsError(f"oauth-key: {path} holds no public key in readable PEM form") from error
    if isinstance(key, RSAPublicKey) and key.key_size >= _RSA_BITS:
        return key, "RS256"
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return key, "ES256"
    raise SettingsError(f"oauth-key: {path} must hold an RSA key of {_RSA_BITS} bits or more, or an EC key on P-256")


_RSA_BITS = 2048


publish("millstream.collector", Application)
