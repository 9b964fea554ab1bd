"""What the doctor says of a spool, of what the broker knows, of a state and a store that are not there."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from consumers.inspection.doctor.check_results import Finding
from consumers.inspection.doctor.databases import state, store, store_size
from consumers.inspection.doctor.machine import node
from consumers.inspection.doctor.queue_progress import standing
from consumers.inspection.doctor.queues import alerts, broker, ready, subscriptions
from consumers.store.alerts import receiver_health
from consumers.store.alerts.receiver_health import Attempt
from consumers.store.database import Store
from consumers.store.retention import deleted_records
from router.broker.amqp.requests import Facts
from router.broker.history.queue_ages import Age
from router.broker.topology import ALERTS, DEAD, INGRESS, INGRESS_QUEUES, QUARANTINE, base, queue_of
from router.broker.users.broker_state import BrokerState, QueueDetails
from router.model.catalogue import Catalogues
from router.model.ids import new_id
from router.pipeline.mapping import own_event
from router.pipeline.state import Changes, State
from router.settings.models import ConsumersSettings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A spool as the relay has it."""
    place = tmp_path / "spool"
    for name in ("tmp", "new", "bad", "kept"):
        (place / name).mkdir(parents=True)
    place.chmod(0o2770)
    return place


def spool(folder: Path, run: Path) -> Iterator[Finding]:
    return node.spool(folder, node.look(folder, run))


def relay(folder: Path) -> Iterator[Finding]:
    return node.relay(node.look(folder, folder / "run"))


def verdicts(findings) -> list[tuple[str, str]]:
    return [(each.part, each.verdict) for each in findings]


def test_an_empty_spool_is_good(folder: Path) -> None:
    assert verdicts(spool(folder, folder / "run")) == [("spool", "ok")]


def test_a_spool_that_is_missing_or_half_there_says_what_to_do(tmp_path: Path, folder: Path) -> None:
    (folder / "kept").rmdir()

    for place in (tmp_path / "none", folder):
        (finding,) = spool(place, place / "run")
        assert finding.verdict == "error"
        assert finding.advice


def test_records_that_wait_too_long_bad_files_and_losses_are_found(folder: Path) -> None:
    (folder / "new" / f"{1_000_000_000:019d}.01KAG2V0M3Y8ZT6Q4XJ5W9E7RB.json").touch()
    (folder / "bad" / "x").touch()
    (folder / "bad" / "x.reason").touch()
    (folder / "lost").write_bytes(b".ffd")

    waiting, bad, lost = spool(folder, folder / "run")

    assert (waiting.verdict, bad.verdict, lost.verdict) == ("error", "warning", "warning")
    assert "1 record waiting" in waiting.seen
    assert "1 file" in bad.seen
    assert "3 callbacks" in lost.seen


def test_a_spool_that_anybody_may_write_is_wrong(folder: Path) -> None:
    folder.chmod(0o2777)

    assert ("spool", "error") in verdicts(spool(folder, folder / "run"))


@contextmanager
def running_relay(folder: Path, **says: Any) -> Iterator[None]:
    """A relay that holds its lock, and *says* something of its connection."""
    facts = {"broker": "", "problem": "", "since": 0, "until": int(time.time()) + 600} | says
    (folder / "connection").write_text(json.dumps(facts))
    held = os.open(folder, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(held)


def test_a_relay_is_known_by_its_lock(folder: Path) -> None:
    assert verdicts(relay(folder)) == [("relay", "error")]

    with running_relay(folder):
        assert verdicts(relay(folder)) == [("relay", "ok")]


@pytest.mark.parametrize(
    ("says", "verdict", "seen"),
    [
        ({"broker": "amqps://mq1"}, "ok", "running, connected to amqps://mq1"),
        (
            {"broker": "amqps://mq1", "problem": "login refused"},
            "error",
            "running, but it does not send to amqps://mq1 for ",
        ),
        ({"broker": "amqps://mq1", "until": 60}, "error", "has said nothing of its connection lately"),
        ({"since": "x"}, "warning", "it does not say whether it is connected"),
        ({"since": 10**15}, "ok", "running, idle"),
    ],
)
def test_a_relay_that_runs_is_good_only_if_it_sends(folder: Path, says, verdict, seen) -> None:
    with running_relay(folder, **says):
        (found,) = relay(folder)

    assert found.verdict == verdict
    assert seen in found.seen


def test_a_spool_over_its_limit_is_named_until_it_is_empty(folder: Path) -> None:
    record = folder / "new" / f"{time.time_ns():019d}.01KAG2V0M3Y8ZT6Q4XJ5W9E7RB.json"
    record.touch()
    (folder / "full").touch()

    _, full = spool(folder, folder / "run")
    record.unlink()

    assert full.verdict == "error"
    assert full.seen.endswith("ago; now it holds 1 record of 0 MiB")
    assert verdicts(spool(folder, folder / "run")) == [("spool", "ok")]


def test_callbacks_that_were_lost_past_the_spool_are_counted(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (folder / "lost").write_bytes(b".f")
    (run / "lost").write_bytes(b"ee")
    (run / "unsaved").write_bytes(b"x" * 90)

    waiting, lost, unsaved = spool(folder, run)

    assert (waiting.verdict, lost.verdict, unsaved.verdict) == ("ok", "warning", "error")
    assert lost.seen.startswith("3 callbacks")
    assert "spool full: 1, other errors: 2" in lost.seen
    assert "90 bytes of them are in /run/clusterbus/unsaved" in unsaved.seen


def known(**different: Facts | None) -> dict[str, Facts | None]:
    facts: dict[str, Facts | None] = {queue.name: Facts(0, 1) for queue in base().queues}
    return facts | {name.replace("_", "."): value for name, value in different.items()}


def test_a_topology_with_a_router_is_good() -> None:
    assert verdicts(broker(known())) == [("broker", "ok"), ("router", "ok")]


def test_missing_queues_a_missing_router_and_letters_nobody_takes_are_found() -> None:
    facts = known()
    facts["clusterbus.history"] = None
    facts[INGRESS] = Facts(7, 0)
    facts[DEAD] = Facts(2, 0)

    found = list(broker(facts))

    assert verdicts(found) == [("broker", "error"), ("router", "error"), ("letters", "warning")]
    assert found[1].seen == f"no router reads {INGRESS}; records waiting: 7"


def test_a_router_that_reads_only_some_of_its_queues_and_nodes_that_flood_are_found() -> None:
    facts = known()
    facts[QUARANTINE] = Facts(40, 0)

    found = list(broker(facts))

    assert verdicts(found) == [("broker", "ok"), ("router", "error"), ("nodes", "warning")]
    assert f"no router reads {QUARANTINE}; records waiting: 40" in found[1].seen
    assert found[2].seen.endswith(": 40")


def test_no_router_at_all_is_one_finding() -> None:
    facts = known() | {name: Facts(2, 0) for name in INGRESS_QUEUES}

    found = list(broker(facts))

    assert found[1].advice == "start clusterbus router"
    assert "; records waiting: 20" in found[1].seen


def test_queues_that_our_user_may_not_ask_for_are_not_missing() -> None:
    facts = {INGRESS: Facts(0, 1)}

    seen, router = broker(facts)
    (served,) = subscriptions(facts, ["audit"])

    assert (seen.verdict, router.verdict, served.verdict) == ("ok", "ok", "warning")
    assert "as far as this user may read it" in seen.seen


def test_each_subscription_is_said_to_be_served_or_not() -> None:
    facts = {
        queue_of("a"): Facts(3, 1),
        queue_of("b"): Facts(3, 0),
        queue_of("c"): None,
        queue_of("d"): Facts(10_001, 1),
    }

    found = list(subscriptions(facts, ["a", "b", "c", "d"]))

    assert verdicts(found) == [("a", "ok"), ("b", "error"), ("c", "error"), ("d", "warning")]
    assert found[3].seen == "served, but 10,001 deliveries wait, the age of the oldest is unknown"


class Looks:
    """A session that sees each queue with the next of its *counts*, and the last one from then on."""

    def __init__(self, **counts: list[int]) -> None:
        self._counts = counts

    def queue_facts(self, queue: str) -> Facts:
        counts = self._counts[queue]
        return Facts(counts.pop(0) if len(counts) > 1 else counts[0], 1)


def test_a_queue_stands_still_only_if_it_never_gets_shorter():
    session = Looks(stuck=[7], growing=[8, 9, 9], busy=[8, 9, 6, 7], empty=[0])

    found = standing(session, {"stuck": 7, "growing": 7, "busy": 7, "empty": 0}, lambda _: None)

    assert found == {"stuck", "growing"}


def test_readers_that_take_nothing_are_not_called_good() -> None:
    names = (INGRESS, DEAD, ALERTS)
    facts = known() | {name: Facts(7, 1) for name in names}
    hours_ago = datetime.now(UTC) - timedelta(hours=12)

    found = [*broker(facts, names, lambda: hours_ago), *alerts(facts, names)]

    assert ready(facts).items() >= dict.fromkeys(names, 7).items()
    assert verdicts(found) == [
        ("broker", "ok"),
        ("router", "warning"),
        ("letters", "warning"),
        ("subscriptions", "warning"),
    ]
    assert f"; in {INGRESS}, what waits has not become less within 3 s; the newest" in found[1].seen
    assert found[1].seen.endswith(", 12h ago")
    assert all(each.advice for each in found[1:])


@pytest.mark.parametrize(("age", "verdict"), [(timedelta(hours=1), "warning"), (timedelta(), "ok")])
def test_a_router_that_holds_records_and_writes_none_for_long_is_not_called_good(age, verdict) -> None:
    details = QueueDetails(INGRESS, "quorum", ready=0, unacknowledged=5, consumers=1, replicas=1, online=1)
    state = BrokerState((), (details,), ())

    found = list(broker(known(), last_taken=lambda: datetime.now(UTC) - age, state=state))

    assert verdicts(found) == [("broker", "ok"), ("router", verdict)]


def test_a_delivery_that_a_consumer_leaves_for_long_is_a_warning() -> None:
    facts = {queue_of("late"): Facts(1, 1), queue_of("new"): Facts(1, 1)}
    now = datetime.now(UTC)
    ages = {queue_of("late"): Age(now - timedelta(minutes=20)), queue_of("new"): Age(now)}

    found = list(subscriptions(facts, ["late", "new"], ages=ages))

    assert verdicts(found) == [("late", "warning"), ("new", "ok")]
    assert found[0].seen == "served, but 1 delivery waits, the oldest is 20m old"


def test_a_database_that_is_not_there_is_said_so_and_not_made(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/none.db"

    assert verdicts(state(url)) == [("router", "warning")]
    assert verdicts(store(url)) == [("store", "warning")]
    assert not (tmp_path / "none.db").exists()


def test_events_of_the_router_itself_that_nobody_publishes_are_an_error(database):
    url, now = database("router"), datetime.now(UTC)
    old = now - timedelta(hours=2)
    early, late = (
        own_event("nodeBack", {"node": "n1"}, Catalogues.shipped(), cluster="c", node="n1", id_=new_id(), moment=moment)
        for moment in (old, now)
    )

    def found_after(changes):
        with State(url) as opened, opened.transaction() as transaction:
            transaction.write(changes, now)
        return list(state(url))

    _, unpublished = found_after(Changes(outbox=[early, late]))
    assert unpublished.verdict == "error"
    assert "not published: 2 events of the router itself" in unpublished.seen
    assert f"the oldest since {old:%Y-%m-%d %H:%M} UTC" in unpublished.seen
    assert verdicts(found_after(Changes(sent=[early.id]))) == [("router", "ok")]


def test_receivers_of_alerts_that_fail_for_long_or_that_nobody_tries_are_named(database):
    url, minute, now = database("store"), timedelta(minutes=1), datetime.now(UTC)

    def tried(subscription, ago, error="", *, purpose="send", address="https://am1"):
        return Attempt(subscription, purpose, address, minute, now - ago * minute, error)

    with Store(url) as opened:
        with opened.writing() as transaction:
            receiver_health.record(transaction, [tried("am", 90)])
            receiver_health.record(transaction, [tried("am", 60, "timeout"), tried("pd", 60, "401", purpose="follow")])
            receiver_health.record(transaction, [tried("am", 0, "timeout"), tried("pd", 0, "401", purpose="follow")])
            receiver_health.record(transaction, [tried("two", 9, "timeout"), tried("two", 0, address="https://am2")])
            receiver_health.record(transaction, [tried("brief", 1, "timeout"), tried("silent", 50)])
        found = [each for each in store(url) if each.part == "alert-receivers"]

    said = {(each.seen.partition(":")[0], each.verdict) for each in found}
    assert said == {
        ("am", "error"),
        ("pd", "warning"),
        ("two", "warning"),
        ("silent", "warning"),
        ("1 receiver of alerts answered, each at " + f"{now:%Y-%m-%d %H}", "ok"),
    }
    (away,) = [each for each in found if each.verdict == "error"]
    since, last = (f"{now - each * minute:%Y-%m-%d %H:%M} UTC" for each in (60, 90))
    assert away.seen == f"am: open alerts do not reach https://am1 since {since} (last success: {last}): timeout"
    assert all(each.advice for each in found if each.verdict != "ok")


def test_a_store_beyond_its_size_is_a_warning_that_names_what_stays(database) -> None:
    url = database("store")
    with Store(url):
        pass
    small = {"keep_size": 1, "keep_audit_size": 0}
    wanted = ConsumersSettings(store=url)

    found = list(store_size(wanted.model_copy(update=small)))

    assert verdicts(found) == [("store", "warning")] * len(found)
    assert "more than consumers.keep_size" in found[0].seen
    assert "what waits for a decision (0 letters), stays" in found[0].seen
    assert list(store_size(wanted)) == []


def test_rejected_records_that_were_not_kept_are_a_warning_that_names_their_node(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'router.db'}"
    with State(url) as opened, opened.transaction() as transaction:
        transaction.write(Changes(dismissed={"nsd01": 12_345, "": 1}), datetime.now(UTC))

    found = [each for each in state(url) if each.part == "nodes"]

    assert [each.verdict for each in found] == ["warning", "warning"]
    assert found[0].seen.startswith("not kept: 12,345 rejected records of nsd01, from ")
    assert found[1].seen.startswith("not kept: 1 rejected record of no validated user, from ")


def test_rejected_records_that_retention_deleted_are_a_warning_that_names_their_user(database) -> None:
    url = database("store")
    now = datetime.now(UTC)
    with Store(url) as opened, opened.writing() as transaction:
        deleted_records.add(transaction, {"n03": 3_000, "-": 1}, now - timedelta(hours=1))
        deleted_records.add(transaction, {"n03": 204}, now)

    found = [each for each in store(url) if each.part == "letters"]

    assert [each.verdict for each in found] == ["warning", "warning"]
    assert found[0].seen.startswith("3,204 rejected records of user n03 were deleted from ")
    assert found[0].seen.endswith(": only its latest 1,000 are kept")
    assert found[1].seen.startswith("1 rejected record of no validated user was deleted from ")
