"""Alerts in a real Alertmanager, whose own webhook is the witness of what it notifies of."""

import json
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from consumers.deliveries import Done, Retry
from consumers.inspection.doctor import databases as doctor
from consumers.store.alerts import receiver_health
from consumers.store.database import Store
from consumers.verbs.alert.verb import AlertVerb
from tests.alerting import MINUTE, NODE_DOWN, AlertBench
from tests.alertmanager import alertmanager
from tests.alerts import ALERT, OTHER, change
from tests.kept_alerts import keeping, publish
from tests.proxy import Mode, Proxy
from tests.waiting import wait_for

EVERY = timedelta(seconds=2)
"""So short only here: an alert that nobody sends ends after four times as long."""


@pytest.fixture
def server(tmp_path):
    with alertmanager(tmp_path / "alertmanager") as running:
        yield running


@pytest.fixture
def store(tmp_path):
    with Store(f"sqlite:///{tmp_path / 'store.db'}") as opened:
        yield opened


def verb_of(*urls, every=timedelta(minutes=1), **fields):
    made = AlertVerb.model_validate({"alertmanager": [*urls], "proxy": "none", "timeout": "5s", **fields})
    return made.model_copy(update={"every": every})


def event(name, number=1, alert=ALERT, **fields):
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return change(name, alert=alert, change=number, **{"since": now, "about": [f"fsName={alert}"], **fields})


def ids(found):
    return sorted(each["annotations"]["alert"] for each in found)


def test_an_alert_opens_repeats_and_resolves_once_whatever_its_severity_becomes(server, store):
    with keeping(
        store, verb_of(server.url, labels={"team": "storage"}, annotations={"rule": "{{ alert.rule }}"})
    ) as kept:
        kept.deliver(event("alertOpened"))
        kept.deliver(event("alertRepeated", 2, severity="critical", openings=2))

        (alert,) = server.open()
        kept.deliver(event("alertClosed", 3, severity="critical"))
        wait_for(lambda: ("resolved", ALERT) in server.notified(), 60, "the end, notified")
        kept.after(60)

    assert alert["labels"] == {
        "alertname": "soft-quota",
        "cluster": "prod",
        "node": "nsd01",
        "severity": "warning",
        "fsName": ALERT,
        "team": "storage",
    }
    assert (alert["annotations"]["severity"], alert["annotations"]["rule"]) == ("critical", "soft-quota")
    assert server.open() == []
    assert [each for each, _ in server.notified()].count("resolved") == 1
    assert ("firing", ALERT) in server.notified()


@pytest.mark.long
def test_an_alert_stays_open_for_as_long_as_it_is_sent_and_no_longer(server, store):
    with keeping(store, verb_of(server.url, every=EVERY)) as kept:
        kept.deliver(event("alertOpened"))
        (first,) = server.open()
        kept.after(EVERY.total_seconds())
        wait_for(lambda: server.open() and server.open()[0]["endsAt"] > first["endsAt"], 30, "a later end")
        # Now the consumer dies.
        wait_for(lambda: server.open() == [], 60, "the end that nobody sent")


def test_after_a_restart_alertmanager_knows_all_that_is_open_in_few_calls(server, store):
    with keeping(store, verb_of(server.url)) as kept:
        alerts = [f"01KAG2V0M3Y8ZT6Q4XJ5W{at:05d}" for at in range(450)]
        for each in alerts:
            publish(store, event("alertOpened", alert=each))
        closed = alerts[0]
        kept.after(60)
        assert ids(server.open()) == alerts

        server.kill()
        kept.after(60)
        publish(store, event("alertClosed", 2, closed))
        server.start()
        assert server.open() == []
        calls = counted(kept)
        # After a failure it does not wait for the whole interval.
        kept.after(15)

        assert ids(server.open()) == alerts[1:]
        assert len(calls) == 3


@pytest.mark.long
def test_away_for_an_hour_what_is_open_and_what_is_over_is_right_afterwards(server, store):
    with Proxy(server.url) as proxy, keeping(store, verb_of(proxy.url, every=EVERY)) as kept:
        for each in (ALERT, OTHER):
            kept.deliver(event("alertOpened", alert=each))
        assert ids(server.open()) == [OTHER, ALERT]

        proxy.mode = Mode.REFUSE
        proxy.reset()
        kept.after(3600)
        assert isinstance(kept.deliver(event("alertClosed", 2)), Retry)
        third = "01KAG2V0M3Y8ZT6Q4XJ5W9E7RD"
        late = event("alertOpened", alert=third)
        assert isinstance(kept.deliver(late), Retry)
        wait_for(lambda: server.open() == [], 60, "alerts that ended because nobody sent them")
        proxy.mode = Mode.PASS
        calls = counted(kept)
        kept.after(EVERY.total_seconds())

        assert ids(server.open()) == [OTHER, third]
        assert len(calls) == 1
        # The retries come later, and change nothing.
        assert isinstance(kept.attempt(late), Done)
        assert ids(server.open()) == [OTHER, third]


def test_a_retried_opening_does_not_open_again_what_is_closed(server, store):
    with keeping(store, verb_of(server.url)) as kept:
        opened = event("alertOpened")
        publish(store, opened)
        kept.deliver(event("alertClosed", 2))

        outcome = kept.attempt(opened)

    assert isinstance(outcome, Done)
    assert outcome.result["sent"] == "the last change, which is a later one"
    assert server.open() == []
    assert ("firing", ALERT) not in server.notified()


def health(store):
    with store.reading() as transaction:
        return receiver_health.find(transaction, 100)


def test_one_that_is_away_is_known_since_when_and_one_that_is_back_as_well(server, store):
    noon = datetime.now(UTC)
    passed = [timedelta()]
    with keeping(store, verb_of(server.url, follow="1m"), clock=lambda: noon + passed[0]) as kept:

        def after(minutes):
            passed[0] += timedelta(minutes=minutes)
            kept.after(60 * minutes)
            return list(doctor.alert_receivers(health(store), noon + passed[0]))

        # Nothing is open, and yet it is known to answer.
        assert [each.verdict for each in after(1)] == ["ok"]
        server.kill()
        assert [each.verdict for each in after(1)] == []
        following, sending = after(60)
        down = {each.purpose: each for each in health(store)}
        server.start()
        assert [each.verdict for each in after(1)] == ["ok"]

    assert (sending.verdict, following.verdict) == ("error", "warning")
    assert sending.seen.startswith(f"a: open alerts do not reach {server.url} since ")
    assert down["send"].succeeded == noon + timedelta(minutes=1)
    assert down["send"].failing_since == noon + timedelta(minutes=2)
    assert all(each.failing_since is None for each in health(store))


def test_of_a_cluster_the_one_that_is_away_is_a_warning_while_another_one_answers(server, store, tmp_path):
    with alertmanager(tmp_path / "second") as second, keeping(store, verb_of(server.url, second.url)) as kept:
        second.kill()
        kept.after(60)
        later = datetime.now(UTC) + timedelta(minutes=3)
        one, _ = doctor.alert_receivers(health(store), later)
        server.kill()
        kept.after(60)
        later += timedelta(minutes=1)
        both = list(doctor.alert_receivers(health(store), later))

    assert one.verdict == "warning"
    assert second.url in one.seen
    assert [each.verdict for each in both] == ["error", "error"]


def test_each_of_a_cluster_gets_all_and_one_that_is_away_gets_it_later(server, store, tmp_path):
    with alertmanager(tmp_path / "second") as second, keeping(store, verb_of(server.url, second.url)) as kept:
        second.kill()
        outcome = kept.deliver(event("alertOpened"))
        assert isinstance(outcome, Done)
        assert outcome.result["taken_by"] == [f"alertmanager 127.0.0.1:{server.port}"]
        kept.after(60)
        second.start()
        kept.after(15)

        assert ids(server.open()) == ids(second.open()) == [ALERT]


def test_only_what_the_subscription_selects_and_nothing_mutes_is_sent_again(server, store):
    with keeping(store, verb_of(server.url), where='severity >= "error"') as kept:
        kept.deliver(event("alertOpened", severity="critical"))
        publish(store, event("alertOpened", alert=OTHER, severity="info"))
        publish(store, event("alertOpened", alert="01KAG2V0M3Y8ZT6Q4XJ5W9E7RD", severity="error", suppressedBy=ALERT))
        kept.after(60)

    assert ids(server.open()) == [ALERT]


def test_who_gets_only_openings_and_ends_keeps_what_has_been_acknowledged(server, store):
    patterns = ("clusterbus.*.alert.alertOpened.#", "clusterbus.*.alert.alertClosed.#")
    with keeping(store, verb_of(server.url), patterns=patterns) as kept:
        publish(store, event("alertOpened"))
        publish(store, event("alertAcknowledged", 2))
        kept.after(60)

    assert ids(server.open()) == [ALERT]


def test_a_silence_acknowledges_an_alert_and_its_end_takes_that_back(server, tmp_path):
    bench = AlertBench(f"sqlite:///{tmp_path / 'store.db'}")
    with keeping(bench.store, verb_of(server.url, follow="1m"), clock=bench.clock) as kept:
        bench.see("nodeLeave", node="n1")
        kept.after(60)
        (alert,) = server.open()
        silence = server.silence("planned work", alertname="node-down")

        for _ in range(3):
            kept.after(60)
        bench.advance(MINUTE)
        (acknowledged,) = bench.alerts()
        server.expire(silence)
        wait_for(lambda: server.open()[0]["status"]["silencedBy"] == [], 60, "the end of the silence")
        kept.after(60)
        bench.advance(MINUTE)
        (opened,) = bench.alerts()

    assert alert["annotations"]["alert"] == acknowledged.id
    assert (acknowledged.state, acknowledged.by) == ("acknowledged", "alertmanager:anna")
    assert acknowledged.comment == "planned work"
    assert (opened.state, opened.by) == ("open", "alertmanager:-")
    assert bench.names == ["alertOpened", "alertAcknowledged", "alertAcknowledged"]
    assert [each.data["cause"] for each in bench.told] == ["event", "remote", "remote"]


def test_a_restart_of_many_nodes_is_a_handful_of_alerts_there_too(server, tmp_path):
    rule = {**NODE_DOWN, "group": {"over": 3, "quiet": "1m"}}
    bench = AlertBench(f"sqlite:///{tmp_path / 'store.db'}", rule)
    nodes = [f"n{at:03d}" for at in range(1, 10)]
    with keeping(bench.store, verb_of(server.url), clock=bench.clock) as kept:
        for each in nodes:
            bench.see("nodeLeave", node=each)
        kept.after(60)
        is_open = server.open()
        bench.advance(MINUTE)
        for each in nodes:
            bench.see("nodeJoin", node=each)
        bench.advance(5 * MINUTE)
        kept.after(60)
        wait_for(lambda: server.open() == [], 60, "the end of all")

    assert len(is_open) <= 4
    assert any("n[001-008]" in each["annotations"].get("nodes", "") for each in is_open)


def counted(kept):
    """Return a list that gets the target of each call from now on."""
    calls, caller = [], kept.active.way.handler._caller

    def count(call, **fields):
        calls.append(call.target)
        return caller(call, **fields)

    count.close = caller.close
    kept.active.way.handler._caller = count
    return calls


def test_what_alertmanager_says_is_what_we_sent(server, store):
    hostile = 'a"b\\c\n{{ x }}' + "y" * 3000
    with keeping(store, verb_of(server.url)) as kept:
        outcome = kept.deliver(event("alertOpened", about=[f"path={hostile}", "severity=x", "1st=é"], summary=hostile))

    (alert,) = server.open()
    assert isinstance(outcome, Done)
    assert alert["labels"]["path"] == hostile
    assert (alert["labels"]["about_severity"], alert["labels"]["_1st"]) == ("x", "é")
    json.dumps(outcome.result)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whatever_fails_in_between_alertmanager_has_at_the_end_what_is_open(server, store, seed):
    random = Random(seed)
    alerts = [f"01KAG2V0M3Y8ZT6Q4XJ5W{at:05d}" for at in range(4)]
    numbers, pending = dict.fromkeys(alerts, 0), []
    is_open = dict.fromkeys(alerts, False)

    with keeping(store, verb_of(server.url)) as kept:
        for _ in range(40):
            match random.choice(["change", "change", "change", "attempt", "restart", "away", "pass"]):
                case "change":
                    alert = random.choice([each for each in alerts if not numbers[each] or is_open[each]] or alerts[:1])
                    name = random.choice(["alertClosed", "alertRepeated"]) if numbers[alert] else "alertOpened"
                    numbers[alert] += 1
                    if numbers[alert] == 1 or is_open[alert]:
                        is_open[alert] = name != "alertClosed"
                        severity = random.choice(["warning", "critical"])
                        pending.append(publish(store, event(name, numbers[alert], alert, severity=severity)))
                case "attempt" if pending:
                    # Lost, late, and in any order: retries, dead letters and replays.
                    kept.attempt(random.choice(pending))
                case "restart":
                    server.kill()
                    server.start()
                case "away":
                    server.kill()
                    kept.after(60)
                case "pass":
                    kept.after(60)
        server.kill()
        server.start()
        kept.after(60)

        assert ids(server.open()) == [each for each in alerts if is_open[each]]
        assert all(each["labels"]["severity"] in ("warning", "critical") for each in server.open())
        for each in pending:
            kept.attempt(each)
        assert ids(server.open()) == [each for each in alerts if is_open[each]]
