"""What the doctor asks of which machine, of its services, and how long hand-overs took."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from consumers.deliveries import Done
from consumers.inspection.doctor import examination, hand_overs
from consumers.inspection.doctor.check_results import PARTS
from consumers.inspection.doctor.machine import machine_roles, services
from consumers.inspection.doctor.time_limit import TimeLimit
from consumers.store import attempts
from consumers.store.attempts import Attempt
from consumers.store.database import Store
from router.model.ids import new_id
from router.settings.models import Settings
from tests.consuming import make_delivery, make_event

NOW = datetime.now(UTC)
BROKER = {"broker": {"url": ["amqps://hub@mq1/bus"]}}

RUNS = """Id=clusterbus-router.service
LoadState=loaded
ActiveState=active
UnitFileState=enabled
Result=success
StatusText=active; connected to amqps://router@mq1:5671/bus; 12 events a minute, 0 unfinished
NRestarts=0
"""


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """A function that returns the settings of a machine on which nothing is installed, except as they say."""
    monkeypatch.setattr(machine_roles, "_RELAY_SETTINGS", tmp_path / "relay.conf")
    monkeypatch.setattr(machine_roles, "_ENABLED", tmp_path / "wants")
    (tmp_path / "wants").mkdir()

    def make(**given):
        nothing = {
            "shim": {"spool": str(tmp_path / "spool")},
            "router": {"state": f"sqlite:///{tmp_path}/router.db"},
            "consumers": {"store": f"sqlite:///{tmp_path}/store.db"},
            "gpfs": {"commands": str(tmp_path)},
        }
        return Settings.model_validate(nothing | given)

    return make


def test_a_machine_that_is_nothing_yet_is_asked_everything(settings):
    machine, parts = machine_roles.belonging(settings())

    assert (machine.verdict, parts) == ("ok", PARTS)


@pytest.mark.parametrize(
    ("make", "given", "role", "parts"),
    [
        ("spool/", {}, "a node", {"spool", "relay"}),
        ("relay.conf", {}, "a node", {"spool", "relay"}),
        ("router.db", {}, "a hub with a router", {"broker", "publishing", "router"}),
        ("wants/clusterbus-router.service", {}, "a hub with a router", {"broker", "publishing", "router"}),
        ("store.db", {}, "a hub with consumers", {"broker", "publishing", "subscriptions", "store"}),
        (
            "wants/clusterbus-consume.service",
            {},
            "a hub with consumers",
            {"broker", "publishing", "subscriptions", "store"},
        ),
        ("mmlscallback", {}, "a management host", {"callbacks", "nodes"}),
        ("", {"nodes": {"relay": {"cluster": "prod"}}}, "a management host", {"callbacks", "nodes"}),
        ("", BROKER, "a client of the broker", {"broker", "publishing"}),
    ],
)
def test_each_machine_is_asked_what_belongs_to_it(settings, tmp_path, make, given, role, parts):
    path = tmp_path / make
    if make.startswith("wants"):
        path.symlink_to("/usr/lib/systemd/system/x.service")
    elif make.endswith("/"):
        path.mkdir()
    elif make:
        path.touch()

    machine, found = machine_roles.belonging(settings(**given))

    assert found == parts | {"services"}
    assert machine.seen.startswith(f"this is {role}; not asked, because it is nothing else: ")


def test_roles_add_up_and_a_postgresql_that_is_set_counts_as_there(settings, tmp_path):
    (tmp_path / "spool").mkdir()

    machine, parts = machine_roles.belonging(settings(router={"state": "postgresql://db1/bus"}))

    assert machine.seen.startswith("this is a node, a hub with a router; ")
    assert parts == {"services", "spool", "relay", "broker", "publishing", "router"}


def test_a_service_that_runs_says_what_it_does():
    (found,) = services.findings(RUNS)

    assert (found.verdict, found.seen) == (
        "ok",
        "clusterbus-router runs: active; connected to amqps://router@mq1:5671/bus; 12 events a minute, 0 unfinished",
    )


@pytest.mark.parametrize(
    ("old", "new", "seen"),
    [
        ("StatusText=active; ", "StatusText=problem: not ", "clusterbus-router: not connected to amqps"),
        ("ActiveState=active", "ActiveState=failed", "clusterbus-router is failed (success)"),
        ("ActiveState=active", "ActiveState=inactive", "clusterbus-router is inactive (success)"),
    ],
)
def test_a_service_that_does_not_run_or_does_not_work_is_an_error(old, new, seen):
    (found,) = services.findings(RUNS.replace(old, new).replace("NRestarts=0", "NRestarts=7"))

    assert found.verdict == "error"
    assert found.seen.startswith(seen)
    assert found.seen.endswith("; systemd has restarted it 7 times")


@pytest.mark.parametrize(
    "shown",
    [
        RUNS.replace("LoadState=loaded", "LoadState=not-found"),
        RUNS.replace("ActiveState=active", "ActiveState=inactive").replace("=enabled", "=disabled"),
        "",
    ],
)
def test_a_service_that_nobody_wants_here_is_nothing(shown):
    assert list(services.findings(shown)) == []


def taken(*seconds):
    return list(hand_overs._taken("captured → routed", [timedelta(seconds=each) for each in seconds], "records"))


def test_hand_overs_are_told_by_the_middle_and_the_longest():
    (found,) = taken(0.2, 0.1, 5)

    assert (found.verdict, found.seen) == (
        "ok",
        "captured → routed: 0.2s in the middle, at most 5s, of the newest 3 records",
    )
    assert taken() == []


def test_a_hand_over_that_takes_minutes_is_a_warning():
    (found,) = taken(120, 90, 400)

    assert (found.part, found.verdict) == ("hand-overs", "warning")
    assert "2m in the middle, at most 7m" in found.seen


@pytest.mark.parametrize(
    "id_",
    ["7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "rubbish", new_id(NOW - timedelta(days=40))],
    ids=["far in the future", "no id", "forty days ago"],
)
def test_a_clock_that_cannot_be_right_says_nothing(id_):
    assert hand_overs._since_capture(id_, NOW) is None


def test_deliveries_of_changes_of_old_alerts_are_not_late(database):
    """The id of a change has the time when its alert opened."""
    with Store(database("store")) as store, store.writing() as transaction:
        for name, age in (("clusterbus.alertReminded", 5), ("gpfs.diskFailure", 0)):
            started = NOW - timedelta(hours=1)
            delivery = make_delivery(make_event(new_id(started - timedelta(days=age)), type=name))
            attempt = Attempt(delivery, "me", "digest", started, started, Done())
            attempts.claim(transaction, [(attempt, "")])
            attempts.record(transaction, [attempt])

    begun, _ = hand_overs.begun_and_done(database("store"))

    assert begun.verdict == "ok"
    assert begun.seen == "captured → begun: 0s in the middle, at most 0s, of the newest 1 deliveries"


def test_a_database_that_does_not_answer_is_waited_for_once_and_is_out_of_reach():
    limit, forever, asked = TimeLimit(timedelta(seconds=0.1)), threading.Event(), []

    def hang() -> bool:
        asked.append(1)
        return forever.wait()

    found = [examination._in_time("router", "router.state", hang, limit) for _ in range(3)]
    other = examination._in_time("store", "consumers.store", lambda: 1, limit)

    (first, *_) = found
    assert found == [first] * 3
    assert (first.verdict, first.unreachable) == ("error", True)
    assert first.seen == "not known: the database of router.state does not answer within 0.1 s"
    assert (len(asked), other) == (1, 1)
    forever.set()


def test_what_a_database_raises_is_raised():
    with pytest.raises(ZeroDivisionError):
        examination._in_time("router", "router.state", lambda: 1 // 0, TimeLimit())


@pytest.mark.thorough
def test_a_hub_without_the_operators_password_is_asked_only_whether_its_programs_log_in(settings, tmp_path):
    password = str(tmp_path / "password")
    hub = settings(
        broker={"url": "amqps://operator@mq1/bus", "password_file": str(tmp_path / "operators")},
        router={"state": "postgresql://db1/bus", "broker": {"user": "router", "password_file": password}},
        nodes={"relay": {"cluster": "prod"}},
    )

    machine, _ = machine_roles.belonging(hub)
    found = list(examination.examine(hub, None, lambda: pytest.fail("asked as the operator"), {"broker", "publishing"}))

    assert "a management host" not in machine.seen
    assert [each.verdict for each in found if each.part == "broker"] == ["ok", "warning"]
    (tmp_path / "operators").touch()
    assert "a management host" in machine_roles.belonging(hub)[0].seen


@pytest.mark.thorough
def test_a_hub_that_does_not_reach_the_broker_says_so_and_not_that_its_login_is_wrong(settings, tmp_path):
    password = tmp_path / "password"
    password.write_text("secret")
    password.chmod(0o600)
    hub = settings(
        broker={"url": "amqp://127.0.0.1:1/", "password_file": str(tmp_path / "operators"), "patience": "1s"},
        router={"broker": {"user": "router", "password_file": str(password)}},
    )

    found = list(examination.examine(hub, None, lambda: pytest.fail("asked as the operator"), {"broker"}))

    (away,) = [each for each in found if each.verdict == "error"]
    assert away.unreachable
    assert "check that the broker runs" in away.advice
