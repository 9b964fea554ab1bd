"""What became of an event in each subscription, as `clusterbus why` and `clusterbus deliveries` tell it."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from consumers.deliveries import FOLDED, DeadLetter, Done, Retry, Skipped, Waiting
from consumers.inspection.explain import accounts, trace
from consumers.policies.failure_fingerprints import fingerprint
from consumers.store import attempts as table
from consumers.store import audit
from consumers.store import letters as kept
from consumers.store.attempts import Attempt
from consumers.store.letters import Letter
from consumers.store.queries import count, find
from consumers.subscriptions.models import Subscriptions
from router.model.ids import new_id
from tests.consuming import make_delivery, make_event, make_subscription
from tests.operating import invoke, json_lines

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
FILE = """\
version: 1
subscriptions:
  - {name: act, on: quota, run: {command: [/bin/true]}}
  - {name: never, on: disk, log: {}}
  - {name: other, on: quota, where: 'data.fsName == "gpfs2"', log: {}}
  - {name: unclear, on: quota, where: data.blockUsage > data.blockLimit, log: {}}
  - {name: asleep, on: quota, mode: off, log: {}}
"""


@pytest.fixture
def write(store):
    """A function that writes the outcomes of an event's attempts, a minute apart."""

    def written(event, *outcomes, subscription="act", replay="", start=NOON):
        with store.writing() as transaction:
            for at, outcome in enumerate(outcomes, 1):
                delivery = make_delivery(event, subscription, attempt=at, replay=replay)
                begun = start + at * timedelta(minutes=1)
                ended = None if outcome is None else begun + SECOND
                table.claim(transaction, [(Attempt(delivery, "me", "digest", begun), "")])
                table.record(transaction, [Attempt(delivery, "me", "digest", begun, ended, outcome)] if outcome else [])

    return written


@pytest.fixture
def command(tmp_path, database, store):
    """A function that runs a command on the store; returns exit code and output."""
    file = tmp_path / "subscriptions.yaml"
    file.write_text(FILE)

    settings = {"CLUSTERBUS_CONSUMERS_STORE": database("store"), "CLUSTERBUS_CONSUMERS_SUBSCRIPTIONS": str(file)}
    return partial(invoke, settings)


def account(store, event, *subscriptions):
    """Return the account of the first subscription, `act` by default."""
    known = Subscriptions(subscriptions=subscriptions or (make_subscription("act"),))
    return accounts(trace(store, event.id), known)[0]


def letter_of(event, **fields):
    facts = {"kind": "delivery", "event_id": event.id, "event": event.type, "subscription": "act", "attempt": 3}
    facts |= {"exchange": "", "topic": event.topic, "reason": "exit code 3", "body": event.to_json(), "headers": {}}
    return Letter(**{"id": "a" * 16, "kept_at": NOON} | facts | fields)


@pytest.mark.parametrize(
    ("outcomes", "state", "said"),
    [
        ([Done()], "done", "attempt 1 is done"),
        ([Retry(5 * SECOND, "exit code 3"), Done()], "done", "attempt 2 is done"),
        ([Retry(5 * SECOND, "exit code 3")], "retry", "attempt 1 failed: exit code 3"),
        ([Retry(5 * SECOND, "x"), DeadLetter("exit code 3")], "dead", "dead letter after attempt 2: exit code 3"),
        ([Waiting(9 * SECOND, "the breaker is open")], "wait", "attempt 1 waits: the breaker is open"),
        ([Skipped("silenced", "by ann")], "silenced", "skipped, silenced: by ann"),
        ([None], "open", "attempt 1 has begun, and has no outcome yet"),
    ],
)
def test_each_outcome_is_told(store, write, outcomes, state, said):
    event = make_event()
    write(event, *outcomes)

    found = account(store, event)

    assert (found.state, found.because) == (state, said)
    assert len(found.rows) == len(outcomes)


def test_when_it_comes_again_is_told_by_the_real_retry_steps(store, write):
    retried, waiting, done = make_event(), make_event(), make_event()
    write(retried, Retry(20 * SECOND, "x"))
    write(waiting, Waiting(20 * SECOND, "x"))
    write(done, Done())

    ended = NOON + timedelta(minutes=1) + SECOND
    assert account(store, retried).again == ended + timedelta(minutes=1)
    assert account(store, waiting).again == ended + 20 * SECOND
    assert account(store, done).again is None


def test_a_dead_letter_is_told_with_what_to_type(store, write):
    event = make_event()
    write(event, DeadLetter("exit code 3"))
    with store.writing() as transaction:
        kept.keep(transaction, [letter_of(event)])

    found = account(store, event)

    assert [each.id for each in found.letters] == ["a" * 16]
    assert found.advice == f"clusterbus dead replay {'a' * 16}"


def test_what_the_broker_gave_up_has_a_letter_and_no_attempts(store):
    event = make_event()
    with store.writing() as transaction:
        kept.keep(transaction, [letter_of(event, reason="given up by the broker")])

    found = account(store, event)

    assert (found.state, found.because, found.rows) == ("dead", "given up by the broker", ())


def test_a_replay_is_told_after_what_it_replays(store, write):
    event = make_event()
    write(event, DeadLetter("exit code 3"))
    nonce = new_id()
    write(event, Done(), replay=nonce, start=NOON + timedelta(hours=1))

    found = account(store, event)

    assert (found.state, found.because) == ("done", f"replay {nonce}, attempt 1 is done")
    assert len(found.rows) == 2


def test_what_was_folded_is_told_with_the_fold(store, write):
    head, event = make_event(), make_event()
    for each in (head, event):
        write(each, Skipped(FOLDED, f"told with {head.id}", {"head": head.id}))
    write(head, Done(), replay=FOLDED, start=NOON + timedelta(hours=1))

    for each in (head, event):
        found = account(store, each)
        assert (found.state, found.because) == ("done", "its group, attempt 1 is done")
        assert len(found.rows) == 2


def test_a_subscription_that_left_the_files_is_told_all_the_same(store, write):
    event = make_event()
    write(event, Done(), subscription="gone")

    _, gone = accounts(trace(store, event.id), Subscriptions(subscriptions=(make_subscription("act"),)))

    assert (gone.subscription, gone.state) == ("gone", "done")
    assert "no file contains this subscription any more" in gone.because


def test_the_event_itself_comes_from_the_audit_first_and_from_a_letter_else(store):
    event = make_event()
    with store.writing() as transaction:
        kept.keep(transaction, [letter_of(event, body=make_event(event.id, fsName="edited").to_json())])
    assert trace(store, event.id).event.data["fsName"] == "edited"

    with store.writing() as transaction:
        audit.append(transaction, [make_delivery(event, "audit")])

    assert trace(store, event.id).event == event


def test_why_tells_each_subscription_and_the_reasons_of_those_that_did_not_fire(store, write, command):
    event = make_event()
    write(event, Done())
    with store.writing() as transaction:
        audit.append(transaction, [make_delivery(event, "audit")])

    code, output = command("why", event.id.lower(), "--json")

    assert code == 0
    found = {each["subscription"]: each for each in json_lines(output) if "subscription" in each}
    states = {name: each["state"] for name, each in found.items()}
    assert states == {"act": "done", "never": "pattern", "other": "filter", "unclear": "unclear", "asleep": "off"}
    assert 'data.fsName is "gpfs1"' in found["other"]["because"]
    assert "data.blockLimit is null" in found["unclear"]["because"]
    text = command("why", event.id)[1]
    assert "no pattern of `on` matches" in text
    assert "attempt 1 is done" in text


def test_without_the_event_why_goes_by_its_topic_and_says_so(write, command):
    event = make_event()
    write(event, Done())

    code, output = command("why", event.id, "--offline")

    assert code == 0
    assert "the store does not have the event itself" in output
    assert "no pattern of `on` matches" in output
    assert "the event's data is not known" in output


def test_why_of_what_nobody_knows_ends_with_1_and_of_no_id_with_2(command):
    assert command("why", new_id(), "--offline")[0] == 1
    assert command("why", "x")[0] == 2


def test_why_of_an_id_past_the_year_9999_says_why_history_cannot_be_searched(command, monkeypatch):
    monkeypatch.setattr("consumers.cli.why.connect", lambda *_, **__: None)

    code, output = command("why", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ")

    assert code == 1
    assert "history cannot be searched: id 7ZZZZZZZZZZZZZZZZZZZZZZZZZ is of a moment after the year 9999" in output


def test_attempts_are_found_by_every_filter(store, write):
    events = [make_event(node=f"nsd{number}") for number in range(3)]
    write(events[0], Retry(5 * SECOND, "exit code 3: nsd0"), Done())
    write(events[1], DeadLetter("exit code 3: nsd1"), start=NOON + timedelta(hours=1))
    write(events[2], None, subscription="other")

    def ids(**filters):
        with store.reading() as transaction:
            return {(each.event_id, each.attempt) for each in find(transaction, **filters)}

    first, second, third = [each.id for each in events]
    with store.reading() as transaction:
        (mark,) = {fingerprint(each.reason) for each in find(transaction, outcome="dead")}
    assert ids(node="nsd1") == {(second, 1)}
    assert ids(outcome="open") == {(third, 1)}
    assert ids(subscription="other") == {(third, 1)}
    assert ids(failure=mark) == {(first, 1), (second, 1)}
    assert ids(reason="nsd0") == {(first, 1)}
    assert ids(since=NOON + timedelta(minutes=30)) == {(second, 1)}
    assert ids(before=NOON + timedelta(minutes=2)) == {(first, 1), (third, 1)}
    assert ids(event="softQuotaExceeded") == {(first, 1), (first, 2), (second, 1), (third, 1)}


def test_attempts_are_counted_by_subscription_and_outcome(store, write, command):
    events = [make_event() for _ in range(3)]
    for event in events:
        write(event, Retry(5 * SECOND, "exit code 3"), Done())
    write(events[0], Skipped("silenced"), subscription="tell")

    with store.reading() as transaction:
        found = {(each.subscription, each.outcome): (each.attempts, each.events) for each in count(transaction)}
    code, output = command("deliveries", "--summary", "--json")

    assert found == {("act", "done"): (3, 3), ("act", "retry"): (3, 3), ("tell", "silenced"): (1, 1)}
    assert code == 0
    assert {(each["subscription"], each["outcome"]) for each in json_lines(output)} == found.keys()
    (_, failed) = command("deliveries", "--outcome", "retry", "--json")
    mark = json_lines(failed)[0]["failure"]
    assert {
        each["outcome"] for each in json_lines(command("deliveries", "--failure", mark, "--summary", "--json")[1])
    } == {"retry"}


def test_deliveries_are_shown_newest_first(write, command):
    first, second = make_event(), make_event()
    write(first, Done())
    write(second, Done(), start=NOON + timedelta(hours=1))

    code, output = command("deliveries", "--json")

    assert (code, [each["event_id"] for each in json_lines(output)]) == (0, [second.id, first.id])
    assert "no deliveries" in command("deliveries", "--subscription", "nobody")[1]
