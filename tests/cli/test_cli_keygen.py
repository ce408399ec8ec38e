"""`millstream keygen`: keys that the library and the rest of the world can use, and that nothing overwrites."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from millstream import Analytics, OAuthSettings
from support.api import Api
from support.auth_server import AuthServer
from support.program import Collector, Done

Program = Callable[..., Done]


@pytest.mark.parametrize("kind", [(), ("--ec",)], ids=["RSA", "EC"])
def test_a_pair_of_which_one_half_proves_the_other(
    millstream: Program, tmp_path: Path, api: Api, kind: tuple[str, ...]
) -> None:
    """A client with the private key gets a token from a server that knows the public one."""
    assert millstream("keygen", str(tmp_path / "acme"), *kind).code == 0
    public = load_pem_public_key((tmp_path / "acme.public.pem").read_bytes())
    server = AuthServer(*[public] * 2)
    key = (tmp_path / "acme.private.pem").read_text()
    oauth = OAuthSettings("app", key, key_id="kid", auth_server=server.url)
    with Analytics("key", host=api.url, oauth_settings=oauth) as analytics:
        analytics.track("A", user_id="u").wait(timeout=10)
    server.close()
    assert [seen.header("authorization") for seen in api.requests] == ["Bearer s3cret-token-1"]


def test_the_private_key_is_private(millstream: Program, tmp_path: Path) -> None:
    """Nobody else on the machine can read it, whatever the umask."""
    before = os.umask(0)
    try:
        done = millstream("keygen", str(tmp_path / "acme"), "--ec", "--json")
    finally:
        os.umask(before)
    assert done.json == {
        "private": str(tmp_path / "acme.private.pem"),
        "public": str(tmp_path / "acme.public.pem"),
        "algorithm": "ES256",
    }
    assert stat.S_IMODE((tmp_path / "acme.private.pem").stat().st_mode) == 0o600
    assert b"PRIVATE" not in (tmp_path / "acme.public.pem").read_bytes()


@pytest.mark.parametrize("half", ["private", "public"])
def test_nothing_is_overwritten(millstream: Program, tmp_path: Path, half: str) -> None:
    """If one of the files exists it stays as it is, and the other is not made."""
    kept = tmp_path / f"acme.{half}.pem"
    kept.write_text("precious")
    done = millstream("keygen", str(tmp_path / "acme"))
    assert (done.code, done.out) == (2, "")
    assert done.err == f"millstream: {kept} exists; keys are never overwritten: choose another name\n"
    assert (kept.read_text(), list(tmp_path.iterdir())) == ("precious", [kept])


def test_a_directory_that_is_not_there(millstream: Program, tmp_path: Path) -> None:
    """What cannot be written is one line and exit code 2."""
    done = millstream("keygen", str(tmp_path / "no" / "acme"))
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "No such file or directory" in done.err


@pytest.mark.process
def test_what_to_do_next(tmp_path: Path, millstream: Program) -> None:
    """The two commands that it prints work as they stand: OAuth can be tried without an account."""
    out = millstream("keygen", str(tmp_path / "acme"), "--ec").out
    serve, send = [shlex.split(line) for line in out.replace("\\\n", " ").splitlines() if "  millstream " in line]
    collector = Collector(tmp_path / "data", *serve[2:])
    with_oauth = [word.replace("http://127.0.0.1:7070", collector.url) for word in send[1:]]
    delivered = millstream(*with_oauth)
    refused = millstream(*with_oauth[: with_oauth.index("--oauth-client-id")])
    collector.stop()
    assert (delivered.code, delivered.err) == (0, "")
    assert (refused.code, "[401]" in refused.err) == (1, True)


@pytest.mark.process
def test_without_the_extra_it_says_how_to_get_it(tmp_path: Path) -> None:
    """Where cryptography is not installed the command names the extra, and leaves no empty files."""
    hide = "import sys; sys.modules['cryptography'] = None; from millstream.cli import main; main()"
    command = [sys.executable, "-c", hide, "keygen", str(tmp_path / "acme")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == "millstream: millstream keygen needs packages that are not installed: pip install 'millstream[oauth]'\n"
    )
    assert list(tmp_path.iterdir()) == []
