"""`millstream keygen`: a key pair for OAuth."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from millstream.errors import MissingExtra, SettingsError

from . import output
from .options import AsJson, option

if TYPE_CHECKING:
    from collections.abc import Generator

RSA_BITS = 2048


def keygen(
    name: Annotated[Path, typer.Argument(metavar="NAME", help="File name, before .private.pem.")],
    *,
    ec: Annotated[bool, option("--ec", help="EC on P-256, which signs ES256; else RSA, which signs RS256.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a key pair for OAuth: NAME.private.pem and NAME.public.pem.

    Only you can read the private key. Existing files are never overwritten.
    """
    private, public = (name.with_name(f"{name.name}.{half}.pem") for half in ("private", "public"))
    with ExitStack() as files:  # both files or none
        private_file = files.enter_context(_new(private, 0o600))
        public_file = files.enter_context(_new(public, 0o644))
        private_pem, public_pem = _pair(ec=ec)
        os.write(private_file, private_pem)
        os.write(public_file, public_pem)
    if as_json:
        algorithm = "ES256" if ec else "RS256"
        output.print_json({"private": str(private), "public": str(public), "algorithm": algorithm})
    else:
        client_id = public.name.partition(".")[0]  # the default client id of `millstream serve`
        output.say(_NEXT.format(private=private, public=public, id=client_id, url=_COLLECTOR))


_NEXT = """\
{private}  stays with the client: keep it secret
{public}   goes to the authorization server

With Segment: make an OAuth application from {public}, give it the scope
tracking_api:write, and enable OAuth for the source. The client needs the ids of
the application and of the key.

With a collector of your own:
  millstream serve --oauth-key {public}

  millstream send identify --user-id u1 --write-key any --host {url} \\
    --oauth-client-id {id} --oauth-client-key {private} \\
    --oauth-key-id any --oauth-auth-server {url}"""
_COLLECTOR = "http://127.0.0.1:7070"


@contextmanager
def _new(path: Path, mode: int) -> Generator[int, None, None]:
    """Create a new file; delete it if the block fails."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise SettingsError(f"{path} exists; keys are never overwritten: choose another name") from None
    except OSError as error:
        raise SettingsError(f"cannot write {path}: {error.strerror}") from error
    try:
        yield file
    except BaseException:
        path.unlink()
        raise
    finally:
        os.close(file)


def _pair(*, ec: bool) -> tuple[bytes, bytes]:
    """Generate a private key and its public key, as PEM."""
    try:
        from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as an_ec_key  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as an_rsa_key  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
            Encoding,
            NoEncryption,
            PrivateFormat,
            PublicFormat,
        )
    except ImportError:
        raise MissingExtra("millstream keygen", "oauth") from None
    key = an_ec_key(SECP256R1()) if ec else an_rsa_key(public_exponent=65537, key_size=RSA_BITS)
    return (
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    )
