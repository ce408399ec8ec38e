"""Keys: which are taken, which are refused, and that none of them is ever seen."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
)

import millstream
from millstream import Analytics, AuthError, MissingExtra, OAuthSettings, Request, SettingsError
from millstream.settings import Settings
from support.api import Answer, Api, Seen
from support.auth_server import pem

Make = Callable[..., Analytics]


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("kind", ["rsa_key", "ec_key"])
@pytest.mark.parametrize("as_bytes", [False, True])
def test_pem_keys_are_taken(kind: str, form: PrivateFormat, as_bytes: bool, api: Api, authorized: Make, request):
    """RSA signs RS256 and EC signs ES256, from any usual PEM form, as text or as bytes."""
    text = pem(request.getfixturevalue(kind), form)
    authorized(client_key=text.encode() if as_bytes else text).track("A", user_id="u").wait(timeout=10)
    assert len(api.requests) == 1


def test_a_key_from_an_environment_variable_is_taken(api: Api, authorized: Make, rsa_key):
    r"""A PEM whose line ends have become `\n`, two characters, is the same key."""
    authorized(client_key=pem(rsa_key).replace("\n", "\\n")).track("A", user_id="u").wait(timeout=10)
    assert len(api.requests) == 1


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_signer_takes_the_place_of_the_key(algorithm: str, api: Api, authorized: Make, rsa_key, ec_key):
    """A function that signs (in a key service, say) is all it takes; for ES256 it may return DER."""

    def sign(data: bytes) -> bytes:
        if algorithm == "RS256":
            return rsa_key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        return ec_key.sign(data, ec.ECDSA(hashes.SHA256()))

    authorized(client_key=None, signer=sign, algorithm=algorithm).track("A", user_id="u").wait(timeout=10)
    assert len(api.requests) == 1


def test_a_signer_needs_no_extra(oauth, monkeypatch: pytest.MonkeyPatch):
    """With a signer, neither PyJWT nor cryptography need be installed; with a key, the message says what to install."""
    monkeypatch.setitem(sys.modules, "jwt.algorithms", None)
    monkeypatch.setitem(sys.modules, "jwt", None)
    Analytics("k", oauth_settings=oauth(client_key=None, signer=bytes, algorithm="RS256")).close()
    with pytest.raises(MissingExtra, match=r"pip install 'millstream\[oauth\]'"):
        Analytics("k", oauth_settings=oauth())


def test_a_signer_that_fails_is_told(authorized: Make):
    """What a signer raises fails the events as AuthError; it does not stop the worker."""

    def sign(_: bytes) -> bytes:
        raise RuntimeError("key service: throttled")

    analytics = authorized(client_key=None, signer=sign, algorithm="RS256")
    with pytest.raises(millstream.RetriesExhausted) as caught:
        analytics.track("A", user_id="u").wait(timeout=10)
    assert isinstance(caught.value.last, AuthError)
    assert "key service: throttled" in str(caught.value.last)


def bad_keys() -> Iterator[Any]:
    small = rsa.generate_private_key(65537, 1024)
    good = rsa.generate_private_key(65537, 2048)
    secret = pem(good)
    public = good.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    locked = good.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")).decode()
    yield pytest.param("s3cret-nonsense", "no -----BEGIN", id="no PEM")
    yield pytest.param("", "no -----BEGIN", id="empty")
    yield pytest.param(secret.replace(secret[60:300], "s3cret"), "damaged", id="damaged")
    yield pytest.param(public, "private key", id="public")
    yield pytest.param(locked, "encrypted", id="encrypted")
    yield pytest.param(pem(small), "2048", id="small")
    yield pytest.param(pem(ec.generate_private_key(ec.SECP384R1())), "P-256", id="another curve")
    yield pytest.param(pem(ed25519.Ed25519PrivateKey.generate()), "neither", id="Ed25519")


@pytest.mark.parametrize(("key", "says"), list(bad_keys()))
def test_a_bad_key_is_refused_when_the_client_is_made(key: str, says: str, oauth):
    """N69: SettingsError at once, not at the first event; it says what is wrong and shows nothing of the key."""
    with pytest.raises(SettingsError, match=says) as caught:
        Analytics("k", oauth_settings=oauth(client_key=key))
    shown = "".join(traceback.format_exception(caught.value))
    assert "s3cret" not in shown
    assert not any(line in shown for line in key.splitlines() if len(line) > 40)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"client_id": ""}, "client_id"),
        ({"key_id": None}, "key_id"),
        ({"scope": ""}, "scope"),
        ({"auth_server": "auth.example.com"}, "auth_server"),
        ({"max_retries": -1}, "max_retries"),
        ({"client_key": None}, "client_key or a signer"),
        ({"signer": bytes}, "client_key or a signer"),
        ({"client_key": 7}, "client_key is a int"),
        ({"client_key": None, "signer": bytes}, "algorithm"),
        ({"client_key": None, "signer": "sign", "algorithm": "RS256"}, "signer"),
        ({"algorithm": "HS256"}, "algorithm"),
        ({"algorithm": "ES256"}, "algorithm says ES256"),
        ({"http_client": 7}, "http_client"),
    ],
)
def test_wrong_settings_are_refused_by_name(wrong: dict[str, Any], says: str, oauth):
    """Every OAuth setting is checked when the client is made, and the message names it."""
    with pytest.raises(SettingsError, match=says):
        Analytics("k", oauth_settings=oauth(**wrong))


def test_other_things_than_settings_are_refused(oauth):
    """`oauth_settings` must be an OAuthSettings; what was given instead is not shown: it holds the key."""
    with pytest.raises(SettingsError, match="it must be a OAuthSettings") as caught:
        Analytics("k", oauth_settings={"client_key": "s3cret"})  # type: ignore[arg-type]
    assert "s3cret" not in str(caught.value)


def test_a_disabled_client_needs_no_key():
    """With `disable=True` nothing is signed, so nothing is needed to sign with."""
    with Analytics(disable=True, oauth_settings=OAuthSettings("id")) as analytics:
        analytics.track("A", user_id="u").wait(timeout=1)


def test_the_defaults_are_the_references(oauth):
    """The server and the scope are Segment's; retries are the client's own."""
    given = OAuthSettings("id", "key", "kid")
    assert (given.auth_server, given.scope) == ("https://oauth2.segment.io", "tracking_api:write")
    assert (given.max_retries, given.http_client, given.signer, given.algorithm) == (None,) * 4


def test_secrets_are_seen_nowhere(
    api: Api, auth, authorized: Make, rsa_key, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
):
    """No token, assertion or key in the log, in a `repr`, in an error, in the emitter or on the terminal.

    Not even when a server quotes what it was sent, or an HTTP client what it could not send.
    """
    caplog.set_level(logging.DEBUG)
    told: list[object] = []
    quoting = [0]

    def quote(seen: Seen) -> Answer:
        sent = f"{seen.header('authorization')} {seen.body.decode()}"
        return Answer(401, {"X-Seen": "yes"}, f'{{"error":"{sent}"}}'.encode())

    def tell(*args: object) -> None:
        for arg in args:
            told.extend([arg, vars(arg) if hasattr(arg, "__dict__") else ""])
            told.append("".join(traceback.format_exception(arg.reason)) if hasattr(arg, "reason") else "")

    def send(request: Request) -> object:
        quoting[0] += 1
        if quoting[0] in {1, 3}:
            raise RuntimeError(f"cannot send {request.headers} {request.body!r}")
        return millstream.Urllib3Client().send(request)

    secrets = ["s3cret-token", "client_assertion=ey", pem(rsa_key).splitlines()[3]]
    api.script(quote, quote)
    for http_client in (send, None):
        analytics = authorized(http_client=http_client, max_retries=0)
        for name in ("http_request", "http_response", "error", "track"):
            analytics.on(name, tell)
        for _ in range(3):
            receipt = analytics.track("A", user_id="u")
            try:
                receipt.wait(timeout=10)
            except millstream.DeliveryError as exc:
                told.append("".join(traceback.format_exception(exc)))
        told += [analytics, vars(analytics), analytics._settings, analytics.close_and_flush(timeout=5)]
    auth.script(quote)
    with pytest.raises(AuthError) as caught:
        authorized().track("A", user_id="u").wait(timeout=10)
    told += [caught.value, Settings(write_key="k", oauth_settings=analytics._settings.oauth_settings)]

    seen = repr(told) + str(told) + caplog.text + "".join(capfd.readouterr())
    assert "s3cret-token-1" in auth.granted
    assert len(told) > 20
    assert [secret for secret in secrets if secret in seen] == []
    assert not any(seen.body.decode().split("client_assertion=")[1][:60] in repr(told) for seen in auth.requests)
    assert "'Authorization': 'Bearer …'" in seen
