"""`clusterbus webhooks`: keys that `post` signs with and receivers verify with."""

import base64
import json
import stat

import pytest
import standardwebhooks
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from typer.testing import CliRunner

from consumers.cli.main import app
from consumers.config import secrets
from consumers.verbs.post.signing import key, sign


def run(*words, code=0):
    ended = CliRunner().invoke(app, ["webhooks", *map(str, words)])
    assert ended.exit_code == code, (ended.output, ended.exception)
    return ended.output


def signed(path):
    reference = f"file:{path}"
    return sign([key(secrets.read(reference), reference)], "m", 1, b"{}")


def test_a_shared_key_is_one_that_receivers_can_use(tmp_path):
    run("key", tmp_path / "shared")

    theirs = standardwebhooks.Webhook((tmp_path / "shared").read_text().strip())
    assert theirs.sign("m", standardwebhooks.webhooks.datetime.fromtimestamp(1), "{}") == signed(tmp_path / "shared")
    assert "has no public part" in run("public", tmp_path / "shared", code=1)


def test_a_private_key_stays_private_and_its_public_part_verifies(tmp_path):
    path = tmp_path / "private"
    made = json.loads(run("key", "--private", path, "--json"))

    assert json.loads(run("public", path, "--json")) == {"public": made["public"]}
    public = base64.b64decode(made["public"].removeprefix("whpk_"))
    Ed25519PublicKey.from_public_bytes(public).verify(base64.b64decode(signed(path).removeprefix("v1a,")), b"m.1.{}")
    assert stat.S_IMODE(path.stat().st_mode) & 0o137 == 0
    assert path.read_text().strip() not in json.dumps(made)

    # Other tools write the public key after the seed.
    seed = base64.b64decode(path.read_text().strip().removeprefix("whsk_"))
    (tmp_path / "pair").write_text(f"whsk_{base64.b64encode(seed + public).decode()}")
    assert signed(tmp_path / "pair") == signed(path)


@pytest.mark.parametrize("words", [["key"], ["key", "--private"]])
def test_a_key_is_never_overwritten(tmp_path, words):
    (tmp_path / "k").write_text("mine")

    assert "File exists" in run(*words, tmp_path / "k", code=1)
    assert (tmp_path / "k").read_text() == "mine"
