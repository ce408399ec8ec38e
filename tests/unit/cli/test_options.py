"""Who sends, and to whom: what the shared options must have together."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("typer")

from millstream import SettingsError
from millstream.cli.options import Target, help_of, spelled


def test_oauth_needs_all_or_nothing(tmp_path: Path) -> None:
    """With none of its options there is no OAuth; with some, the message names exactly those that are missing."""
    assert Target(None, "key").oauth() is None
    with pytest.raises(SettingsError, match="--oauth-client-key and --oauth-key-id is missing"):
        Target(None, "key", oauth_client_id="id").oauth()
    with pytest.raises(SettingsError, match="is missing"):
        Target(None, "key", oauth_auth_server="https://auth.example").oauth()
    pem = tmp_path / "key.pem"
    pem.write_bytes(b"the key")
    whole = Target(None, "key", oauth_client_id="id", oauth_client_key=pem, oauth_key_id="kid").oauth()
    assert whole is not None
    assert (whole.client_key, whole.auth_server) == (b"the key", "https://oauth2.segment.io")


def test_a_key_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """The message has the option, the path and the reason."""
    path = tmp_path / "none.pem"
    with pytest.raises(SettingsError, match=r"--oauth-client-key .*none\.pem: No such file"):
        Target(None, "key", oauth_client_id="id", oauth_client_key=path, oauth_key_id="kid").oauth()


@pytest.mark.parametrize("key", [None, "", "  "])
def test_without_a_key_nothing_is_made(key: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing key is refused with where to put one, before anything is read or sent; so is a disabled library."""
    with pytest.raises(SettingsError, match="--write-key"):
        Target(None, key).settings()
    monkeypatch.setenv("MILLSTREAM_DISABLE", "1")
    with pytest.raises(SettingsError, match="MILLSTREAM_DISABLE"):
        Target(None, "key").settings()


def test_the_host_that_is_given_counts_before_that_of_the_command() -> None:
    """A command may have a host of its own; the user's option goes before it, and an empty one is none."""
    assert Target("http://mine.example", "key").settings(host="http://other.example").host == "http://mine.example"
    assert Target("", "key").settings(host="http://other.example").host == "http://other.example"


@pytest.mark.parametrize(("given", "ours"), [("--userId", "--user-id"), ("--user-id", "--user-id"), ("--ID", "--id")])
def test_an_option_of_other_libraries_is_spelled_as_ours(given: str, ours: str) -> None:
    """`--userId` is `--user-id`; what is written in capitals is one word."""
    assert spelled(given) == ours


def test_help_is_as_wide_as_the_terminal() -> None:
    """Paragraphs of a docstring lose their line ends, and examples keep theirs."""

    def command() -> None:
        """First
        sentence.

        [bold]Examples[/bold]
        one
        two
        """

    assert help_of(command) == "First sentence.\n\n[bold]Examples[/bold]\none\ntwo"
