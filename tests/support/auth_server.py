"""An authorization server for tests, which checks who asks; and keys as text."""

from __future__ import annotations

import json
import threading
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from .api import Answer, Api, Seen


def pem(key: Any, form: PrivateFormat = PrivateFormat.PKCS8) -> str:
    """A private key as the text of a PEM file."""
    return key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()


class AuthServer(Api):
    """Grants `s3cret-token-1`, `-2` … to whoever can prove that they are `app`. Scripted answers come first."""

    def __init__(self, *public_keys: Any) -> None:
        super().__init__()
        self.always = self._grant
        self.life = 3600.0
        self.claims: list[dict[str, Any]] = []
        self.granted: list[str] = []
        self._keys = public_keys
        self._names: set[str] = set()
        self._granting = threading.Lock()

    @property
    def events(self) -> list[dict[str, Any]]:
        return []

    def _grant(self, seen: Seen) -> Answer:
        try:
            claims = self._check(seen)
        except (AssertionError, KeyError, jwt.InvalidTokenError) as exc:
            return Answer(400, {}, json.dumps({"error": "invalid_client", "error_description": repr(exc)}).encode())
        with self._granting:
            self.claims.append(claims)
            self.granted.append(f"s3cret-token-{len(self.granted) + 1}")
            body = {"access_token": self.granted[-1], "expires_in": self.life, "token_type": "Bearer"}
        return Answer(200, {}, json.dumps(body).encode())

    def _check(self, seen: Seen) -> dict[str, Any]:
        assert (seen.method, seen.path) == ("POST", "/token")
        assert seen.header("content-type") == "application/x-www-form-urlencoded"
        form = {name: value for name, (value,) in parse_qs(seen.body.decode(), strict_parsing=True).items()}
        assert form["grant_type"] == "client_credentials"
        assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        assert form["scope"] == "tracking_api:write"
        header = jwt.get_unverified_header(form["client_assertion"])
        assert (header["kid"], header["typ"]) == ("kid", "JWT")
        key = self._keys[("RS256", "ES256").index(header["alg"])]
        claims: dict[str, Any] = jwt.decode(
            form["client_assertion"], key, algorithms=[header["alg"]], audience=self.url, issuer="app",
            options={"require": ["iss", "sub", "aud", "iat", "exp", "jti"]},
        )  # fmt: skip
        assert claims["sub"] == "app"
        assert claims["exp"] - claims["iat"] == 60
        assert claims["jti"] not in self._names
        self._names.add(claims["jti"])
        return claims
