"""TokenVerifier: who can prove who he is gets one, and it opens the door for an hour."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from asgi_client import call
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from load import Process, stored

from millstream import Analytics, AuthError, OAuthSettings
from millstream.collector import Application, Collector
from millstream.collector.oauth import ASSERTION_TYPE, Denied, TokenServer
from millstream.errors import SettingsError
from support.auth_server import pem

NOW = 1_800_000_000.0
HOST = "collector.example:7070"
URL = f"http://{HOST}"


@pytest.fixture(scope="session")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="session")
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def public(key: Any) -> bytes:
    text: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text


@pytest.fixture
def applications(tmp_path: Path, rsa_key: Any, ec_key: Any) -> list[Application]:
    for name, key in (("acme", rsa_key), ("shop", ec_key)):
        (tmp_path / f"{name}.public.pem").write_bytes(public(key))
    return [Application.parse(f"{tmp_path}/acme.public.pem"), Application.parse(f"web/k2={tmp_path}/shop.public.pem")]


@pytest.fixture
def server(applications: list[Application]) -> TokenServer:
    return TokenServer(applications)


Assert = Callable[..., bytes]


@pytest.fixture
def asserted(rsa_key: Any) -> Assert:
    """A token request as `acme` makes it, with anything about it changed. `None` leaves a claim out."""
    number = 0

    def make(*, key: Any = None, algorithm: str = "RS256", kid: str = "k1", form: Any = (), **changed: Any) -> bytes:
        nonlocal number
        number += 1
        claims = {"iss": "acme", "sub": "acme", "aud": URL, "iat": NOW - 5, "exp": NOW + 55, "jti": f"j{number}"}
        claims = {name: value for name, value in {**claims, **changed}.items() if value is not None}
        signer = None if algorithm == "none" else key or rsa_key
        assertion = jwt.PyJWS().encode(json.dumps(claims).encode(), signer, algorithm, headers={"kid": kid})
        fields = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
            "scope": "tracking_api:write",
        }
        return urlencode(fields | dict(form)).encode()

    return make


def test_a_token_is_granted_and_good_for_an_hour(server: TokenServer, asserted: Assert) -> None:
    """And for no longer; each is another."""
    granted = json.loads(server.grant(asserted(), HOST, NOW))
    token = granted.pop("access_token")
    assert granted == {"token_type": "Bearer", "expires_in": 3600, "scope": "tracking_api:write"}
    assert server.accepts(token, NOW + 3599)
    assert not server.accepts(token, NOW + 3600)
    assert not server.accepts(token + "x", NOW)
    assert not server.accepts("", NOW)
    assert json.loads(server.grant(asserted(), HOST, NOW))["access_token"] != token


def test_an_ec_key_signs_es256(server: TokenServer, asserted: Assert, ec_key: Any) -> None:
    """With the id that was configured for the application and its key."""
    web = {"key": ec_key, "algorithm": "ES256", "iss": "web", "sub": "web"}
    assert server.grant(asserted(**web, kid="k2"), HOST, NOW)
    with pytest.raises(Denied, match="no such application and key"):
        server.grant(asserted(**web, kid="k1"), HOST, NOW)


@pytest.mark.parametrize(
    "changed",
    [
        {"aud": f"https://{HOST}"},
        {"aud": f"{URL}/"},
        {"aud": f"{URL}/token"},
        {"aud": ["https://elsewhere.example", URL]},
        {"iss": None},
        {"iss": URL},
        {"iat": None},
        {"exp": NOW + 60},
        {"exp": NOW - 4},
        {"kid": "any"},
    ],
)
def test_what_an_assertion_may_be(server: TokenServer, asserted: Assert, changed: Any) -> None:
    """As other libraries make them."""
    assert server.grant(asserted(**changed), HOST, NOW)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"aud": "http://elsewhere.example"}, "invalid_client: aud must be http://collector.example:7070"),
        ({"aud": f"{URL}.evil"}, "invalid_client: aud"),
        ({"aud": 17}, "invalid_client: "),
        ({"aud": None}, "invalid_client: "),
        ({"sub": "other", "iss": "other"}, "invalid_client: no such application"),
        ({"iss": "other"}, "invalid_client: iss"),
        ({"iss": 17}, "invalid_client: "),
        ({"iss": {}}, "invalid_client: "),
        ({"aud": [{}, 17]}, "invalid_client: "),
        ({"exp": NOW - 6}, "invalid_client: exp"),
        ({"exp": NOW + 66}, "invalid_client: exp"),
        ({"exp": float("nan")}, "invalid_client: exp"),
        ({"exp": "soon"}, "invalid_client: "),
        ({"exp": None}, "invalid_client: "),
        ({"iat": NOW + 6}, "invalid_client: iat is in the future"),
        ({"nbf": NOW + 6}, "invalid_client: nbf is in the future"),
        ({"jti": None}, "invalid_client: "),
        ({"form": {"grant_type": "password"}}, "unsupported_grant_type: "),
        ({"form": {"client_assertion_type": "x"}}, "invalid_request: "),
        ({"form": {"client_assertion": "a.b.c"}}, "invalid_request: "),
        ({"form": {"client_assertion": ""}}, "invalid_request: "),
        ({"form": {"scope": "functions:write"}}, "invalid_scope: "),
        ({"key": "k" * 32, "algorithm": "HS256"}, "invalid_client: the signature"),
    ],
)
def test_what_an_assertion_may_not_be(server: TokenServer, asserted: Assert, changed: Any, error: str) -> None:
    """Each refusal says in RFC 6749's words and in plain ones what is wrong."""
    form = asserted(**changed)
    with pytest.raises(Denied) as caught:
        server.grant(form, HOST, NOW)
    told = json.loads(caught.value.body)
    assert f"{told['error']}: {told['error_description']}".startswith(error)
    assert caught.value.status == (401 if told["error"] == "invalid_client" else 400)


def test_another_key_proves_nothing(server: TokenServer, asserted: Assert) -> None:
    """The signature is checked, with the application's own key, and by the algorithm of that key."""
    other = rsa.generate_private_key(65537, 2048)
    with pytest.raises(Denied, match="the signature is not by this application's key"):
        server.grant(asserted(key=other), HOST, NOW)


def test_an_unsigned_assertion_proves_nothing(server: TokenServer, asserted: Assert) -> None:
    """`alg: none` is the oldest trick."""
    with pytest.raises(Denied, match="the signature"):
        server.grant(asserted(algorithm="none"), HOST, NOW)


def test_an_assertion_is_good_once(server: TokenServer, asserted: Assert) -> None:
    """Who overhears one gets nothing for it; and names that cannot come again are not remembered."""
    form = asserted()
    server.grant(form, HOST, NOW)
    with pytest.raises(Denied, match="used before"):
        server.grant(form, HOST, NOW + 1)
    for minute in range(1, 20):
        then = NOW + 61 * minute
        server.grant(asserted(iat=then, exp=then + 55), HOST, then)
    assert len(server._spent) <= 2


def test_the_audience_can_be_fixed(applications: list[Application], asserted: Assert) -> None:
    """Then no Host header makes another of it."""
    server = TokenServer(applications, audience="https://events.example/")
    assert server.grant(asserted(aud="https://events.example"), "whatever", NOW)
    with pytest.raises(Denied, match="aud must be https://events"):
        server.grant(asserted(aud=URL), HOST, NOW)


def test_tokens_do_not_fill_the_memory(server: TokenServer, asserted: Assert, monkeypatch: Any) -> None:
    """Old ones go, and of the good ones the oldest if there are too many."""
    monkeypatch.setattr("millstream.collector.oauth._MAX_TOKENS", 5)
    tokens = [json.loads(server.grant(asserted(), HOST, NOW))["access_token"] for _ in range(8)]
    assert [server.accepts(token, NOW) for token in tokens] == [False] * 3 + [True] * 5
    then = NOW + 3601
    server.grant(asserted(iat=then, exp=then + 55), HOST, then)
    assert len(server._tokens) == 1


FORMS = st.dictionaries(st.text(max_size=9), st.text(max_size=40)).map(lambda fields: urlencode(fields).encode())


@settings(deadline=None)
@given(form=st.binary(max_size=200) | FORMS)
def test_no_form_makes_it_raise_anything_else(form: bytes) -> None:
    """Whatever is sent to `/token` is refused with a reason."""
    server = TokenServer([Application("acme", "", "RS256", None)])
    with pytest.raises(Denied):
        server.grant(form, HOST, NOW)


def test_without_keys_nobody_gets_a_token() -> None:
    """And the answer says how to change that."""
    answer = call(Collector.in_memory(), "POST", "/token", b"")
    assert answer.status == 401
    assert answer.json["error"] == "invalid_client"
    assert "--oauth-key" in answer.json["error_description"]


def test_keys_that_cannot_be_used_are_said_at_once(tmp_path: Path, rsa_key: Any) -> None:
    """With the file, and what to do."""
    (tmp_path / "private.pem").write_text(pem(rsa_key))
    (tmp_path / "odd.pem").write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    (tmp_path / "small.pem").write_bytes(public(rsa.generate_private_key(65537, 1024)))
    (tmp_path / "curve.pem").write_bytes(public(ec.generate_private_key(ec.SECP384R1())))
    for name, said in (
        ("missing.pem", "cannot read .*missing.pem: No such file"),
        ("private.pem", "private key: keep it with the client"),
        ("odd.pem", "no public key"),
        ("small.pem", "2048 bits or more"),
        ("curve.pem", "P-256"),
    ):
        with pytest.raises(SettingsError, match=said):
            Application.parse(str(tmp_path / name))


@pytest.mark.process
def test_the_librarys_oauth_works_with_it(tmp_path: Path, rsa_key: Any, ec_key: Any) -> None:
    """As in the guide: a key pair, a collector that knows its public half, a client that has the private one."""
    for name, key in (("acme", rsa_key), ("shop", ec_key)):
        (tmp_path / f"{name}.public.pem").write_bytes(public(key))
    keys = ("--oauth-key", f"{tmp_path}/acme.public.pem", "--oauth-key", f"web/k2={tmp_path}/shop.public.pem")
    with Process(tmp_path / "data", *keys) as collector:
        for client_id, key_id, key in (("acme", "any", rsa_key), ("web", "k2", ec_key)):
            oauth = OAuthSettings(client_id, pem(key), key_id=key_id, auth_server=collector.url)
            with Analytics("key", host=collector.url, oauth_settings=oauth) as analytics:
                analytics.track("Paid", user_id="u", message_id=client_id).wait(timeout=20)
        wrong = OAuthSettings("web", pem(rsa_key), key_id="k2", auth_server=collector.url)
        with Analytics("key", host=collector.url, oauth_settings=wrong) as analytics, pytest.raises(AuthError):
            analytics.track("Paid", user_id="u").wait(timeout=20)
        with Analytics("key", host=collector.url, max_retries=0) as analytics, pytest.raises(Exception, match="401"):
            analytics.track("Paid", user_id="u").wait(timeout=20)
        collector.end()
    assert stored(tmp_path / "data") == ["acme", "web"]


@pytest.mark.process
def test_a_collector_that_starts_anew_has_the_client_ask_again(tmp_path: Path, rsa_key: Any) -> None:
    """TokenVerifier are forgotten with the process; a client hears 401, and gets another by itself."""
    (tmp_path / "acme.public.pem").write_bytes(public(rsa_key))
    keys = ("--oauth-key", f"{tmp_path}/acme.public.pem")
    with Process(tmp_path / "data", *keys) as collector:
        oauth = OAuthSettings("acme", pem(rsa_key), key_id="k", auth_server=collector.url)
        with Analytics("key", host=collector.url, oauth_settings=oauth, max_retries=8) as analytics:
            analytics.track("A", user_id="u", message_id="1").wait(timeout=20)
            collector.end()
            with Process(tmp_path / "data", *keys, port=collector.port) as again:
                analytics.track("B", user_id="u", message_id="2").wait(timeout=20)
                again.end()
    assert stored(tmp_path / "data") == ["1", "2"]
