"""The commands on keys of webhooks: `clusterbus webhooks key | public`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from router.cli.app import Json
from router.cli.output import fail, say

from ...config import secrets
from ...errors import SecretError
from ...verbs.post.signing import PrivateKey, key, new_secret

webhooks_app = typer.Typer(help="Keys that sign the calls of `post`.", no_args_is_help=True)

_MODE = 0o640


@webhooks_app.command("key")
def make_key(
    file: Annotated[Path, typer.Argument(help="The file to write; it must not exist yet.")],
    private: Annotated[
        bool, typer.Option("--private", help="Make a private key (Ed25519): the receiver gets its public part only.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a key for `secret` of `post`, by default one to share with the receiver (HMAC)."""
    path, text = file.absolute(), new_secret(is_private=private)
    try:
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        with os.fdopen(opened, "w") as written:
            written.write(f"{text}\n")
            written.flush()
            os.fsync(written.fileno())
    except OSError as error:
        fail(f"{path}: {error.strerror}")
    made = key(text, f"file:{path}")
    facts = {"secret": f"file:{path}", "public": made.public if isinstance(made, PrivateKey) else None}
    use = f"wrote {path}: write secret: file:{path} in the subscription, and let the consumer's group read it"
    give = (
        f"; give the receiver its public part: {facts['public']}" if facts["public"] else "; the receiver needs it too"
    )
    say(facts, as_json=as_json, text=f"{use}{give}")


@webhooks_app.command()
def public(
    file: Annotated[Path, typer.Argument(help="The file of a private key.")],
    as_json: Json = False,
) -> None:
    """Print the public part of a private key, which the receiver verifies signatures with."""
    reference = f"file:{file.absolute()}"
    try:
        found = key(secrets.read(reference), reference)
    except (SecretError, OSError) as error:
        fail(str(error))
    if not isinstance(found, PrivateKey):
        fail(f"{reference} is a key to share: it has no public part")
    say({"public": found.public}, as_json=as_json, text=found.public)
