"""Machines of a site that are killed, frozen, cut off or lose their power while events flow from all nodes.

Nothing is lost, has two ids, or is done again after it was finished.  In the suite, only faults that end soon; with
`--rig-faults --rig-events 5000 -s`, all of them with more events, and a line for each as README has them.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests import containers
from tests.machines.rig import BROKERS, DATABASE, Rig
from tests.machines.traffic import PATIENCE, SUBSCRIPTION, Traffic, consumers_of, leader_of
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(1700)

NODE = "nsd01"


def a_node(rig: Rig) -> str:
    return NODE


def active_hub(rig: Rig) -> str:
    """The hub whose router gets the records of most nodes."""
    queues = [f"clusterbus.ingress.{shard}" for shard in range(1, 9)]
    hubs = [hub for queue in queues for hub in consumers_of(rig, queue, active=True)]
    return max(hubs, key=hubs.count)


def standby_hub(rig: Rig) -> str:
    return next(each for each in ("hub1", "hub2") if each != active_hub(rig))


def leading_broker(rig: Rig) -> str:
    return leader_of(rig, f"clusterbus.sub.{SUBSCRIPTION}")


def database(rig: Rig) -> str:
    return DATABASE


PROGRAMS = {
    NODE: ("systemctl", "kill", "--signal=KILL", "clusterbus-relay"),
    "hub1": ("systemctl", "kill", "--signal=KILL", "clusterbus-router", "clusterbus-consume"),
    "hub2": ("systemctl", "kill", "--signal=KILL", "clusterbus-router", "clusterbus-consume"),
    **dict.fromkeys(BROKERS, ("pkill", "-KILL", "beam.smp")),
    DATABASE: ("sh", "-c", "pkill -KILL postgres; systemctl restart postgresql@17-main"),
}


def kill(rig: Rig, host: str) -> None:
    rig[host].run(*PROGRAMS[host])


def freeze(rig: Rig, host: str) -> None:
    # It takes several tries where processes begin and end all the time.
    wait_for(lambda: containers.call("pause", rig[host].name).returncode == 0, PATIENCE, f"{host} is frozen")


def thaw(rig: Rig, host: str) -> None:
    containers.run("unpause", rig[host].name)


def cut_power(rig: Rig, host: str) -> None:
    containers.run("kill", rig[host].name)


def boot(rig: Rig, host: str) -> None:
    containers.run("start", rig[host].name)


def filtered(rig: Rig, host: str, *words: str) -> None:
    """Change the packet filter of *host*, which may have no program for that."""
    place = ("--network", f"container:{rig[host].name}", "--cap-add", "NET_ADMIN", "--rm")
    containers.run("run", *place, containers.run("inspect", "--format={{.Image}}", rig[NODE].name).strip(), *words)


def part(rig: Rig, host: str) -> None:
    """Let *host* and the other brokers not hear of each other; all programs reach all of them."""
    others = ",".join(rig.address(each) for each in BROKERS if each != host)
    rules = f"iptables -A INPUT -s {others} -j DROP && iptables -A OUTPUT -d {others} -j DROP"
    filtered(rig, host, "sh", "-ec", rules)


def deafen(rig: Rig, host: str) -> None:
    """Let *host* hear nothing of the other brokers, which hear what it sends; all programs reach all of them."""
    others = ",".join(rig.address(each) for each in BROKERS if each != host)
    filtered(rig, host, "iptables", "-A", "INPUT", "-s", others, "-j", "DROP")


def join(rig: Rig, host: str) -> None:
    filtered(rig, host, "iptables", "-F")


def nothing(rig: Rig, host: str) -> None:
    """It comes back by itself."""


@dataclass(frozen=True)
class Fault:
    what: str
    whose: Callable[[Rig], str]
    harm: Callable[[Rig, str], None]
    mend: Callable[[Rig, str], None]
    soon: bool = False
    """Whether events flow again within seconds."""
    lasts: float = 0.0
    """How many seconds it lasts at least: until the others have noticed, or where nothing else does the work."""
    may_repeat: bool = False
    """Whether it goes on, once thawed, with calls that it had begun to make, and that others have made since."""


FAULTS = [
    Fault("relay of a node killed", a_node, kill, nothing),
    Fault("node frozen", a_node, freeze, thaw),
    Fault("node loses its power", a_node, cut_power, boot),
    Fault("programs of the active hub killed", active_hub, kill, nothing, soon=True),
    Fault("active hub frozen", active_hub, freeze, thaw, may_repeat=True),
    Fault("active hub loses its power", active_hub, cut_power, boot),
    Fault("programs of the standby killed", standby_hub, kill, nothing),
    Fault("standby frozen", standby_hub, freeze, thaw, may_repeat=True),
    Fault("standby loses its power", standby_hub, cut_power, boot),
    Fault("leading broker killed", leading_broker, kill, nothing),
    Fault("leading broker frozen", leading_broker, freeze, thaw),
    Fault("leading broker loses its power", leading_broker, cut_power, boot, soon=True),
    Fault("leading broker parted from the others", leading_broker, part, join, lasts=60),
    Fault("leading broker hears none of the others", leading_broker, deafen, join, lasts=60),
    Fault("database killed", database, kill, nothing),
    Fault("database frozen for 30 s", database, freeze, thaw, lasts=30),
    Fault("database loses its power", database, cut_power, boot),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what.replace(" ", "-"))
def test_nothing_is_lost_or_done_twice_beside(fault, rig, follow, pytestconfig, capsys):
    if not fault.soon and not pytestconfig.getoption("--rig-faults"):
        pytest.skip("it takes long: --rig-faults")
    follow("Raise a first event")
    Traffic.prepare(rig)
    host = fault.whose(rig)
    count = pytestconfig.getoption("--rig-events")
    traffic = Traffic(rig, f"f{FAULTS.index(fault)}", count)
    traffic.begin()
    traffic.flows(time.time())

    began = time.time()
    fault.harm(rig, host)
    harmed = time.time()
    wait_for(lambda: time.time() > harmed + fault.lasts, PATIENCE, "the fault has lasted")
    if fault.whose is not database:
        traffic.flows(harmed, without=host)
    fault.mend(rig, host)
    if (fault.whose, fault.harm) == (a_node, cut_power):
        rig.wait_booted(host)
        traffic.begin([host])
    traffic.flows(time.time())
    balance = traffic.end()

    with capsys.disabled():
        events, longest = len(balance.captured), balance.longest(began, without=host)
        print(f"| {fault.what} | {events:,} | {longest:.1f} s | {len(balance.repeated)} |")
    if fault.may_repeat:
        balance.repeated.clear()
    balance.check()
