"""OAuth settings and secrets: signs token requests, and keeps tokens out of messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ._core.oauth import ClientCredentials
from .errors import MissingExtra, SettingsError
from .settings import OAuthSettings, Settings
from .types import HTTPClient, Request, Response

__all__ = ["OAuth", "Signer", "bearer", "oauth_of", "quotes", "shown", "with_token", "without"]

Signer = Callable[[bytes], Any]
HIDDEN = "…"
_BEARER = "Bearer "


@dataclass(frozen=True)
class OAuth:
    """The parts with which a driver gets tokens. Without `client`, the events' client sends token requests."""

    grant: ClientCredentials
    sign: Signer
    max_retries: int
    client: HTTPClient | None


def oauth_of(settings: Settings, as_client: Callable[[object], HTTPClient]) -> OAuth | None:
    """Make the OAuth parts of a client's settings; None without OAuth.

    Raises:
        SettingsError: the key or the HTTP client is invalid.
        MissingExtra: signing with a key needs the extra `oauth`.
    """
    oauth = settings.oauth_settings
    if oauth is None or settings.disable:
        return None
    algorithm, sign = _signer_of(oauth)
    return OAuth(
        grant=ClientCredentials(
            client_id=oauth.client_id,
            key_id=oauth.key_id,
            auth_server=oauth.auth_server,
            scope=oauth.scope,
            algorithm=algorithm,
            timeout=settings.http_request_timeout,
        ),
        sign=sign,
        max_retries=settings.max_retries if oauth.max_retries is None else oauth.max_retries,
        client=None if oauth.http_client is None else as_client(oauth.http_client),
    )


def _signer_of(oauth: OAuthSettings) -> tuple[str, Signer]:
    """Return the algorithm and the signer: the user's own `signer`, or one with `client_key`, which is read here.

    Raises:
        SettingsError: the key is invalid. The message says why, and never quotes the key.
        MissingExtra: signing with a key needs the extra `oauth`.
    """
    if oauth.signer is not None:
        return str(oauth.algorithm), oauth.signer
    try:
        from jwt.algorithms import get_default_algorithms  # noqa: PLC0415

        key, name = _private_key(oauth.client_key or "")
    except ImportError:
        raise MissingExtra("OAuth", "oauth") from None
    if oauth.algorithm not in {None, name}:
        raise _wrong(f"it is a key for {name}, and algorithm says {oauth.algorithm}")
    algorithm = get_default_algorithms()[name]
    return name, lambda data: algorithm.sign(data, key)


def _private_key(pem: str | bytes) -> tuple[Any, str]:
    """Read the key, and find its algorithm."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    data = _pem(pem)
    try:
        key = load_pem_private_key(data, password=None)
    except TypeError:
        raise _wrong("it is encrypted; decrypt it first, for instance with `openssl pkey -in … -out …`") from None
    except (ValueError, UnsupportedAlgorithm):
        raise _wrong("it is damaged, or of an unknown kind") from None
    if isinstance(key, RSAPrivateKey):
        if key.key_size < 2048:
            raise _wrong(f"it is an RSA key of {key.key_size} bits; RS256 needs 2048 or more")
        return key, "RS256"
    if isinstance(key, EllipticCurvePrivateKey):
        if not isinstance(key.curve, SECP256R1):
            raise _wrong(f"it is on the curve {key.curve.name}; ES256 needs P-256 (prime256v1)")
        return key, "ES256"
    raise _wrong(f"it is neither an RSA nor an EC key ({type(key).__name__.strip('_')})")


def _pem(pem: str | bytes) -> bytes:
    r"""Normalize the key's text. Environment variables often hold `\n` for line ends."""
    data = pem.encode("utf-8", "replace") if isinstance(pem, str) else pem
    if b"\n" not in data.strip():
        data = data.replace(b"\\n", b"\n")
    if b"-----BEGIN" not in data:
        raise _wrong("it has no -----BEGIN … PRIVATE KEY-----; pass the text of the PEM file, not its path")
    if b"PRIVATE KEY-----" not in data:
        raise _wrong("it is not a private key (a public key or a certificate, perhaps)")
    return data


def _wrong(what: str) -> SettingsError:
    return SettingsError(f"oauth_settings: client_key must be a private RSA or EC key in PEM form; {what}")


def bearer(request: Request) -> str:
    """Return the token of a request; empty if it has none."""
    value = request.headers.get("Authorization", "")
    return value.removeprefix(_BEARER) if value.startswith(_BEARER) else ""


def with_token(request: Request, token: str | None) -> Request:
    """Put a token in place of the write key, which is still in the body."""
    return replace(request, headers={**request.headers, "Authorization": f"{_BEARER}{token}"})


def shown(request: Request) -> Request:
    """Return the request for listeners, without the token."""
    if not bearer(request):
        return request
    return replace(request, headers={**request.headers, "Authorization": _BEARER + HIDDEN})


def without(response: Response, token: str) -> Response:
    """Return the answer without the token, which a server may quote."""
    secret = token.encode()
    if not secret or secret not in response.body:
        return response
    return replace(response, body=response.body.replace(secret, HIDDEN.encode()))


def quotes(exc: BaseException | None, *secrets: str) -> bool:
    """Whether the text of an exception, or of one of its causes, contains a secret. Empty ones are ignored."""
    looked_for = [secret for secret in secrets if secret]
    seen: set[int] = set()
    while looked_for and exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        if any(secret in text for secret in looked_for for text in (str(exc), repr(exc))):
            return True
        exc = exc.__cause__ or exc.__context__
    return False
