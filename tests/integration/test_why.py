"""What operators ask and do, on a real broker: why, dead edit, subscriptions list and remove."""

from datetime import UTC, datetime, timedelta

import pytest

from consumers.dead_letters.kept_letters import find
from consumers.policies.retry import RetryPolicy
from consumers.store.alerts import receiver_health
from consumers.store.alerts.receiver_health import Attempt
from router.broker.topology import DEAD, queue_of
from router.model.ids import moment_of
from tests.consuming import Consumer, make_event, make_subscription, publish, python
from tests.operating import invoke, json_lines
from tests.waiting import wait_for

FILE = """\
version: 1
subscriptions:
  - name: act
    on: quota
    run: {command: [/bin/true]}
  - name: disks
    on: disk
    log: {}
  - name: other
    on: quota
    where: data.fsName == "gpfs2"
    log: {}
"""
ONLY_GPFS2 = "import os,sys; sys.exit(0 if os.environ['CLUSTERBUS_VAR_fsName'] == 'gpfs2' else 3)"


@pytest.fixture
def consumer(vhost_url, tmp_path):
    """A consumer whose subscription `act` succeeds for the file system gpfs2 alone; nothing is audited."""
    act = make_subscription("act", python(ONLY_GPFS2), retry=RetryPolicy(attempts=1))
    with Consumer(vhost_url, tmp_path, [act]) as consumer:
        yield consumer.wait_ready()


@pytest.fixture
def command(vhost_url, tmp_path):
    """A function that runs a command; returns exit code and output."""
    file = tmp_path / "subscriptions.yaml"
    file.write_text(FILE)
    settings = {
        "CLUSTERBUS_BROKER": vhost_url,
        "CLUSTERBUS_CONSUMERS_STORE": f"sqlite:///{tmp_path / 'store.db'}",
        "CLUSTERBUS_CONSUMERS_SUBSCRIPTIONS": str(file),
    }

    return lambda *words, **more: invoke(settings | more, *words)


def test_why_finds_the_event_in_history_where_the_store_has_it_not(consumer, command, vhost_url):
    event = make_event(fsName="gpfs2")
    publish(vhost_url, [*(make_event(fsName="gpfs2") for _ in range(20)), event, make_event(fsName="gpfs2")])
    consumer.wait_outcomes(22, outcome="done")

    code, output = command("why", event.id, "--json")

    assert code == 0, output
    found = {each["subscription"]: each for each in json_lines(output) if "subscription" in each}
    assert {name: each["state"] for name, each in found.items()} == {
        "act": "done",
        "disks": "pattern",
        "other": "unrecorded",
    }
    assert found["act"]["event"] == event.type


def test_an_edited_letter_is_replayed_with_its_id_and_what_was_changed_is_kept(consumer, command, vhost_url):
    event = make_event(fsName="gpfs1")
    publish(vhost_url, [event])
    (letter,) = wait_for(lambda: find(consumer.store), 20, "the letter")

    code, output = command("dead", "edit", letter.id, "--set", "data.fsName=gpfs2")
    consumer.wait_outcomes(2)
    _, told = command("why", event.id, "--json")

    assert code == 0, output
    assert 'data.fsName: "gpfs1" → "gpfs2"' in output
    act = next(each for each in json_lines(told) if each.get("subscription") == "act")
    assert [(each["outcome"], bool(each["replay"])) for each in act["attempts"]] == [("dead", False), ("done", True)]
    assert act["letters"][0]["state"] == "replayed"
    (shown,) = json_lines(command("dead", "show", letter.id, "--json")[1])
    assert shown["edits"][0]["changes"] == [{"name": "data.fsName", "from": "gpfs1", "to": "gpfs2"}]


def test_letters_of_one_failure_are_replayed_at_a_rate(consumer, command, vhost_url):
    publish(vhost_url, [make_event(fsName=f"gpfs{number}") for number in range(5, 11)])
    letters = wait_for(lambda: found if len(found := find(consumer.store)) == 6 else None, 20, "six letters")
    (group,) = json_lines(command("dead", "list", "--group", "--json")[1])

    code, output = command("dead", "replay", "--failure", group["failure"], "--rate", "20/s", "--json")

    assert (code, group["count"]) == (0, 6), output
    assert {each["id"] for each in json_lines(output)} == {each.id for each in letters}
    consumer.wait_outcomes(12)


def test_a_removed_subscription_leaves_its_messages_as_dead_letters_and_no_queue(
    consumer, command, vhost_url, tap, tmp_path
):
    wait_for(lambda: tap.count(queue_of("act")) == 0, 10, "the queue")
    consumer.kill()
    events = [make_event() for _ in range(3)]
    publish(vhost_url, events)
    file = FILE.replace("name: act", "name: another")

    assert command("subscriptions", "remove", "act")[0] == 2, "it is in the files"
    code, listed = command("subscriptions", "list", "--json")
    assert code == 0
    found = {each["name"]: each for each in json_lines(listed)}
    assert {name: each["waiting"] for name, each in found.items()} == {"act": 3, "disks": None, "other": None}
    assert datetime.fromisoformat(found["act"]["oldest"]) == moment_of(events[0].id)
    assert not found["act"]["is_older"]

    (tmp_path / "subscriptions.yaml").write_text(file)
    (gone,) = [each for each in json_lines(command("subscriptions", "list", "--json")[1]) if each["mode"] == "removed"]
    assert (gone["name"], gone["waiting"], gone["consumers"]) == ("act", 3, 0)
    code, output = command("subscriptions", "remove", "act")
    assert (code, "--force" in output) == (1, True)
    assert tap.count(queue_of("act")) == 3
    with consumer.store.writing() as transaction:
        sent = [
            Attempt(each, "send", "https://am", timedelta(minutes=1), datetime.now(UTC)) for each in ("act", "other")
        ]
        receiver_health.record(transaction, sent)

    code, output = command("subscriptions", "remove", "act", "--force")

    assert code == 0, output
    with consumer.store.reading() as transaction:
        assert [each.subscription for each in receiver_health.find(transaction, 9)] == ["other"]
    assert "new dead letters: 3" in output
    letters = tap.drain(DEAD)
    assert {each.properties.message_id for each in letters} == {each.id for each in events}
    assert {each.headers["subscription"] for each in letters} == {"act"}
    code, output = command("subscriptions", "remove", "act")
    assert (code, "no queue of a subscription" in output) == (1, True)


def test_a_subscription_that_is_served_is_not_removed(consumer, command, tmp_path):
    (tmp_path / "subscriptions.yaml").write_text(FILE.replace("name: act", "name: another"))

    code, output = command("subscriptions", "remove", "act", "--force")

    assert (code, "has 1 consumer: reload" in output) == (1, True)


def test_without_a_broker_subscriptions_are_listed_all_the_same(command):
    code, output = command("subscriptions", "list", CLUSTERBUS_BROKER="amqp://guest:guest@127.0.0.1:1/%2F")

    assert code == 0
    assert "the number of waiting messages is unknown" in output
    assert "disks" in output
