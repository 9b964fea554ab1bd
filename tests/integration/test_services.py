"""`clusterbus services` at a real broker: what it makes, what it changes, and what it leaves alone."""

import json
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any, Self

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker, ConnectionClosedByBroker, ProbableAuthenticationError
from typer.testing import CliRunner

from consumers.inspection.doctor.service_queues import elsewhere
from router.broker.declaration_steps import steps
from router.broker.service_topology import missed_queue, service_queue
from router.broker.topology import EVENTS, Exchange, Queue, Topology
from router.cli.services import service_commands, site
from router.errors import Refused, SettingsError
from router.settings.loading import load
from tests.consuming import make_event, publish
from tests.service_site import ServiceSite, app

TICKETS = {"name": "tickets", "on": ["disk", "softQuotaExceeded"], "owner": "tickets-team@example.com"}


def does(lines: list[dict[str, Any]]) -> dict[str, str]:
    return {each["service"]: each["does"] for each in lines}


def test_a_service_is_planned_and_made_once(service_site: ServiceSite):
    service_site.define(TICKETS)
    planned = service_site.run("plan")
    assert not service_site.tap.exists(service_queue("tickets"))

    service_site.run("apply")

    assert does(planned) == {"tickets": "add"}
    assert does(service_site.run("status")) == {"tickets": "keep"}
    before = service_site.definitions()
    service_site.run("apply")
    assert service_site.definitions() == before


def test_a_service_reads_its_events_with_the_user_that_it_is_given(service_site: ServiceSite):
    service_site.define(TICKETS)
    service_site.run("apply")
    event = make_event(type="gpfs.diskFailure", category="disk")
    publish(service_site.url, [event, make_event(type="gpfs.nodeLeave", category="node")])

    with service_site.channel("tickets") as channel:
        method, properties, body = channel.basic_get(service_queue("tickets"))
        channel.basic_ack(method.delivery_tag)
        assert channel.basic_get(service_queue("tickets"))[0] is None

    assert (properties.message_id, json.loads(body)["type"]) == (event.id, "gpfs.diskFailure")


def test_the_queues_have_the_arguments_that_are_promised(service_site: ServiceSite):
    service_site.define({**TICKETS, "max_bytes": "64MiB"})
    service_site.run("apply")

    queues = service_site.admin.call("GET", "queues", service_site.vhost)
    found = {each["name"]: each["arguments"] for each in queues if each["name"].startswith("clusterbus.svc.")}

    drops = {"x-queue-type": "quorum", "x-overflow": "drop-head"}
    assert found == {
        "clusterbus.svc.tickets": {
            **drops,
            "x-delivery-limit": 20,
            "x-max-length-bytes": 64 * 2**20,
            "x-dead-letter-exchange": "clusterbus.services.dead",
        },
        "clusterbus.svc.tickets.dead": {**drops, "x-delivery-limit": 1_000_000, "x-max-length-bytes": 16 * 2**20},
        "clusterbus.svc.tickets.missed": {
            **drops,
            "x-delivery-limit": 1_000_000,
            "x-max-length-bytes": 64 * 2**20,
            "x-dead-letter-exchange": "clusterbus.services.lost",
            "x-dead-letter-routing-key": "clusterbus.svc.tickets.lost",
        },
        "clusterbus.svc.tickets.lost": {
            **drops,
            "x-delivery-limit": 1_000_000,
            "x-max-length": 1,
            "x-max-length-bytes": 16 * 2**20,
        },
    }


def test_other_events_of_a_service_are_bound_before_the_old_ones_are_unbound(service_site: ServiceSite):
    service_site.define({"name": "tickets", "on": ["disk", "quota"]})
    service_site.run("apply")
    service_site.define({"name": "tickets", "on": ["disk", "node"]})

    (step,) = service_site.run("apply")

    assert (step["does"], step["what"]) == ("change", ["1 binding to add", "1 binding to remove"])
    bindings = service_site.admin.call("GET", "bindings", service_site.vhost)
    keys = {each["routing_key"] for each in bindings if each["source"] == EVENTS and "svc" in each["destination"]}
    assert keys == {"gpfs.*.disk.*.*.*", "gpfs.*.node.*.*.*"}


def test_what_somebody_else_bound_to_a_queue_of_a_service_is_removed(service_site: ServiceSite):
    service_site.define({"name": "tickets", "on": "disk"})
    service_site.run("apply")
    service_site.tap.channel.queue_bind(service_queue("tickets"), EVENTS, "#")

    assert service_site.run("status", code=1)[0]["what"] == ["1 binding to remove"]
    service_site.run("apply")

    assert does(service_site.run("status")) == {"tickets": "keep"}


def test_a_severity_and_clusters_are_bindings(service_site: ServiceSite):
    service_site.define({"name": "pager", "on": "#", "severity": "error", "clusters": ["prod"]})
    service_site.run("apply")
    wanted = [
        make_event(type="gpfs.diskFailure", category="disk", severity="error"),
        make_event(type="gpfs.quorumLoss", category="node", severity="critical"),
    ]
    others = [
        make_event(type="gpfs.mount", category="mount", severity="info"),
        make_event(type="gpfs.diskFailure", category="disk", severity="error", cluster="test"),
    ]
    publish(service_site.url, [*others, *wanted])

    got = [each.properties.message_id for each in service_site.tap.drain(service_queue("pager"))]

    assert [each.id for each in wanted if each.id in got] == got
    assert len(got) == 2


def test_a_queue_whose_arguments_would_have_to_change_is_refused(service_site: ServiceSite):
    service_site.define(TICKETS)
    service_site.run("apply")
    service_site.define({**TICKETS, "max_bytes": "64MiB"}, {"name": "other", "on": "quota"})

    assert does(service_site.run("status", code=1)) == {"tickets": "refuse", "other": "add"}
    with pytest.raises(Refused, match=r"tickets: x-max-length-bytes of clusterbus\.svc\.tickets"):
        service_site.run("apply")

    assert not service_site.tap.exists(service_queue("other"))


def test_a_user_of_somebody_else_is_refused_before_anything_is_made(service_site: ServiceSite):
    service_site.define(TICKETS)
    user = service_site.user("tickets")
    service_site.admin.call("PUT", "users", user, body={"password": "theirs", "tags": "administrator"})

    assert does(service_site.run("plan")) == {"tickets": "refuse"}
    with pytest.raises(Refused, match=f"tickets: {user} exists with the tags administrator"):
        service_site.run("apply")

    assert not service_site.tap.exists(service_queue("tickets"))


def test_a_topic_permission_that_only_a_command_removes_is_told_with_it(service_site: ServiceSite):
    service_site.define(TICKETS)
    service_site.run("apply")
    user, vhost = service_site.user("tickets"), service_site.vhost
    row = {"exchange": "amq.topic", "write": ".*", "read": ".*"}
    service_site.admin.call("PUT", "topic-permissions", vhost, user, body=row)

    with pytest.raises(Refused, match=f"run rabbitmqctl clear_topic_permissions -p {vhost} {user} amq.topic$"):
        service_site.run("apply")

    service_site.admin.call("DELETE", "topic-permissions", vhost, user)
    service_site.run("apply")
    assert does(service_site.run("status")) == {"tickets": "keep"}


def test_rights_in_other_virtual_hosts_are_said_and_left_alone(service_site: ServiceSite):
    service_site.define({"name": "tickets", "on": "disk"})
    service_site.run("apply")
    user, other = service_site.user("tickets"), f"{service_site.vhost}-other"
    service_site.admin.call("PUT", "vhosts", other)
    try:
        rights = {"configure": "^$", "write": "^$", "read": "^orders$"}
        service_site.admin.call("PUT", "permissions", other, user, body=rights)

        (status,) = service_site.run("status")
        found = list(elsewhere(load(service_site.settings, environment={}).settings.broker, {"tickets": None}))
    finally:
        service_site.admin.call("DELETE", "vhosts", other)

    sentence = f"{user} also has rights in the virtual host {other}; to remove them, run rabbitmqctl clear_permissions"
    assert (status["does"], [each.startswith(sentence) for each in status["elsewhere"]]) == ("keep", [True])
    assert [(each.verdict, each.seen, each.advice.startswith("to remove them, run")) for each in found] == [
        ("warning", sentence.partition(";")[0], True)
    ]


def test_a_new_password_lets_connections_stay_and_refuses_the_old_one(service_site: ServiceSite):
    service_site.define(TICKETS)
    service_site.run("apply")
    old = service_site.url_of("tickets")
    with service_site.channel("tickets") as channel:
        service_site.run("rotate", "tickets", "--apply")
        assert channel.basic_get(service_queue("tickets"))[0] is None

    with service_site.channel("tickets") as channel:
        assert channel.basic_get(service_queue("tickets"))[0] is None
    with pytest.raises(ProbableAuthenticationError):
        pika.BlockingConnection(pika.URLParameters(old))


def test_a_paused_service_reads_nothing_and_its_events_wait(service_site: ServiceSite):
    service_site.define({"name": "tickets", "on": "disk"})
    service_site.run("apply")
    with service_site.channel("tickets") as channel:
        channel.basic_consume(service_queue("tickets"), lambda *_: None)
        service_site.run("pause", "tickets", "--apply")
        with pytest.raises(ConnectionClosedByBroker):
            channel.connection.process_data_events(30)
    publish(service_site.url, [make_event(type="gpfs.diskFailure", category="disk")])

    service_site.run("apply")  # leaves it paused
    (shown,) = service_site.run("list")
    with service_site.channel("tickets") as channel, pytest.raises(ChannelClosedByBroker):
        channel.basic_get(service_queue("tickets"))

    assert (shown["state"], shown["waiting"]) == ("paused", 1)
    service_site.run("resume", "tickets", "--apply")
    with service_site.channel("tickets") as channel:
        assert channel.basic_get(service_queue("tickets"))[0] is not None


def test_a_service_with_a_backlog_is_removed_only_by_force(service_site: ServiceSite):
    service_site.run("add", "tickets", "--on", "disk", "--apply")
    publish(service_site.url, [make_event(type="gpfs.diskFailure", category="disk")])
    service_site.run("remove", "tickets")
    with pytest.raises(Refused, match="tickets: 1 event waiting; --force deletes them"):
        service_site.run("remove", "tickets", "--apply")
    assert service_site.run("status")[0]["does"] == "keep"

    service_site.run("remove", "tickets", "--apply", "--force")

    assert service_site.run("list") == []
    assert not any(map(service_site.tap.exists, [f"clusterbus.svc.tickets{each}" for each in ("", ".dead", ".missed")]))
    assert not (service_site.folder / "secrets" / service_site.user("tickets")).exists()
    assert not (service_site.folder / "services" / "tickets.yaml").exists()


def test_a_service_that_no_file_has_is_shown_and_left_alone(service_site: ServiceSite):
    service_site.define(TICKETS, {"name": "other", "on": "quota"})
    service_site.run("apply")
    service_site.define({"name": "other", "on": "quota"})

    assert does(service_site.run("apply")) == {"other": "keep", "tickets": "remove"}
    assert [each["state"] for each in service_site.run("list")] == ["ok", "removed"]
    assert service_site.tap.exists(service_queue("tickets"))
    service_site.run("remove", "tickets", "--apply")
    assert does(service_site.run("status")) == {"other": "keep"}


def test_only_what_apply_would_do_is_said_to_be_applied_by_it(service_site: ServiceSite):
    def said(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["--settings", str(service_site.settings), "services", *words])
        return result.exit_code, result.output

    service_site.define(TICKETS)
    assert "`clusterbus services apply` changes it" in said("status")[1]
    service_site.run("apply")
    service_site.define()

    code, output = said("status")
    assert (code, output) == (1, "remove  tickets  (in no file: clusterbus services remove tickets)\n")
    assert said("missed", "tikets") == (2, "there is no service tikets\n")


def test_show_tells_what_a_program_needs_and_no_password(service_site: ServiceSite):
    service_site.run("add", "tickets", "--on", "disk", "--history", "--owner", "team@example.com", "--apply")

    text = service_site.text("show", "tickets")
    (found,) = service_site.run("show", "tickets")

    assert (found["queue"], found["user"]) == ("clusterbus.svc.tickets", service_site.user("tickets"))
    assert found["url"][0].startswith(f"amqp://{service_site.user('tickets')}@")
    assert service_site.password("tickets") not in text
    assert found["history"] == "clusterbus.history"


def test_add_refuses_what_a_file_may_not_hold_and_writes_nothing(service_site: ServiceSite):
    with pytest.raises(SettingsError) as refused:
        service_site.run("add", "Tickets", "--on", "diskFailur", "--severity", "bad", "--max-bytes", "1KiB")

    said = str(refused.value)
    assert "name: 'Tickets' is not a name" in said
    assert "on.1: no event type" in said
    assert "max_bytes: must be greater than or equal to 4194304" in said
    assert not (service_site.folder / "services").exists()


class _Killed(Exception):
    pass


class _Fragile:
    """An administrator and a session, which end the program after *left* changes at the broker."""

    def __init__(self, left: int) -> None:
        self._left = left
        self.administrator: Any = None
        self.session: Any = None

    def __enter__(self) -> Self:
        self.session.__enter__()
        return self

    def __exit__(self, *problem: object) -> None:
        self.session.__exit__(*problem)

    def _step(self) -> None:
        if self._left == 0:
            raise _Killed
        self._left -= 1

    def definitions(self) -> Any:
        return self.administrator.definitions()

    def state(self, vhost: str) -> Any:
        return self.administrator.state(vhost)

    def add(self, wanted: Any) -> None:
        self._step()
        self.administrator.add(wanted)

    def remove(self, users: Any) -> None:
        self._step()
        self.administrator.remove(users)

    def declare(self, topology: Topology) -> set[str]:
        # Object by object, in the order in which the session declares them.
        for step in steps(topology):
            self._step()
            kind = "stale" if step.gone else {Exchange: "exchanges", Queue: "queues"}.get(type(step.thing), "bindings")
            self.session.declare(Topology(**{kind: (step.thing,)}))
        return set()

    def queue_facts(self, queue: str) -> Any:
        return self.session.queue_facts(queue)

    def delete(self, queue: str) -> Any:
        self._step()
        return self.session.delete(queue)


@pytest.fixture
def killed_everywhere(service_site: ServiceSite, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """A function that runs a command until it ends, each time killed one change later; it returns how many kills."""
    administrator, open_session = site.administrator, service_commands.open_session

    def run(*words: str) -> int:
        for kills in count():
            fragile = _Fragile(kills)
            monkeypatch.setattr(site, "administrator", partial(_with, fragile, "administrator", administrator))
            monkeypatch.setattr(service_commands, "open_session", partial(_with, fragile, "session", open_session))
            try:
                service_site.run(*words)
            except _Killed:
                continue
            return kills
        raise AssertionError

    return run


def _with(fragile: _Fragile, name: str, make: Callable[..., Any], *given: Any) -> _Fragile:
    setattr(fragile, name, make(*given))
    return fragile


def test_apply_may_be_killed_at_every_change(service_site: ServiceSite, killed_everywhere: Callable[..., int]):
    service_site.define({"name": "tickets", "on": ["disk", "quota"]})

    kills = killed_everywhere("apply")

    assert kills > 12
    assert does(service_site.run("status")) == {"tickets": "keep"}
    with service_site.channel("tickets") as channel:
        assert channel.basic_get(service_queue("tickets"))[0] is None


def test_remove_may_be_killed_at_every_change(service_site: ServiceSite, killed_everywhere: Callable[..., int]):
    service_site.run("add", "tickets", "--on", "disk", "--apply")

    kills = killed_everywhere("remove", "tickets", "--apply")

    assert kills > 4
    assert service_site.run("list") == []
    assert not service_site.tap.exists(missed_queue("tickets"))
