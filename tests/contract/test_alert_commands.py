"""The commands on alerts, over both databases."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from consumers.alerts.life.observations import Observation
from consumers.deliveries import Done, Retry
from consumers.inspection.doctor.machine import machine_roles
from consumers.inspection.status import overview
from consumers.inspection.status.alert_following import Following
from consumers.inspection.status.alert_listing import AlertFilter
from consumers.store import attempts
from consumers.store.alerts import observed
from consumers.store.attempts import Attempt
from consumers.store.database import Store
from tests.alerts import ALERT, OTHER, alert_row, change, keep
from tests.consuming import make_delivery
from tests.operating import invoke, json_lines

NOW = datetime.now(UTC)
DISK = "01KAG9V0M3Y8ZT6Q4XJ5W9E7RA"
CLOSED = "01KAG1V0M3Y8ZT6Q4XJ5W9E7RA"
GROUP = "01KAG8V0M3Y8ZT6Q4XJ5W9E7RA"


@pytest.fixture
def settings(database):
    """The settings of a site whose store has four alerts."""
    with Store(database("store")) as store, store.writing() as transaction:
        disk = {"rule": "disk-down", "severity": "critical", "node": "nsd02", "summary": "Disk d1 is down"}
        keep(
            transaction,
            alert_row(since=NOW - timedelta(hours=3)),
            alert_row(DISK, **disk, since=NOW - timedelta(minutes=5), suppressed_by=GROUP),
            alert_row(GROUP, rule="node-down", cluster="test", is_group=True, nodes="n[001-400]", state="acknowledged"),
            alert_row(CLOSED, state="closed", until=NOW),
        )
    return {"CLUSTERBUS_CONSUMERS_STORE": database("store"), "TZ": "UTC"}


def ids(settings, *words):
    code, output = invoke(settings, "alerts", "list", *words, "--json")
    assert code == 0
    return [each["id"] for each in json_lines(output)]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ((), [DISK, GROUP, ALERT]),
        (("--state", "all"), [DISK, GROUP, ALERT, CLOSED]),
        (("--state", "closed"), [CLOSED]),
        (("--state", "open"), [DISK, ALERT]),
        (("--rule", "disk-down"), [DISK]),
        (("--severity", "error"), [DISK]),
        (("--severity", "info"), [DISK, GROUP, ALERT]),
        (("--cluster", "test"), [GROUP]),
        (("--since", "2h"), [DISK]),
        (("--node", "nsd[01-02]"), [DISK, ALERT]),
        (("--node", "NSD02.example.com"), [DISK]),
        (("--node", "n007"), [GROUP]),
        (("--node", "n500"), []),
        (("--limit", "1"), [DISK]),
    ],
)
def test_a_list_has_what_is_asked_for_the_newest_first(settings, words, found):
    assert ids(settings, *words) == found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rule", "dsik-down"), "there is no rule 'dsik-down'; did you mean disk-down or node-down?"),
        (("--rule", "qwxzv"), "there is no rule 'qwxzv'; `clusterbus alerts rules` shows all"),
        (("--rule", "robot-amr"), "did you mean robot-arm?"),
    ],
)
@pytest.mark.parametrize("command", ["list", "watch"])
def test_a_rule_that_there_is_not_is_wrong_usage_not_a_site_without_alerts(settings, words, said, command, tmp_path):
    file = tmp_path / "subscriptions.yaml"
    file.write_text("version: 1\nalerts: [{name: robot-arm}]\nsubscriptions: [this, is: wrong]\n")
    code, output = invoke(settings | {"CLUSTERBUS_CONSUMERS_SUBSCRIPTIONS": str(file)}, "alerts", command, *words)

    assert (code, said in output) == (2, True), output


def test_rules_without_alerts_are_known_and_so_are_those_of_old_alerts(settings, database):
    with Store(database("store")) as store, store.writing() as transaction:
        keep(transaction, alert_row("01KAG0V0M3Y8ZT6Q4XJ5W9E7RA", rule="removed", state="closed", until=NOW))

    assert ids(settings, "--rule", "node-silent") == ids(settings, "--rule", "removed") == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--cluster", "prd"), "no alerts\n--cluster: no alert is of 'prd'; did you mean prod?\n"),
        (("--node", "nsd20"), "no alerts\n--node: no alert is of 'nsd20'; did you mean nsd02?\n"),
        (("--node", "other"), "no alerts\n"),
        (("--node", "NSD02.example.com", "--state", "closed"), "no alerts\n"),
    ],
)
def test_where_nothing_is_found_a_name_that_may_be_misspelled_is_pointed_out(settings, words, said):
    assert invoke(settings, "alerts", "list", *words) == (0, said)


@pytest.mark.parametrize("words", [("--state", "opened"), ("--node", "n[1-"), ("--since", "soon")])
def test_a_wrong_option_is_wrong_usage(settings, words):
    assert invoke(settings, "alerts", "list", *words)[0] == 2


def test_a_list_for_people_has_ages_and_says_what_is_suppressed(settings):
    _, output = invoke(settings, "alerts", "list")

    disk, group, quota = output.splitlines()
    _, severity, state, age, rule, *_ = disk.split("\t")
    assert (severity, state, rule) == ("critical", "open", "disk-down")
    assert re.match(r"\d+ (min|h)", age)  # since the tests were collected, perhaps much later
    assert disk.endswith("Disk d1 is down (suppressed)")
    assert (group.split("\t")[2], quota.split("\t")[3][:3]) == ("acknowledged", "3 h")


def test_a_watch_shows_what_is_open_the_oldest_first_then_each_change_with_its_time_and_who_did_it(settings, database):
    wanted = AlertFilter()
    following = Following(wanted)
    with Store(database("store")) as store:
        with store.reading() as transaction:
            first, second = following.look(transaction), following.look(transaction)
        invoke(settings, "alerts", "ack", ALERT, "--by", "anna")
        invoke(settings, "alerts", "close", DISK, "--comment", "x", "--by", "bob")
        with store.writing() as transaction:
            keep(transaction, alert_row("01KAG9Z0M3Y8ZT6Q4XJ5W9E7RA", rule="brief", state="closed", until=NOW))
        with store.reading() as transaction:
            third, last = following.look(transaction), following.look(transaction)

    assert [(each.alert.id, each.change) for each in first] == [(ALERT, None), (GROUP, None), (DISK, None)]
    assert second == last == []
    named = [(each.alert.rule, each.change and (each.change.name, each.change.by)) for each in third]
    assert named[-2:] == [("soft-quota", ("alertAcknowledged", "anna")), ("disk-down", ("alertClosed", "bob"))]
    assert [name for name, _ in named[:-2]] == ["brief"], "opened and closed between two looks"
    assert (following.open, following.has_more) == (2, False)


def acts(database, alert):
    with Store(database("store")) as store, store.reading() as transaction:
        key = alert_row(alert).key
        found = observed.of_keys(transaction, [key])[key]
        return [(each.kind, each.by, each.comment) for each in found if each.kind != "opens"]


def test_an_act_is_written_for_each_alert_with_who_did_it_and_why(settings, database):
    words = ("alerts", "ack", DISK[:8], ALERT, "--why", "on it", "--by", "anna")

    code, output = invoke(settings, *words)

    assert code == 0
    assert [line.partition(":")[0] for line in output.splitlines()] == [
        f"{DISK} acknowledged",
        f"{ALERT} acknowledged",
    ]
    assert acts(database, DISK) == acts(database, ALERT) == [("ack", "anna", "on it")]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("ack", CLOSED), 1, "has been closed since 20"),
        (("unack", ALERT), 1, "is open: nobody has acknowledged it"),
        (("ack", "01KAG"), 1, "several alerts begin with 01KAG"),
        (("ack", "nothing"), 1, "there is no alert nothing"),
        (("close", ALERT), 2, "Missing option"),
        (("close", ALERT, "--comment", " "), 2, "--comment is empty"),
        (("note", ALERT, "--comment", "x" * 1001), 2, "the limit is 1000"),
        (("ack", ALERT, "--by", " "), 2, "--by is empty: name who does it, or leave it out"),
        (("ack", ALERT, "--by", "x" * 101), 2, "--by has 101 characters, and the limit is 100"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(settings, words, code, said):
    ended, output = invoke(settings, "alerts", *words)

    assert ended == code
    assert said in output


def test_one_wrong_id_does_not_keep_the_others_from_being_written(settings, database):
    code, output = invoke(settings, "alerts", "note", "nothing", ALERT, "--comment", "seen", "--by", "anna")

    assert code == 1
    assert "there is no alert nothing" in output
    assert acts(database, ALERT) == [("note", "anna", "seen")]
    assert acts(database, OTHER) == []


def test_show_says_who_was_notified_and_who_was_not(settings, database, tmp_path):
    """What only writes a line notifies nobody."""
    file = tmp_path / "subscriptions.yaml"
    file.write_text("subscriptions: [{name: audit, on: '#', log: {}}, {name: mail, on: alerts, notify: {to: x}}]\n")
    settings = settings | {"CLUSTERBUS_CONSUMERS_SUBSCRIPTIONS": str(file)}
    opened = f"{ALERT[:-1]}Z"
    with Store(database("store")) as store, store.writing() as transaction:
        for name, outcome in (
            ("mail", Done({"told": {"storage-team": ["x"]}})),
            ("pager", Retry(timedelta(seconds=5), "no answer", {"told": {}})),
            ("audit", Done()),
        ):
            attempt = Attempt(make_delivery(change("alertOpened", opened), name), "me", "digest", NOW, NOW, outcome)
            attempts.claim(transaction, [(attempt, "")])
            attempts.record(transaction, [attempt])

    code, output = invoke(settings, "alerts", "show", ALERT, "--json")
    _, text = invoke(settings, "alerts", "show", ALERT)

    shown = json.loads(output)
    assert code == 0
    assert shown["notified"] == {"storage-team": "done", "pager": "retry"}
    assert [each["name"] for each in shown["changes"]] == ["alertOpened"]
    assert (shown["about"], shown["state"]) == ({"fsName": "gpfs1", "filesetName": "projects"}, "open")
    assert "notified\tstorage-team, pager (retry)" in text


def test_the_history_says_as_which_event_a_change_was_published(settings):
    code, output = invoke(settings, "alerts", "history", ALERT)

    assert code == 0
    assert output.split("\t")[1:3] == ["opened", "event"]
    assert output.rstrip().endswith(f"{ALERT[:-1]}Z")


def test_an_act_is_later_than_all_that_is_known(settings, database):
    ahead = NOW + timedelta(days=1)
    with Store(database("store")) as store, store.writing() as transaction:
        observed.keep(transaction, [(alert_row().key, Observation(id=OTHER, at=ahead, kind="opens"))])

    invoke(settings, "alerts", "ack", ALERT)

    with Store(database("store")) as store, store.reading() as transaction:
        key = alert_row().key
        assert max(each.at for each in observed.of_keys(transaction, [key])[key] if each.kind == "ack") > ahead


@pytest.fixture
def hub(settings, tmp_path, monkeypatch):
    """The settings of a hub whose broker does not answer."""
    monkeypatch.setattr(machine_roles, "_RELAY_SETTINGS", tmp_path / "relay.conf")
    subscriptions = tmp_path / "subscriptions.yaml"
    subscriptions.write_text("version: 1\nsubscriptions: []\n")
    return settings | {
        "CLUSTERBUS_BROKER": "amqp://guest:guest@127.0.0.1:1/x",
        "CLUSTERBUS_BROKER_PATIENCE": "1s",
        "CLUSTERBUS_CONSUMERS_SUBSCRIPTIONS": str(subscriptions),
        "CLUSTERBUS_SHIM_SPOOL": str(tmp_path / "spool"),
        "CLUSTERBUS_ROUTER_STATE": f"sqlite:///{tmp_path}/router.db",
    }


def test_the_status_shows_the_worst_alerts_first_and_what_cannot_be_read(hub):
    code, output = invoke(hub, "status")

    assert code == 3
    first, *_, last = output.splitlines()
    assert (first.split("\t")[0], first.split("\t")[-1]) == (
        "warning",
        "projects of gpfs1 is over its soft quota (test)",
    )
    # What another alert suppresses comes last, however bad.
    least = [line for line in output.splitlines() if "\t01KAG" in line][-1]
    assert least.endswith("Disk d1 is down (prod) (suppressed)")
    assert last.startswith("error  3 alerts open")
    assert "unknown\t" in output


@pytest.mark.long
def test_the_status_for_nagios_is_critical_for_what_is_known(hub):
    code, output = invoke(hub, "status", "--nagios")

    assert code == 2
    (line,) = output.splitlines()
    assert line.startswith("CLUSTERBUS CRITICAL - 3 alerts open: projects of gpfs1 is over its soft quota, ")
    assert "alerts_critical=1" in line


def test_a_store_that_cannot_be_read_is_unknown(hub, tmp_path):
    broken = tmp_path / "broken.db"
    broken.write_text("no database at all, but longer than a header of one" * 100)

    code, output = invoke(hub | {"CLUSTERBUS_CONSUMERS_STORE": f"sqlite:///{broken}"}, "status", "--json")

    facts = json.loads(output)
    assert code == 3
    assert any("alerts and deliveries are not known" in each for each in facts["unknown"])
    assert (facts["letters"], facts["verdict"] in ("error", "unknown")) == (None, True)
    assert facts["alerts"] is None


def test_a_screen_without_a_store_does_not_say_that_no_alert_is_open(hub, tmp_path):
    broken = tmp_path / "broken.db"
    broken.write_text("no database at all, but longer than a header of one" * 100)

    _, output = invoke(hub | {"CLUSTERBUS_CONSUMERS_STORE": f"sqlite:///{broken}"}, "status")

    assert "it is not known which alerts are open" in output.splitlines()[-1]
    assert "0 alerts" not in output


def test_the_worst_alert_is_shown_however_many_newer_ones_are_open(hub, database, monkeypatch):
    monkeypatch.setattr(overview, "_MOST_READ", 2)
    monkeypatch.setattr(overview, "MOST_ALERTS", 2)
    with Store(database("store")) as store, store.writing() as transaction:
        old = alert_row("01KA0000000000000000000000", severity="critical", summary="the oldest")
        keep(transaction, old, *(alert_row(f"01KAH{at:020}0", severity="info") for at in range(5)))

    _, output = invoke(hub, "status")

    assert output.splitlines()[0].endswith("the oldest (prod)")
