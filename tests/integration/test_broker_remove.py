"""`clusterbus broker remove` on a real broker: everything of ours goes, and nothing else."""

import json
import urllib.parse
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pika
import pytest
from typer.testing import CliRunner

from consumers.cli.main import app
from router.broker.interface import Message
from router.broker.service_topology import service, service_exchanges
from router.broker.session import Session
from router.broker.topology import EVENTS, Binding, Queue, Topology, base, subscription
from router.errors import Unreachable
from router.local_broker.private_broker import PrivateBroker
from tests.rabbit import RabbitAdmin
from tests.waiting import wait_for


@dataclass
class Site:
    """A site of clusterbus at a broker of its own, beside a queue, an exchange and a user of others."""

    folder: Path
    url: str
    admin: RabbitAdmin
    before: dict[str, set[str]] = field(default_factory=dict)

    def run(self, *words: str, code: int = 0) -> tuple[list[dict[str, object]], str]:
        done = CliRunner().invoke(
            app,
            ["--log-level", "ERROR", "--settings", str(self.folder / "clusterbus.yaml"), "broker", *words, "--json"],
        )
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, done.output
        return [json.loads(each) for each in done.stdout.splitlines()], done.stderr

    def there(self) -> dict[str, set[str]]:
        found = self.admin.call("GET", "definitions")
        return {kind: {each["name"] for each in found[kind]} for kind in ("users", "queues", "exchanges", "vhosts")}

    def wait(self, queue: str, count: int) -> None:
        def counted() -> bool:
            with Session(self.url, name="test") as session:
                facts = session.queue_facts(queue)
                return facts is not None and facts.messages == count

        wait_for(counted, 30, f"{count} messages in {queue}")


@pytest.fixture
def site(tmp_path: Path, make_broker: Callable[..., PrivateBroker]) -> Site:
    broker = make_broker(plugins=["rabbitmq_management"])
    api = urllib.parse.urlsplit(broker.http_url)
    secret = tmp_path / "administrator"
    secret.write_text(api.password or "guest")
    secret.chmod(0o600)
    settings = {
        "broker": {
            "url": broker.url,
            "secrets": str(tmp_path / "users"),
            "management": f"http://{api.username}@{api.hostname}:{api.port}",
            "management_password_file": str(secret),
        },
        "nodes": {"secrets": str(tmp_path / "nodes"), "relay": {"cluster": "prod", "broker": "amqp://mq1"}},
    }
    (tmp_path / "clusterbus.yaml").write_text(json.dumps(settings))
    site = Site(tmp_path, broker.url, RabbitAdmin(broker.http_url))
    with Session(broker.url, name="test") as session:
        session.declare(Topology(queues=(Queue("tickets", {}),)))
    site.admin.call("PUT", "users", "alice", body={"password": "x", "tags": ""})
    site.before = site.there()
    site.run("users", "nsd[01-02]", "--apply")
    site.run("setup")
    with Session(broker.url, name="test") as session:
        desk = service_exchanges() + service("desk", ["gpfs.#"], 2**30)
        session.declare(base() + subscription("audit", ["#"]) + desk)
    site.admin.call("PUT", "users", "clusterbus-svc-desk", body={"password": "x", "tags": ""})
    (tmp_path / "nodes" / "nsd01" / "node.key").write_text("the site's")
    return site


@pytest.mark.long
@pytest.mark.timeout(240)
def test_everything_of_ours_goes_and_nothing_else(site: Site) -> None:
    with_ours = site.there()

    shown, said = site.run("remove")
    assert "nothing was changed; --apply applies it" in said
    assert site.there() == with_ours
    queues = {each["queue"] for each in shown if "queue" in each}
    assert queues == with_ours["queues"] - site.before["queues"]

    _, said = site.run("remove", "--apply")

    assert site.there() == site.before
    assert not list(site.folder.glob("*/*/password"))
    assert (site.folder / "nodes" / "nsd01" / "node.key").exists()
    assert f"left: {site.folder / 'nodes' / 'nsd01' / 'node.key'}: a secret of the site" in said
    assert "left: the virtual host /: rabbitmqctl delete_vhost /" in said
    assert "left: the database sqlite:///" in said
    site.run("remove", "--apply")  # there is nothing left to do


@pytest.mark.long
@pytest.mark.timeout(240)
def test_messages_that_wait_and_queues_of_others_are_reasons_to_refuse(site: Site) -> None:
    with Session(site.url, name="test") as session:
        session.declare(Topology(bindings=(Binding(EVENTS, "tickets", "#"),)))
        session.publish([Message(EVENTS, "a.b", b"{}", "1", "a", "application/json")])
    site.wait("clusterbus.sub.audit", 1)
    with_ours = site.there()

    _, said = site.run("remove", "--apply", code=1)

    assert "clusterbus.sub.audit: 1 message waiting" in said
    assert "tickets: a queue or exchange of another service gets events until now" in said
    assert "clusterbus.history" not in said
    assert site.there() == with_ours

    site.run("remove", "--apply", "--force")
    assert site.there() == site.before
    site.wait("tickets", 1)


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_removal_that_was_interrupted_goes_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: object) -> None:
        raise Unreachable("lost")

    with monkeypatch.context() as patch:
        patch.setattr(Session, "delete_exchange", lost)
        with pytest.raises(Unreachable):
            site.run("remove", "--apply")
    assert "clusterbus-operator" in site.there()["users"]

    site.run("remove", "--apply")

    assert site.there() == site.before


@pytest.mark.long
@pytest.mark.timeout(240)
def test_users_with_rights_elsewhere_or_of_another_cluster_stay_and_are_named(site: Site) -> None:
    site.admin.add_vhost("other")
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    site.admin.call("PUT", "permissions", "other", "clusterbus-consumer", body=everything)
    site.run("users", "cl01", "--cluster", "test", "--apply")

    shown, _ = site.run("remove", "--apply")

    assert site.there()["users"] - site.before["users"] == {"clusterbus-consumer", "cl01"}
    assert [each["what"] for each in shown if each["does"] == "keep"] == [
        "clusterbus-consumer: it also has rights in the virtual host other",
        "cl01: it is a node of another cluster",
    ]


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_message_that_a_program_holds_is_not_lost(site: Site) -> None:
    secret = (site.folder / "users" / "clusterbus-consumer" / "password").read_text().strip()
    place = urllib.parse.urlsplit(site.url)
    url = place._replace(netloc=f"clusterbus-consumer:{secret}@{place.hostname}:{place.port}").geturl()
    with Session(site.url, name="test") as session:
        session.publish([Message(EVENTS, "a.b", b"{}", "1", "a", "application/json")])
    site.wait("clusterbus.sub.audit", 1)
    program = pika.BlockingConnection(pika.URLParameters(url))
    channel = program.channel()
    assert channel.basic_get("clusterbus.sub.audit")[0]
    site.wait("clusterbus.sub.audit", 0)

    _, said = site.run("remove", "--apply", code=1)

    assert "clusterbus.sub.audit: 1 messages came back from programs that were connected" in said
    assert "clusterbus.sub.audit" in site.there()["queues"]
    with suppress(pika.exceptions.AMQPError):
        program.close()
    site.run("remove", "--apply", "--force")
    assert site.there() == site.before
