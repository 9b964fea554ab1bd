"""What the users that we define may do at a real broker, and what they may not."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker, ConnectionClosedByBroker, ProbableAccessDeniedError

from router.broker import topology as names
from router.broker.interface import Message, Settlement
from router.broker.session import Session
from router.broker.topology import Binding, Exchange, Topology
from router.broker.users.drift import Grants
from router.broker.users.permissions import CONNECTIONS, Role, User, definitions
from router.errors import Refused, SettingsError
from tests.lines import Running
from tests.rabbit import RabbitAdmin, SharedBroker, Tap
from tests.waiting import wait_for

PASSWORD = "pass-word"


@dataclass
class Site:
    """A virtual host that is set up for a cluster, and its users."""

    url_of: Callable[[str], str]
    name_of: Callable[[str], str]
    version: tuple[int, ...]

    @contextmanager
    def channel(self, who: str) -> Iterator[Any]:
        """A channel of *who*, with confirms."""
        connection = pika.BlockingConnection(pika.URLParameters(self.url_of(who)))
        channel = connection.channel()
        channel.confirm_delivery()
        yield channel
        if connection.is_open:
            connection.close()


@pytest.fixture
def site(broker: SharedBroker, rabbit_admin: RabbitAdmin, vhost: str) -> Iterator[Site]:
    suffix = vhost.removeprefix("test-")
    roles = {"nsd01": Role.NODE, "nsd02": Role.NODE, "router": Role.ROUTER, "consumer": Role.CONSUMER}
    users = [User(f"{name}-{suffix}", role, PASSWORD) for name, role in (roles | {"operator": Role.OPERATOR}).items()]
    for step in Grants(tuple(users), vhost, "prod").steps({"vhosts": [{"name": vhost}]}):
        rabbit_admin.call("POST", "definitions", body=step)
    scheme, _, rest = broker.vhost_url(vhost).partition("://")
    version = rabbit_admin.call("GET", "overview")["rabbitmq_version"]
    site = Site(
        lambda who: f"{scheme}://{who}-{suffix}:{PASSWORD}@{rest.rpartition('@')[2]}",
        lambda who: f"{who}-{suffix}",
        tuple(int(part) for part in version.split(".")[:2]),
    )
    with Session(site.url_of("operator"), name="clusterbus broker setup") as session:
        session.declare(names.base())
    yield site
    for user in users:
        rabbit_admin.delete_user(user.name)


def key(node: str, cluster: str = "prod") -> str:
    return f"gpfs.{cluster}.mount.{node}"


def properties(user: str | None, **more: Any) -> pika.BasicProperties:
    return pika.BasicProperties(user_id=user, delivery_mode=2, **more)


def test_a_node_publishes_its_own_records(site: Site):
    with site.channel("nsd01") as channel:
        me = site.name_of("nsd01")
        channel.basic_publish(names.INGRESS, key(me), b"{}", properties(me), mandatory=True)


@pytest.mark.parametrize("cluster", ["prod", "test"])
def test_a_node_cannot_use_another_nodes_or_clusters_key(site: Site, cluster: str):
    other = site.name_of("nsd02" if cluster == "prod" else "nsd01")
    with site.channel("nsd01") as channel, pytest.raises(ChannelClosedByBroker) as refused:
        channel.basic_publish(names.INGRESS, key(other, cluster), b"{}", properties(site.name_of("nsd01")))

    assert refused.value.reply_code == 403


def test_a_node_cannot_claim_another_user(site: Site):
    with site.channel("nsd01") as channel, pytest.raises(ChannelClosedByBroker) as refused:
        channel.basic_publish(names.INGRESS, key(site.name_of("nsd01")), b"{}", properties(site.name_of("nsd02")))

    assert refused.value.reply_code == 406


def test_a_foreign_key_in_a_cc_header_is_refused_by_4_and_seen_by_the_router_on_3(site: Site, tap: Tap):
    me, other = site.name_of("nsd01"), site.name_of("nsd02")
    forged = properties(me, headers={"CC": [key(other)]})

    with site.channel("nsd01") as channel:
        if site.version >= (4, 0):
            with pytest.raises(ChannelClosedByBroker) as refused:
                channel.basic_publish(names.INGRESS, key(me), b"{}", forged)
            assert refused.value.reply_code == 403
        else:
            channel.basic_publish(names.INGRESS, key(me), b"{}", forged)
            with Running(site.url_of("router")) as line:
                line.consume(names.INGRESS)
                wait_for(lambda: line.arrivals, 10, "the record")
            assert "CC" in line.arrivals[0].headers
            assert (line.arrivals[0].key, line.arrivals[0].user) == (key(me), me)


@pytest.mark.parametrize(
    "attempt",
    [
        lambda channel: channel.basic_get(names.INGRESS),
        lambda channel: channel.basic_get(names.EVENTS),
        lambda channel: channel.basic_consume(names.INGRESS, lambda *_: None),
        lambda channel: channel.exchange_bind(names.INGRESS, names.EVENTS, "#"),
        lambda channel: next(channel.consume(names.HISTORY)),
        lambda channel: channel.queue_declare("clusterbus.sub.mine", durable=True),
        lambda channel: channel.queue_declare("", exclusive=True),
        lambda channel: channel.exchange_declare("clusterbus.mine", "fanout"),
        lambda channel: channel.exchange_declare(names.INGRESS, "topic", durable=True),
        lambda channel: channel.queue_bind(names.INGRESS, names.EVENTS, "#"),
        lambda channel: channel.queue_unbind(names.INGRESS, names.INGRESS, "#"),
        lambda channel: channel.queue_purge(names.INGRESS),
        lambda channel: channel.queue_delete(names.INGRESS),
        lambda channel: channel.exchange_delete(names.INGRESS),
        lambda channel: channel.basic_publish(names.EVENTS, "a.b.c.d.e.f", b"{}"),
        lambda channel: channel.basic_publish(names.REJECTED, "", b"{}"),
        lambda channel: channel.basic_publish("", names.INGRESS, b"{}"),
    ],
    ids=[
        *(
            "get-ingress",
            "get-events",
            "consume-ingress",
            "bind-exchanges",
            "read-history",
            "declare-queue",
            "own-queue",
            "declare-exchange",
            "redeclare",
        ),
        *("bind", "unbind", "purge", "delete-queue", "delete-exchange", "events", "rejected", "default-exchange"),
    ],
)
@pytest.mark.timeout(60)
def test_a_node_can_do_nothing_else(site: Site, attempt: Callable[[Any], Any]):
    with site.channel("nsd01") as channel, pytest.raises((ChannelClosedByBroker, ConnectionClosedByBroker)) as refused:
        attempt(channel)

    # 404 comes first where there is no queue of that name.
    assert refused.value.reply_code in {403, 404}


def test_a_node_has_a_bounded_number_of_connections(site: Site):
    parameters = pika.URLParameters(site.url_of("nsd01"))
    open_ones = [pika.BlockingConnection(parameters) for _ in range(CONNECTIONS)]
    try:
        with pytest.raises((ProbableAccessDeniedError, ConnectionClosedByBroker)):
            pika.BlockingConnection(parameters)
    finally:
        for each in open_ones:
            each.close()


def test_the_router_reads_records_and_publishes_events_and_rejected_ones_and_no_more(site: Site, tap: Tap):
    me = site.name_of("nsd01")
    with site.channel("nsd01") as channel:
        channel.basic_publish(names.INGRESS, key(me), b"{}", properties(me), mandatory=True)

    with Running(site.url_of("router"), give_up=None) as line:
        line.declare(names.base())
        line.consume(names.INGRESS)
        wait_for(lambda: [arrival.user for arrival in line.arrivals] == [me], 10, "the record")
        line.publish("gpfs.prod.x.mount.-.nsd01", exchange=names.EVENTS)
        line.publish("rejected", exchange=names.REJECTED)
        line.wait_settled(2)
        line.assert_each_settled_once()

    with site.channel("router") as channel, pytest.raises(ChannelClosedByBroker, match="403"):
        channel.basic_get(names.DEAD)
    with site.channel("router") as channel, pytest.raises(ChannelClosedByBroker, match="403"):
        channel.basic_publish(names.RETRY, "1s", b"")
    with site.channel("router") as channel, pytest.raises(ChannelClosedByBroker, match="403"):
        channel.queue_delete(names.INGRESS)


@pytest.mark.timeout(60)
def test_a_consumer_declares_and_changes_its_subscription_retries_and_dead_letters(site: Site, tap: Tap):
    topology = names.base() + names.subscription("audit", ["#"])
    queue = names.queue_of("audit")
    with Running(site.url_of("consumer")) as line:
        line.declare(topology)
        line.declare(
            Topology(bindings=(Binding(names.EVENTS, queue, "gpfs.#"),), stale=(Binding(names.EVENTS, queue, "#"),))
        )
        line.consume(queue)
        line.consume(names.DEAD)
        line.do(lambda: line.rabbit.consume(names.HISTORY, line.arrivals.append, prefetch=10, offset="first"))
        line.publish("retry", exchange=names.RETRY, key="1s", headers={"subscription": "audit"})
        line.publish("replay", exchange=names.RETURN, headers={"subscription": "audit"})
        line.publish("dead", exchange=names.DEAD)
        line.wait_settled(3)
        line.assert_each_settled_once()
        wait_for(lambda: set(line.ids) == {"retry", "replay", "dead"}, 10, "all three came back")

    assert line.failure is None
    assert tap.count(names.UNROUTED) == 0


@pytest.mark.parametrize(
    "attempt",
    [
        lambda channel: channel.basic_publish(names.EVENTS, "a.b.c.d.e.f", b"{}"),
        lambda channel: channel.basic_publish(names.INGRESS, "a.b.c.d", b"{}"),
        lambda channel: channel.basic_get(names.INGRESS),
        lambda channel: channel.queue_purge(names.INGRESS),
        lambda channel: channel.queue_delete(names.DEAD),
        lambda channel: channel.queue_declare("clusterbus.retry.2s", durable=True),
    ],
    ids=["events", "ingress", "get-ingress", "purge-ingress", "delete-dead", "declare-retry-step"],
)
def test_a_consumer_can_speak_for_nobody_and_reads_no_records(site: Site, attempt: Callable[[Any], Any]):
    with site.channel("consumer") as channel, pytest.raises(ChannelClosedByBroker, match="403"):
        attempt(channel)


def test_a_consumer_says_what_its_actions_came_to(site: Site, tap: Tap):
    with Running(site.url_of("consumer")) as line:
        line.publish(
            "clusterbus.prod.action.runFinished.restart-disk.nsd01",
            "clusterbus.prod.action.runFailed.-.-",
            exchange=names.EVENTS,
        )
        line.wait_settled(2)

        # Of this exchange nobody has bound a queue yet, but history has it all.
        line.assert_each_settled_once()


@pytest.mark.parametrize(
    "topic",
    [
        "gpfs.prod.action.runFinished.-.nsd01",
        "qube.prod.action.runFinished.-.nsd01",
        "clusterbus.prod.node.nodeSilent.-.nsd01",
        "clusterbus.prod.health.eventsLost.-.nsd01",
        "clusterbus.action.prod.nodeSilent.-.nsd01",
        "clusterbus.prod.x.action.-.nsd01",
        "clusterbus.prod.actions.runFinished.-.nsd01",
        "xclusterbus.prod.action.runFinished.-.nsd01",
        "a\nclusterbus.prod.action.runFinished.-.nsd01",
        "clusterbus.prod.disk.diskFailure.action.runFinished",
    ],
)
def test_a_consumer_speaks_for_no_source_and_of_nothing_but_actions(site: Site, topic: str):
    with site.channel("consumer") as channel, pytest.raises(ChannelClosedByBroker, match="403"):
        channel.basic_publish(names.EVENTS, topic, b"{}")


def test_the_operator_emits_looks_and_tidies_up(site: Site, tap: Tap):
    with Session(site.url_of("operator"), name="clusterbus") as session:
        records = [Message(names.INGRESS, "gpfs.prod.mount.lab", b"{}", "id")]

        assert session.publish(records) == [Settlement.CONFIRMED]
        with site.channel("operator") as channel:
            assert channel.queue_purge(names.INGRESS).method.message_count == 1
        session.declare(names.subscription("old", ["#"]))
        assert session.delete(names.queue_of("old")) == 0
        with pytest.raises(Refused, match=r"403|ACCESS_REFUSED"):
            session.delete("somebody-elses")


def test_definitions_imported_again_change_nothing_and_a_wrong_password_does_not_fit(
    site: Site, rabbit_admin: RabbitAdmin, vhost: str
):
    user = User(site.name_of("nsd01"), Role.NODE, "another")
    for _ in range(2):
        for step in Grants((user,), vhost).steps(rabbit_admin.call("GET", "definitions")):
            rabbit_admin.call("POST", "definitions", body=step)

    wrong = pika.URLParameters(site.url_of("nsd01"))
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        pika.BlockingConnection(wrong)
    wrong.credentials = pika.PlainCredentials(user.name, "another")
    pika.BlockingConnection(wrong).close()


@pytest.mark.parametrize(
    ("users", "words"),
    [
        ([User("nsd01.example.org", Role.NODE)], "'nsd01.example.org' is not a valid name of a-z 0-9 -"),
        ([User("NSD01", Role.NODE)], "'NSD01' is not a valid name"),
        ([User(".*", Role.NODE)], "is not a valid name"),
        ([User("nsd01\n", Role.NODE)], "is not a valid name"),
        ([User("router", Role.NODE), User("router", Role.ROUTER)], "is named twice"),
    ],
)
def test_names_that_could_be_taken_for_another_are_no_users(users: list[User], words: str):
    with pytest.raises(SettingsError, match=words):
        definitions(users)


def test_a_password_is_in_no_definition_and_no_repr():
    user = User("nsd01", Role.NODE, "s3cret")

    assert "s3cret" not in f"{user!r} {definitions([user])}"


def test_definitions_are_the_same_each_time_and_no_two_users_share_a_salt():
    users = [User("nsd01", Role.NODE, "s3cret"), User("nsd02", Role.NODE, "s3cret")]

    hashes = [each["password_hash"] for each in definitions(users)["users"]]

    assert definitions(users) == definitions(users)
    assert hashes[0][:5] != hashes[1][:5]


@pytest.mark.long
def test_a_program_that_may_not_declare_waits_on_one_connection_until_somebody_has(
    site: Site, rabbit_admin: RabbitAdmin, vhost: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "router")
    # One that the router has a right to: of others RabbitMQ 4.3 does not tell whether they are there.
    rabbit_admin.call("DELETE", "exchanges", vhost, names.REJECTED)
    wanted = Topology(exchanges=(Exchange(names.REJECTED, "fanout"),))
    settled: list[Settlement] = []

    def tried() -> int:
        return sum(each.message == "topology not declared" for each in caplog.records)

    with Running(site.url_of("router"), progress_limit=timedelta(seconds=1)) as running:
        running.rabbit.call(lambda: running.rabbit.declare(wanted))
        # Twice as long as the progress limit at the least: two lines, each pausing 0.15 s in the mean.
        wait_for(lambda: tried() >= 30, 30, "it has tried for a while")
        with Session(site.url_of("operator"), name="clusterbus broker setup") as session:
            session.declare(wanted)
        message = Message(names.EVENTS, "gpfs.prod.mount.mount.fs.nsd01", b"{}", "1")
        running.rabbit.call(lambda: running.rabbit.publish(message, settled.append))
        wait_for(lambda: settled, 30, "it goes on")

    assert settled == [Settlement.CONFIRMED]
    assert "lost the connection to the broker" not in caplog.messages
