"""What is wrong on this machine and with the flow, and what to do about it.  Looks, never touches."""

import fcntl
import os
import stat
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from router.broker.asking import Facts
from router.broker.session import Session
from router.broker.topology import DEAD, INGRESS, REJECTED, UNROUTED, base, queue_of
from router.catalogue import Catalogues
from router.errors import BrokerError, SettingsError, StateError
from router.sections import Settings
from router.state import State

from . import check, letters, surveys
from .errors import StoreError
from .findings import Finding, Verdict
from .store import Store, audit

_OLD = timedelta(minutes=5)
_MANY = 10_000


Known = Mapping[str, Facts | None]
"""What the broker knows of each queue, None where it is not there."""


PARTS = frozenset({"spool", "relay", "subscriptions", "broker", "router", "store", "callbacks", "nodes"})
"""What can be looked at by itself."""


def examine(
    settings: Settings,
    files: Sequence[Path] | None,
    connect: Callable[[], Session],
    parts: Collection[str] = PARTS,
) -> Iterator[Finding]:
    """Look at *parts* of what *settings* name, with the subscriptions of *files* or of the settings."""
    if "spool" in parts:
        yield from spool(settings.shim.spool)
    if "relay" in parts:
        yield from relay(settings.shim.spool)
    names: list[str] = []
    if "subscriptions" in parts:
        report = check.check(files or [settings.consumers.subscriptions], Catalogues.shipped(), settings)
        for each in report.mistakes:
            yield Finding("subscriptions", "wrong", str(each), "mend it; the consumers keep out until then")
        names = [each.name for each in report.subscriptions.subscriptions] if report.subscriptions else []
    if {"broker", "router", "subscriptions"} & set(parts):
        for found in _asked(connect, names):
            # What is unreachable hides all the others.
            if found.unreachable or found.part in {*parts, *names} or (found.part == "letters" and "broker" in parts):
                yield found
    if "router" in parts:
        yield from state(settings.router.state)
    if "store" in parts:
        yield from store(settings.consumers.store)
    if surveys.is_of_cluster(settings):
        yield from surveys.callbacks(settings) if "callbacks" in parts else ()
        yield from surveys.nodes(settings) if "nodes" in parts else ()


def _asked(connect: Callable[[], Session], names: Sequence[str]) -> Iterator[Finding]:
    try:
        known = ask(connect(), [queue.name for queue in base().queues] + [queue_of(name) for name in names])
    except (BrokerError, SettingsError) as error:
        advice = "is it running, and are URL and password right? `clusterbus settings` shows what is used"
        yield Finding("broker", "wrong", str(error), advice, unreachable=True)
    else:
        yield from broker(known)
        yield from subscriptions(known, names)


def ask(session: Session, queues: Sequence[str]) -> Known:
    """Return what the broker knows of *queues*.  Raises BrokerError."""
    with session:
        return {queue: session.queue_facts(queue) for queue in queues}


def spool(folder: Path) -> Iterator[Finding]:
    """Look at this node's spool."""
    if not folder.is_dir():
        yield Finding(
            "spool", "wrong", f"{folder} is not there", "install the shim: the relay's tmpfiles entry makes it"
        )
        return
    missing = [each for each in ("tmp", "new", "bad", "kept") if not (folder / each).is_dir()]
    if missing:
        yield Finding(
            "spool", "wrong", f"{folder} has no {', '.join(missing)}", "systemd-tmpfiles --create, or start the relay"
        )
        return
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & stat.S_IWOTH:
        yield Finding("spool", "wrong", f"{folder} is writable by anybody (mode {mode:o})", f"chmod o-w {folder}")
    waiting = sorted(entry.name for entry in os.scandir(folder / "new"))
    yield _waiting(waiting)
    if bad := sum(1 for entry in os.scandir(folder / "bad") if not entry.name.endswith(".reason")):
        yield Finding("spool", "look", f"{bad} files in bad/", "read the .reason beside each, then remove both")
    yield from _lost(folder / "lost")
    yield from _room(folder)


def _waiting(names: list[str]) -> Finding:
    if not names:
        return Finding("spool", "good", "nothing waits")
    try:
        age = timedelta(seconds=max(0.0, time.time() - int(names[0].partition(".")[0]) / 1e9))
    except ValueError:
        age = timedelta()
    seen = f"{len(names)} records wait, the oldest for {str(age).partition('.')[0]}"
    if age > _OLD or len(names) > _MANY:
        return Finding("spool", "wrong", seen, "is the relay running, and can it reach the broker? see its log")
    return Finding("spool", "good", seen)


def _lost(file: Path) -> Iterator[Finding]:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return
    if lost := sum(content.count(each) for each in (b"f", b"d", b"e")):
        advice = "look for clusterbus-capture in syslog: each is there whole, with the reason"
        yield Finding("spool", "look", f"{lost} callbacks could not be spooled since it was made", advice)


def _room(folder: Path) -> Iterator[Finding]:
    room = os.statvfs(folder)
    free = room.f_bavail * room.f_frsize
    if free < 100 * 2**20:
        yield Finding(
            "spool", "wrong", f"{free // 2**20} MiB left under {folder}", "make room, or capture falls back to syslog"
        )


def relay(folder: Path) -> Iterator[Finding]:
    """Look whether a relay serves the spool: it holds a lock on the folder."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        yield Finding("relay", "wrong", f"its spool cannot be opened: {error}", "run this as root or as clusterbus")
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        yield Finding("relay", "good", "runs")
    else:
        yield Finding("relay", "wrong", "does not run", "systemctl start clusterbus-relay, or clusterbus up")
    finally:
        os.close(descriptor)


def broker(known: Known) -> Iterator[Finding]:
    """Look at the topology and at who reads from it."""
    absent = [queue.name for queue in base().queues if known[queue.name] is None]
    if absent:
        yield Finding(
            "broker", "wrong", f"{len(absent)} queues are not there: {', '.join(absent)}", "clusterbus broker setup"
        )
    else:
        yield Finding("broker", "good", "the topology is there")
    ingress = known[INGRESS]
    if ingress is not None and not ingress.consumers:
        yield Finding(
            "router", "wrong", f"nobody reads {INGRESS}; {ingress.messages} records wait", "start clusterbus router"
        )
    elif ingress is not None:
        verdict: Verdict = "look" if ingress.messages > _MANY else "good"
        yield Finding("router", verdict, f"{ingress.consumers} running (one works), {ingress.messages} records wait")
    for name in (DEAD, REJECTED, UNROUTED):
        facts = known[name]
        if facts is not None and facts.messages and not facts.consumers:
            yield Finding(
                "letters",
                "look",
                f"{facts.messages} wait in {name}",
                "start clusterbus consume: it takes them into the store",
            )


def subscriptions(known: Known, names: Sequence[str]) -> Iterator[Finding]:
    """Look whether each subscription of *names* has its queue and somebody who reads it."""
    for name in names:
        facts = known[queue_of(name)]
        if facts is None:
            yield Finding(name, "wrong", "has no queue", "start clusterbus consume with this file: it makes it")
        elif not facts.consumers:
            yield Finding(
                name, "wrong", f"nobody serves it; {facts.messages} deliveries wait", "start clusterbus consume"
            )
        else:
            yield Finding(name, "good", f"served; {facts.messages} deliveries wait")


def state(url: str) -> Iterator[Finding]:
    """Look at what the router has noted of nodes and their sequences."""
    if _no_file(url):
        yield Finding(
            "router", "look", f"{url} is not there yet", "it is made when the router first runs on this machine"
        )
        return
    try:
        with State(url) as opened:
            facts = opened.facts()
    except StateError as error:
        yield Finding("router", "wrong", str(error), "is there room on its disk, and is it ours?")
        return
    yield Finding("router", "good", f"{facts.records} records became {facts.events} events, {facts.copies} were copies")
    if facts.missing:
        advice = "clusterbus tail 'clusterbus.#' --since 1d shows whose; is that node's relay stuck?"
        yield Finding(
            "nodes", "wrong", f"{facts.missing} records are missing from the sequences of their nodes", advice
        )
    if facts.silent:
        yield Finding(
            "nodes", "look", f"{facts.silent} of {facts.nodes} nodes are silent", "are they down, or their relays?"
        )


def store(url: str) -> Iterator[Finding]:
    """Look at the audit's chain, and at letters that wait for somebody."""
    if _no_file(url):
        yield Finding(
            "store", "look", f"{url} is not there yet", "it is made when a consumer first runs on this machine"
        )
        return
    try:
        with Store(url) as opened:
            with opened.reading() as transaction:
                broken, head = audit.verify(transaction), audit.head(transaction)
            kept = letters.find(opened, limit=_MANY)
    except StoreError as error:
        yield Finding("store", "wrong", str(error), "is there room on its disk, and is it ours?")
        return
    if broken:
        advice = "compare with history or a backup: somebody changed it from here on"
        yield Finding("store", "wrong", f"the audit is broken at row {broken.sequence}: {broken.reason}", advice)
    else:
        yield Finding("store", "good", f"the audit's {head.sequence} events are as they were written")
    if kept:
        yield Finding("letters", "look", f"{len(kept)} letters wait for a decision", "clusterbus dead list")


def _no_file(url: str) -> bool:
    path = url.removeprefix("sqlite:///")
    return path != url and not Path(path).exists()
