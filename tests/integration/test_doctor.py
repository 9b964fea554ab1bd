"""What the doctor proves on a real broker: that it takes and delivers messages; and what it says if it does not."""

import re
import signal
import time
from pathlib import Path

import pytest

from consumers.inspection.doctor.broker_probe import probe
from router.broker.session import Session
from router.broker.topology import DEAD, HISTORY, INGRESS, UNROUTED, base, subscription
from router.broker.users.permissions import Role, User, definitions
from router.errors import Refused, Unreachable
from tests.operating import invoke, json_lines
from tests.rabbit import keeps_queues_in_mnesia
from tests.routing import Site
from tests.waiting import SLACK


@pytest.fixture
def set_up(vhost_url):
    """The topology, with a subscription to everything."""
    with Session(vhost_url, name="test") as session:
        session.declare(base() + subscription("all", ["#"]))


def probed(url):
    with Session(url, name="test-doctor") as session:
        return list(probe(session))


def test_a_probe_is_published_and_read_back_and_reaches_nobody(vhost_url, set_up, tap):
    found = probed(vhost_url)[0]

    assert (found.verdict, found.seen) == (
        "ok",
        "a probe was published and read back through clusterbus.retry and clusterbus.return",
    )
    names = [INGRESS, HISTORY, DEAD, UNROUTED, "clusterbus.sub.all"]
    with Session(vhost_url, name="test") as session:
        assert {name: session.queue_facts(name).messages for name in names} == dict.fromkeys(names, 0)


@pytest.mark.long
@pytest.mark.parametrize(
    ("role", "said"),
    [
        (Role.CONSUMER, "read back through clusterbus.return; not proven: clusterbus.retry"),
        (Role.ROUTER, "not proven: this user may not declare a queue"),
        (Role.NODE, "not proven: this user may not declare a queue"),
        (Role.OPERATOR, "read back through clusterbus.retry and clusterbus.return"),
    ],
)
def test_what_a_user_may_not_do_is_said_not_to_be_proven(vhost, vhost_url, set_up, rabbit_admin, role, said):
    name = f"{vhost}-{role.name.lower()}"
    granted = definitions([User(name, role, "secret")], vhost=vhost)
    rabbit_admin.call("POST", "definitions", body=granted)
    url = vhost_url.replace(vhost_url.split("//")[1].split("@")[0], f"{name}:secret")

    found = probed(url)[0]

    assert found.verdict == "ok"
    assert said in found.seen
    with Session(vhost_url, name="test") as session:
        assert session.queue_facts(UNROUTED).messages == 0
    rabbit_admin.delete_user(name)


@pytest.mark.long
def test_a_queue_that_the_broker_has_lost_is_named_and_made_again_by_the_page(own_broker, tmp_path):
    page = Path("router/broker/README.md").read_text().partition("## A queue that the broker cannot reach")[2]
    (mending,) = re.findall(r"^    rabbitmqctl eval '(.*)'$", page, re.MULTILINE)
    name = f'rabbit_misc:r(<<"/">>, queue, <<"{HISTORY}">>)'
    settings = {"CLUSTERBUS_BROKER": own_broker.url, "CLUSTERBUS_CONSUMERS_SUBSCRIPTIONS": str(tmp_path / "none.yaml")}
    set_up = ("broker", "setup", "--json")
    assert invoke(settings, *set_up)[0] == 0
    if not keeps_queues_in_mnesia(own_broker):
        pytest.skip("this RabbitMQ keeps no queues in Mnesia, so it always reaches those of its own node")
    own_broker.ctl("eval", f"mnesia:dirty_delete(rabbit_queue, {name}).")

    _, output = invoke(settings, "doctor", "--part", "broker", "--json")
    found = [each for each in json_lines(output) if each["verdict"] == "error"]
    assert [each["seen"] for each in found] == [
        f"the broker cannot reach queues, which get nothing and give nothing: {HISTORY}"
    ]
    with pytest.raises(Refused, match=f"queue {HISTORY}: NOT_FOUND"):
        invoke(settings, *set_up)

    own_broker.ctl("eval", mending.replace('<<"clusterbus">>, queue', '<<"/">>, queue'))
    assert invoke(settings, *set_up)[0] == 0
    with Session(own_broker.url, name="test") as session:
        assert session.queue_facts(HISTORY).messages == 0


@pytest.mark.long
@pytest.mark.timeout(180)
def test_a_broker_that_is_low_on_memory_is_named_at_once_by_doctor_and_emit(own_broker, tmp_path):
    with Session(own_broker.url, name="test") as session:
        session.declare(base())
    settings = {"CLUSTERBUS_BROKER": own_broker.url, "CLUSTERBUS_CONSUMERS_SUBSCRIPTIONS": str(tmp_path / "none.yaml")}
    own_broker.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
    begun = time.monotonic()

    code, output = invoke(settings, "doctor", "--part", "publishing", "--json")
    took = time.monotonic() - begun

    (blocked,) = [each for each in json_lines(output) if each["verdict"] == "error"]
    assert code == 1
    assert "the broker blocks publishing (low on memory)" in blocked["seen"]
    assert took < 8 * SLACK

    begun = time.monotonic()
    with pytest.raises(Unreachable, match=r"the broker blocks publishing \(low on memory\): it confirmed nothing"):
        invoke(settings | {"CLUSTERBUS_BROKER_PATIENCE": "3s"}, "emit", "gpfs", "mount", "fsName=gpfs1")
    assert time.monotonic() - begun < 7 * SLACK


def test_doctor_says_of_each_program_whether_it_can_log_in_as_its_own_user(
    vhost, vhost_url, set_up, rabbit_admin, tmp_path
):
    router = f"{vhost}-router"
    granted = definitions([User(router, Role.ROUTER, "secret")], vhost=vhost)
    rabbit_admin.call("POST", "definitions", body=granted)
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("secret\n")
    right.chmod(0o600)
    wrong.write_text("another\n")
    wrong.chmod(0o600)

    def said(router_file, consumer_file):
        settings = {
            "CLUSTERBUS_BROKER": vhost_url,
            "CLUSTERBUS_CONSUMERS_SUBSCRIPTIONS": str(tmp_path / "none.yaml"),
            "CLUSTERBUS_ROUTER_BROKER_USER": router,
            "CLUSTERBUS_ROUTER_BROKER_PASSWORD_FILE": str(router_file),
            "CLUSTERBUS_CONSUMERS_BROKER_USER": router,
            "CLUSTERBUS_CONSUMERS_BROKER_PASSWORD_FILE": str(consumer_file),
        }
        _, output = invoke(settings, "doctor", "--part", "broker", "--json")
        return [(each["verdict"], each["seen"]) for each in json_lines(output) if ".broker" in each["seen"]]

    good, refused = said(right, wrong)
    (absent, _) = said(tmp_path / "none", right)

    assert good == ("ok", f"router.broker: {router} can log in")
    assert refused[0] == "error"
    assert refused[1].startswith("consumers.broker: ")
    assert router in refused[1]
    assert absent[0] == "warning"
    assert absent[1].startswith(
        f"router.broker.password_file: {tmp_path / 'none'}: No such file or directory on this machine"
    )
    rabbit_admin.delete_user(router)


@pytest.mark.long
@pytest.mark.timeout(120)
def test_a_router_that_stands_still_is_not_called_good(tmp_path, vhost_url, rabbit_admin):
    settings = {"CLUSTERBUS_BROKER": vhost_url, "CLUSTERBUS_ROUTER_STATE": f"sqlite:///{tmp_path / 'router.db'}"}

    def said():
        _, output = invoke(settings, "doctor", "--part", "broker", "--part", "router", "--json")
        return [each for each in json_lines(output) if each["part"] == "router" and "reads all" in each["seen"]]

    with Site(tmp_path, vhost_url, rabbit_admin) as site:
        node = site.node("n1")
        site.send(node.record("mount", "--fsName", "fs0"))
        site.wait_for_events(1)
        assert [each["verdict"] for each in said()] == ["ok"]

        site.router.process.send_signal(signal.SIGSTOP)
        # More than the router takes without acknowledging one.
        site.send_many([node.record("mount", "--fsName", f"fs{number}") for number in range(1, 2600)])
        (found,) = said()

    assert found["verdict"] == "warning"
    assert "the newest record that it took came" in found["seen"]
    assert "systemctl restart clusterbus-router" in found["advice"]
