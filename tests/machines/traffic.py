"""Events that flow through a whole site, and the balance of them: what was captured is published, delivered, recorded.

Each event has a number of its own on its node.  The nodes note what capture has promised to keep, a handler on the hubs
notes each call, the history has what was published, and the store what was recorded.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tests.machines.rig import BROKERS, DATABASE, HUBS, MANAGEMENT, NODES, Rig
from tests.waiting import wait_for

EVENT, SUBSCRIPTION = "lowDiskSpace", "balance"
PATIENCE = 300.0
_SOME = 20
_SLOWLY, _QUICKLY, _MANY = 0.05, 0.01, 1000
_LOOK = 1.0
"""Seconds between two looks: each runs commands in six containers."""

_CAPTURED, _CALLED = "/var/lib/captured", "/var/log/clusterbus/called"
_UNIT, _ENOUGH = "traffic.service", "/run/enough"
_HANDLER = f"""
import time

def note(event):
    with open("{_CALLED}", "a") as file:
        file.write(f"{{event.node}} {{event.data['storagePool']}} {{event.id}} {{time.time()}}\\n")
"""
_SUBSCRIPTION = f"""
  - name: {SUBSCRIPTION}
    on: {EVENT}
    call: {{function: "balance:note"}}
"""
_LOOP = f"""
# Captures as capture-gpfs does, each time in a process of its own; forked, as an interpreter takes ten times as long.
import os, sys, time
run, number, count, pause = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
here = "/usr/libexec/clusterbus"
files = [f"{{here}}/capture.py", f"{{here}}/capture-gpfs"]
sys.path.insert(0, here)
known = None
while number < count or not os.path.exists("{_ENOUGH}"):
    words = ["{EVENT}", "--fsName", "gpfs1", "--storagePool", f"{{run}}.{{number}}"]
    began = time.time()
    try:
        found = [(os.stat(each).st_ino, os.stat(each).st_mtime_ns) for each in files]
        if found != known:
            sys.modules.pop("capture", None)
            script = dict(__name__="capture_gpfs", __file__=files[1])
            exec(open(files[1]).read(), script)
            import capture
            known = found
    except OSError:
        known = None  # it is being replaced
    child = os.fork()
    if child == 0:
        if known is None:
            os.execv(files[1], ["capture-gpfs", *words])
        capture.main([*script["OPTIONS"], "gpfs", *words])
    if os.waitpid(child, 0)[1] == 0:
        with open("{_CAPTURED}", "a") as noted:
            noted.write(f"{{run}}.{{number}} {{began}}\\n")
    number += 1
    time.sleep(pause if number < count else {_SLOWLY})
"""
_RECORDED = f"""
COPY (SELECT event_id, ended FROM deliveries WHERE subscription = '{SUBSCRIPTION}' AND outcome = 'done') TO STDOUT
"""


@dataclass
class Balance:
    """What became of the events of one run, each known as `NODE NUMBER`."""

    captured: dict[str, float] = field(default_factory=dict)
    """What capture has promised to keep, and when it began."""
    called: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """When the handler was called."""
    ids: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Under which ids it was published or delivered."""
    published: set[str] = field(default_factory=set)
    recorded: dict[str, float] = field(default_factory=dict)
    """What the store has as done, and since when."""
    kept_since: float = 0.0
    """When the store was restored: it need not have what was captured before."""
    repeated: set[str] = field(default_factory=set)
    """For what the handler was called after the store had it as done, or what is there as done twice."""

    @property
    def lost(self) -> set[str]:
        """What was captured, and not published, not delivered or not recorded."""
        unrecorded = {each for each, at in self.captured.items() if at >= self.kept_since} - self.recorded.keys()
        return unrecorded | (self.captured.keys() - (self.published & self.called.keys()))

    @property
    def two_ids(self) -> set[str]:
        """What has more than one id."""
        return {number for number, ids in self.ids.items() if len(ids) > 1}

    def longest(self, since: float, without: str = "") -> float:
        """Return how long the slowest event took from its capture, after *since* and not on *without*, to its call."""
        took = [
            min(self.called[each]) - at
            for each, at in self.captured.items()
            if at >= since and each in self.called and not each.startswith(f"{without} ")
        ]
        return max(took, default=0.0)

    def check(self) -> None:
        """Fail unless nothing is lost, has two ids or was repeated."""
        wrong = {name: sorted(getattr(self, name))[:10] for name in ("lost", "two_ids", "repeated")}
        assert not any(wrong.values()), wrong


class Traffic:
    """Events from all nodes of *rig* under the name *run*, from `begin` to `end`, and at least *count* from each.

    Between two of these, each node waits for a moment, which is shorter where they are many.
    """

    def __init__(self, rig: Rig, run: str, count: int) -> None:
        self.rig, self.run, self.count = rig, run, count
        self.pause = _SLOWLY if count < _MANY else _QUICKLY
        self._began = datetime.now(UTC)

    @staticmethod
    def prepare(rig: Rig) -> None:
        """Let both hubs note each call, and forget earlier ones."""
        for host, file in (*((node, _CAPTURED) for node in NODES), *((hub, _CALLED) for hub in HUBS)):
            rig[host].call("truncate", "--no-create", "--size=0", file)
        for host in (MANAGEMENT, *HUBS):
            rig[host].write("/etc/clusterbus/handlers/balance.py", _HANDLER)
            file = "/etc/clusterbus/subscriptions.yaml"
            text = rig[host].run("cat", file)
            if _SUBSCRIPTION not in text:
                rig[host].write(file, text + _SUBSCRIPTION)
        queue = f"clusterbus.sub.{SUBSCRIPTION}"
        wait_for(lambda: consumers_of(rig, queue) == sorted(HUBS), PATIENCE, "both hubs serve it")

    def begin(self, nodes: Sequence[str] = NODES) -> None:
        """Begin on *nodes*, or go on there after a restart."""
        for node in nodes:
            noted = self.rig[node].call("sh", "-c", f"grep -c '^{self.run}[.]' {_CAPTURED}").stdout.strip()
            # One more may have been captured and not noted.
            first = int(noted) + 1 if int(noted or 0) else 0
            words = ("python3", "-c", _LOOP, self.run, str(first), str(self.count), str(self.pause))
            self.rig[node].run("systemd-run", "--quiet", "--collect", f"--unit={_UNIT}", *words)

    def end(self, kept_since: float = 0.0) -> Balance:
        """Let the nodes stop; return the balance when all has come through, to the store what is since *kept_since*."""
        for node in NODES:
            self.rig[node].run("touch", _ENOUGH)
        for node in NODES:
            is_active = ("systemctl", "is-active", _UNIT)
            wait_for(lambda: self.rig[node].call(*is_active).returncode, PATIENCE, f"{node} is done", pause=_LOOK)  # noqa: B023
            self.rig[node].run("rm", _ENOUGH)
        wait_for(lambda: not self._missing(), PATIENCE, "everything was delivered", pause=_LOOK)
        wait_for(lambda: not self.balance(kept_since).lost, PATIENCE, "everything was recorded", pause=_LOOK)
        return self.balance(kept_since)

    def flows(self, since: float, without: str = "") -> None:
        """Wait until all that was captured before *since*, and 20 that were later, are handled; except by *without*."""

        def came_through() -> bool:
            called, captured = self._called().called, self._captured()
            others = {each: at for each, at in captured.items() if not each.startswith(f"{without} ")}
            later = sum(at >= since for each, at in others.items() if each in called)
            return later >= _SOME and all(each in called for each, at in others.items() if at < since)

        wait_for(came_through, PATIENCE, "events flow", pause=_LOOK)

    def balance(self, kept_since: float = 0.0) -> Balance:
        """Return what became of all events so far."""
        found = self._called()
        found.kept_since = kept_since
        found.captured = self._captured()
        rig, numbers = self.rig, {each: number for number, ids in found.ids.items() for each in ids}
        hours = (datetime.now(UTC) - self._began) + timedelta(minutes=1)
        words = (f"gpfs.*.*.{EVENT}.#", "--since", f"{int(hours.total_seconds())}s ago", "--no-follow", "--json")
        for line in rig[MANAGEMENT].run("clusterbus", "--log-level", "ERROR", "tail", *words).splitlines():
            event = json.loads(line)
            if self._is_ours(event["data"].get("storagePool", "")):
                number = f"{event['node']} {event['data']['storagePool']}"
                found.published.add(number)
                found.ids[number].add(event["id"])
        psql = ("runuser", "-u", "postgres", "--", "psql", "--quiet", "--command", _RECORDED, "clusterbus-consumer")
        for line in rig[DATABASE].run(*psql).splitlines():
            event_id, ended = line.split("\t")
            if number := numbers.get(event_id):
                if number in found.recorded:
                    found.repeated.add(number)
                found.recorded[number] = datetime.fromisoformat(ended).timestamp()
        found.repeated |= {each for each, at in found.recorded.items() if max(found.called[each], default=0.0) > at}
        return found

    def _is_ours(self, number: str) -> bool:
        return number.startswith(f"{self.run}.")

    def _missing(self) -> set[str]:
        return self._captured().keys() - self._called().called.keys()

    def _captured(self) -> dict[str, float]:
        found = {}
        for node in NODES:
            for line in self.rig.lines(node, _CAPTURED):
                number, _, began = line.partition(" ")
                if self._is_ours(number):
                    found[f"{node} {number}"] = float(began)
        return found

    def _called(self) -> Balance:
        found = Balance()
        for hub in HUBS:
            for line in self.rig.lines(hub, _CALLED):
                words = line.split(" ")
                if len(words) == 4 and self._is_ours(words[1]):
                    number = f"{words[0]} {words[1]}"
                    found.called[number].append(float(words[3]))
                    found.ids[number].add(words[2])
        return found


def api(rig: Rig, path: str) -> object:
    """Return what the management API of a broker that answers says to *path*."""
    script = (
        'curl --silent --fail --max-time 10 --cacert /etc/clusterbus/ca.pem --user "clusterbus-administrator:$1" "$2"'
    )
    password = rig[MANAGEMENT].run("cat", "/etc/clusterbus/secrets/administrator").strip()
    for broker in BROKERS:
        said = rig[MANAGEMENT].call("sh", "-c", script, "sh", password, f"https://{broker}:15671/api/{path}")
        if said.returncode == 0:
            return json.loads(said.stdout)
    return None


def consumers_of(rig: Rig, queue: str, *, active: bool = False) -> list[str]:
    """Return the machines whose programs consume from *queue*; with *active*, only the one that gets its messages."""
    found = api(rig, f"queues/clusterbus/{queue}")
    addresses = {rig.address(host): host for host in HUBS}
    return sorted(
        addresses.get(each["channel_details"].get("peer_host"), "?")
        for each in (found or {}).get("consumer_details", ())
        if each["active"] or not active
    )


def leader_of(rig: Rig, queue: str) -> str:
    """Return the broker that leads *queue*."""
    found = api(rig, f"queues/clusterbus/{queue}")
    return str((found or {}).get("leader", "")).rpartition("@")[2]
