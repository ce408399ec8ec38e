"""`millstream doctor`: each step of the way, well and not well, and never a traceback."""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
import socket
from collections.abc import Callable, Iterator
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from support.api import Answer, Api, drop, garbage, redirect, stall, status
from support.auth_server import AuthServer
from support.faults import PEM
from support.program import Done
from support.proxy import Proxy

Program = Callable[..., Done]
KEY = "0123456789abcdef0123456789abcdef"
UTC = dt.timezone.utc


@pytest.fixture(autouse=True)
def _where(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLSTREAM_HOST", api.url)
    monkeypatch.setenv("MILLSTREAM_WRITE_KEY", KEY)


@pytest.fixture
def no_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that is not there: no test speaks to a public host, wherever it runs."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def found(done: Done, subject: str) -> dict[str, str]:
    """What was found about a subject; the worst, if there is more."""
    assert done.code in {0, 1}, done.err
    findings = [finding for finding in done.json["findings"] if finding["subject"] == subject]
    assert findings, f"nothing about {subject} in {done.out}"
    return max(findings, key=lambda finding: ["ok", "warning", "problem"].index(finding["status"]))


def statuses(done: Done) -> dict[str, str]:
    return {finding["subject"]: finding["status"] for finding in done.json["findings"]}


def test_a_good_setup(millstream: Program, api: Api) -> None:
    """When all is well it says so line by line, exits with 0, and has sent a batch without any event."""
    done = millstream("doctor")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("\nno problems, no warnings.\n")
    for line in done.out.splitlines()[:-2]:
        assert line.startswith("ok ")
    (seen,) = api.requests
    assert (seen.path, seen.events, seen.json["writeKey"]) == ("/v1/batch", [], KEY)
    assert KEY not in done.out


def test_the_report_as_json(millstream: Program) -> None:
    """A program reads a status, a subject, what was found, and what to do."""
    done = millstream("doctor", "--json")
    assert (done.code, done.json["problems"]) == (0, 0)
    assert set(statuses(done)) >= {"versions", "write key", "host", "connection", "answer"}
    assert all(set(finding) == {"status", "subject", "message", "remedy"} for finding in done.json["findings"])


@pytest.mark.usefixtures("no_way_out")
@pytest.mark.parametrize(
    ("key", "host", "expected"),
    [
        (KEY, "https://api.segment.io", "ok"),
        ("my-key", None, "ok"),
        ("my-key", "https://api.segment.io", "warning"),
        ("WRITE_KEY", "https://api.segment.io", "problem"),
        ("<your key>", "https://api.segment.io", "problem"),
        (f'"{KEY}"', None, "problem"),
        (f"{KEY}\n", None, "ok"),
        (f"{KEY}\n{KEY}", None, "problem"),
    ],
)
def test_the_key(millstream: Program, key: str, host: str | None, expected: str) -> None:
    """A key that cannot be one is a problem; one that does not look like Segment's is a warning, at Segment's."""
    where = ["--host", host] if host else []
    finding = found(millstream("doctor", "--json", "--write-key", key, *where), "write key")
    assert finding["status"] == expected
    assert KEY not in finding["message"]
    assert bool(finding["remedy"]) == (expected != "ok")


def test_no_key(millstream: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key it says where to put one, and looks at the rest all the same."""
    monkeypatch.delenv("MILLSTREAM_WRITE_KEY")
    done = millstream("doctor", "--json")
    assert done.code == 1
    assert "$MILLSTREAM_WRITE_KEY" in found(done, "write key")["remedy"]
    assert found(done, "answer")["status"] == "ok"


@pytest.mark.usefixtures("no_way_out")
@pytest.mark.parametrize(
    ("host", "expected", "said"),
    [
        ("https://api.segment.io", "ok", "events.eu1.segmentapis.com"),
        ("https://events.eu1.segmentapis.com", "ok", "Dublin"),
        ("https://eu1.api.segmentapis.com", "warning", "not a known Segment host"),
        ("https://api.segment.com", "warning", "not a known Segment host"),
        ("https://collector.example.com/v1/batch", "warning", "clients add /v1/batch themselves"),
        ("http://collector.example.com", "warning", "not encrypted"),
    ],
)
def test_the_host(millstream: Program, host: str, expected: str, said: str) -> None:
    """Regions, old names, a path too much and a missing s are seen without asking the network."""
    finding = found(millstream("doctor", "--json", "--host", host), "host")
    assert finding["status"] == expected
    assert said in finding["message"]


def test_a_host_that_is_no_url(millstream: Program) -> None:
    """What cannot be a host is wrong usage."""
    done = millstream("doctor", "--host", "api.segment.io")
    assert (done.code, done.out) == (2, "")
    assert "must be an absolute URL" in done.err


def test_a_name_without_an_address(millstream: Program) -> None:
    """A name that cannot be resolved ends the walk there."""
    done = millstream("doctor", "--json", "--host", "https://no-such-host.invalid", "--timeout", "5")
    assert done.code == 1
    assert found(done, "name")["status"] == "problem"
    assert "connection" not in statuses(done)


def test_nobody_there(millstream: Program) -> None:
    """A refused connection is a problem with a remedy, and no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    done = millstream("doctor", "--json", "--host", f"http://127.0.0.1:{port}")
    assert done.code == 1
    assert found(done, "connection")["message"] == f"127.0.0.1 port {port}: Connection refused"
    assert "answer" not in statuses(done)


@pytest.mark.parametrize(
    ("answer", "expected", "said"),
    [
        (status(401), "problem", "check the write key"),
        (status(404), "problem", "no Tracking API at"),
        (status(503), "problem", "try again later"),
        (status(400, b"empty batch"), "warning", "`millstream send`"),
        (redirect(301, "https://elsewhere.example.com/"), "problem", "use the new address"),
        (Answer(200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>"), "problem", "check http"),
        (drop(), "problem", "check that it is up and an HTTP server"),
        (garbage(), "problem", "check that it is up and an HTTP server"),
        (stall(), "problem", "check that it is up and an HTTP server"),
    ],
    ids=["401", "404", "503", "400", "301", "web page", "drop", "garbage", "stall"],
)
def test_answers(millstream: Program, api: Api, answer: Answer, expected: str, said: str) -> None:
    """Whatever the server answers, or not, is judged, and comes with what to do."""
    api.script(answer)
    done = millstream("doctor", "--json", "--timeout", "0.3")
    finding = found(done, "answer")
    assert (finding["status"], done.code) == (expected, int(expected == "problem"))
    assert said in finding["remedy"]


@pytest.mark.parametrize(("seconds", "expected"), [(0, "ok"), (-600, "warning"), (600, "warning")])
def test_the_clock(millstream: Program, api: Api, seconds: int, expected: str) -> None:
    """A clock that is minutes off the server's is a warning, in the right direction."""
    there = dt.datetime.now(UTC) + dt.timedelta(seconds=seconds)
    api.script(status(200, Date=format_datetime(there, usegmt=True)))
    finding = found(millstream("doctor", "--json"), "clock")
    assert finding["status"] == expected
    if seconds:
        assert ("behind" if seconds > 0 else "ahead of") in finding["message"]
        assert 590 < int(re.findall(r"\d+", finding["message"])[0]) < 610


def test_disabled(millstream: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """With $MILLSTREAM_DISABLE nothing is sent, and that explains everything."""
    monkeypatch.setenv("MILLSTREAM_DISABLE", "1")
    done = millstream("doctor", "--json")
    assert (done.code, found(done, "disabled")["remedy"]) == (1, "unset it")


# -- TLS and proxies --------------------------------------------------------------------------------


def test_a_good_certificate(millstream: Program, tls_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protocol and days left are said; $SSL_CERT_FILE counts here as it does for the library."""
    monkeypatch.setenv("SSL_CERT_FILE", PEM)
    done = millstream("doctor", "--json", "--host", tls_api.url)
    assert done.code == 0
    assert re.fullmatch(r"TLSv1\.\d, certificate valid for [\d,]+ days", found(done, "TLS")["message"])
    assert found(done, "answer")["status"] == "ok"


def test_a_certificate_that_nobody_trusts(millstream: Program, tls_api: Api) -> None:
    """It is a problem of its own, apart from the connection."""
    done = millstream("doctor", "--json", "--host", tls_api.url)
    assert done.code == 1
    assert statuses(done)["connection"] == "ok"
    assert "$SSL_CERT_FILE" in found(done, "TLS")["remedy"]
    assert "answer" not in statuses(done)


def test_a_port_without_tls(millstream: Program, api: Api) -> None:
    """https to a port that speaks plain HTTP is told as such."""
    done = millstream("doctor", "--json", "--host", api.url.replace("http:", "https:"), "--timeout", "2")
    assert done.code == 1
    assert "check that the port speaks TLS" in found(done, "TLS")["remedy"]


def test_a_certificate_with_few_days_left(millstream: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It works today, and somebody should do something about it."""
    pem = certificate(tmp_path / "short.pem", days=5)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    server = Api(tls=str(pem))
    done = millstream("doctor", "--json", "--host", server.url)
    server.close()
    assert (done.code, found(done, "TLS")["status"]) == (0, "warning")


def certificate(path: Path, *, days: int) -> Path:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.OID_COMMON_NAME, "t")])
    now = dt.datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + made.public_bytes(Encoding.PEM))
    return path


def test_the_way_leads_through_the_proxy(
    millstream: Program, tls_api: Api, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a proxy its address is checked, the certificate through its tunnel, and no password is shown."""
    monkeypatch.setenv("SSL_CERT_FILE", PEM)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//user:s%40cret@"))
    done = millstream("doctor", "--json", "--host", tls_api.url)
    assert done.code == 0
    assert found(done, "proxy")["message"].startswith("http://…@127.0.0.1")
    assert str(tls_api.port) not in found(done, "connection")["message"]
    assert found(done, "TLS")["status"] == "ok"
    assert all("CONNECT" in head and "Basic dXNlcjpzQGNyZXQ=" in head for head in proxy.seen)
    assert "cret" not in done.out


# -- OAuth and the spool ----------------------------------------------------------------------------


def with_oauth(folder: Path, server: str) -> list[str]:
    return [
        "--oauth-client-id", "app", "--oauth-key-id", "kid", "--oauth-auth-server", server,
        "--oauth-client-key", str(folder / "acme.private.pem"),
    ]  # fmt: skip


@pytest.fixture
def auth(millstream: Program, tmp_path: Path) -> Iterator[AuthServer]:
    """Grants tokens to whoever has the private key in `tmp_path`."""
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    assert millstream("keygen", str(tmp_path / "acme"), "--ec").code == 0
    server = AuthServer(*[load_pem_public_key((tmp_path / "acme.public.pem").read_bytes())] * 2)
    yield server
    server.close()


def test_a_token_is_asked_for_and_used(millstream: Program, api: Api, auth: AuthServer, tmp_path: Path) -> None:
    """With the OAuth options a token is got, and the empty batch goes out with it."""
    done = millstream("doctor", "--json", *with_oauth(tmp_path, auth.url))
    assert (done.code, found(done, "OAuth")["status"]) == (0, "ok")
    assert [seen.header("authorization") for seen in api.requests] == ["Bearer s3cret-token-1"]
    assert "s3cret" not in done.out


def test_a_token_that_is_not_granted(millstream: Program, auth: AuthServer, tmp_path: Path) -> None:
    """What the authorization server says is passed on, with what to check."""
    auth.script(status(401, b'{"error": "invalid_client"}'))
    done = millstream("doctor", "--json", *with_oauth(tmp_path, auth.url))
    assert done.code == 1
    assert "invalid_client" in found(done, "OAuth")["message"]
    assert "the key's id" in found(done, "OAuth")["remedy"]


def test_a_key_that_others_can_read(millstream: Program, auth: AuthServer, tmp_path: Path) -> None:
    """A private key is private: anything else is a warning, with the command that mends it."""
    (tmp_path / "acme.private.pem").chmod(0o644)
    finding = found(millstream("doctor", "--json", *with_oauth(tmp_path, auth.url)), "OAuth")
    assert (finding["status"], finding["remedy"]) == ("warning", f"chmod 600 {tmp_path}/acme.private.pem")


@pytest.mark.parametrize("broken", ["missing", "damaged"])
def test_a_key_that_is_no_key(millstream: Program, tmp_path: Path, broken: str) -> None:
    """It is said of the key, and the rest is looked at all the same."""
    if broken == "damaged":
        (tmp_path / "acme.private.pem").write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    done = millstream("doctor", "--json", *with_oauth(tmp_path, "http://127.0.0.1:1"))
    assert (done.code, found(done, "OAuth")["status"]) == (1, "problem")
    assert found(done, "answer")["status"] == "ok"


@pytest.mark.usefixtures("no_way_out")
def test_two_regions(millstream: Program, auth: AuthServer, tmp_path: Path) -> None:
    """A token of one region does not count in the other, which no server would say so clearly."""
    where = ["--host", "https://events.eu1.segmentapis.com"]
    done = millstream("doctor", "--json", *where, *with_oauth(tmp_path, auth.url))
    assert "of one region" in found(done, "OAuth")["remedy"]


def test_the_spool(millstream: Program, tmp_path: Path) -> None:
    """A directory that can be written is well, also one that is still to be made; a file is none."""

    def spool(path: Path) -> dict[str, Any]:
        return found(millstream("doctor", "--json", "--spool", str(path)), "spool")

    (tmp_path / "file").touch()
    assert "is writable" in spool(tmp_path)["message"]
    assert "does not exist yet" in spool(tmp_path / "new")["message"]
    assert (spool(tmp_path / "file")["status"], list(tmp_path.iterdir())) == ("problem", [tmp_path / "file"])
