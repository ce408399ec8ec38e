"""An authorization server on loopback, keys to ask it with, and clients that do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from millstream import Analytics, OAuthSettings
from support.auth_server import AuthServer, pem


@pytest.fixture(scope="session")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="session")
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def auth(rsa_key: rsa.RSAPrivateKey, ec_key: ec.EllipticCurvePrivateKey) -> Iterator[AuthServer]:
    server = AuthServer(rsa_key.public_key(), ec_key.public_key())
    yield server
    server.close()


@pytest.fixture
def oauth(auth: AuthServer, rsa_key: rsa.RSAPrivateKey) -> Callable[..., OAuthSettings]:
    """Settings with which `auth` grants tokens."""

    def make(**other: Any) -> OAuthSettings:
        given = {"client_id": "app", "client_key": pem(rsa_key), "key_id": "kid", "auth_server": auth.url, **other}
        return OAuthSettings(**given)

    return make


@pytest.fixture
def authorized(client: Callable[..., Analytics], oauth: Callable[..., OAuthSettings]) -> Callable[..., Analytics]:
    """Makes clients of `api` with tokens of `auth`: no retries of batches or tokens, unless asked for."""

    def make(
        *, http_client: Any = None, flush_at: int = 1, max_retries: int = 0, max_in_flight: int = 4, **settings: Any
    ) -> Analytics:
        return client(
            "write-key",
            max_in_flight=max_in_flight,
            flush_at=flush_at,
            max_retries=max_retries,
            http_client=http_client,
            oauth_settings=oauth(**settings),
        )

    return make
