"""The relay over TLS: it logs in with its certificate, and talks to nobody that it cannot trust."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from router.local_broker.rabbitmq_node import PrivateNode
from tests.secure_broker import Authority, secure_broker
from tests.shim_relay import RelayProcess, drained, ingress, make_spool, put, reported, waiting

NODE = "nsd01"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory, require: Callable[[str], str]) -> Authority:
    """An authority that has issued certificates for the broker and for the node."""
    authority = Authority(tmp_path_factory.mktemp("tls") / "ca", require("openssl"))
    authority.issue("broker")
    authority.issue(NODE)
    return authority


@pytest.fixture(scope="module")
def secure(authority: Authority) -> Iterator[tuple[PrivateNode, str]]:
    """A broker that takes certificates only, and its address for the node."""
    with secure_broker(authority) as (node, port):
        node.ctl("add_user", NODE, "to be cleared")
        node.ctl("clear_password", NODE)
        node.ctl("set_permissions", NODE, "^$", r"^clusterbus\.ingress$", "^$")
        yield node, f"amqps://{NODE}@127.0.0.1:{port}"


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """An empty spool."""
    return make_spool(tmp_path)


@pytest.mark.long
def test_a_certificate_is_enough_to_log_in(spool: Path, secure: tuple[PrivateNode, str], authority: Authority) -> None:
    node, url = secure
    record_id = put(spool)

    with ingress(node.url) as tap, RelayProcess(spool, url, options=_tls(authority)) as relay:
        [taken] = drained(tap, 1)
        relay.wait_until_empty()

    assert taken.properties.message_id == record_id
    assert taken.properties.user_id == NODE


def test_a_broker_of_another_authority_gets_nothing(
    spool: Path, secure: tuple[PrivateNode, str], authority: Authority, tmp_path: Path, require: Callable[[str], str]
) -> None:
    put(spool)
    other = Authority(tmp_path / "other", require("openssl"))
    options = [*_tls(authority), "--ca", other.path("ca.pem")]

    with RelayProcess(spool, secure[1], options=options) as relay:
        relay.wait_until_said("broker connection cannot be secured", times=2)
        told = reported(spool)["problem"]

    assert len(waiting(spool)) == 1
    assert told.startswith("broker connection cannot be secured: ")
    assert "certificate verify failed" in told


def test_a_broker_under_another_name_gets_nothing(
    spool: Path, secure: tuple[PrivateNode, str], authority: Authority
) -> None:
    put(spool)

    with RelayProcess(spool, secure[1].replace("127.0.0.1", "localhost"), options=_tls(authority)) as relay:
        relay.wait_until_said("broker connection cannot be secured", times=2)

    assert len(waiting(spool)) == 1


def test_a_certificate_of_another_authority_is_told_as_a_failure_of_tls(
    spool: Path, secure: tuple[PrivateNode, str], authority: Authority, tmp_path: Path, require: Callable[[str], str]
) -> None:
    put(spool)
    other = Authority(tmp_path / "other", require("openssl"))
    other.issue(NODE)
    options = [*_tls(other), "--ca", authority.path("ca.pem")]

    with RelayProcess(spool, secure[1], options=options) as relay:
        relay.wait_until_said("broker connection cannot be secured", times=2)

    assert len(waiting(spool)) == 1


def test_a_missing_certificate_is_waited_for(
    spool: Path, secure: tuple[PrivateNode, str], authority: Authority, tmp_path: Path
) -> None:
    node, url = secure
    put(spool)
    options = ["--ca", authority.path("ca.pem")]
    options += ["--certificate", str(tmp_path / "late.pem"), "--key", authority.path(f"{NODE}.key")]
    with ingress(node.url) as tap, RelayProcess(spool, url, options=options) as relay:
        relay.wait_until_said("cannot read password or certificate")

        (tmp_path / "late.pem").write_bytes(Path(authority.path(f"{NODE}.pem")).read_bytes())

        assert len(drained(tap, 1)) == 1
        relay.wait_until_empty()


def _tls(authority: Authority) -> list[str]:
    own = ["--certificate", authority.path(f"{NODE}.pem"), "--key", authority.path(f"{NODE}.key")]
    return ["--ca", authority.path("ca.pem"), *own]
