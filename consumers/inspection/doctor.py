"""The checks of `clusterbus doctor`: problems on this machine and in the flow of events, and what to do.

Read-only, except for a probe that nobody but doctor receives.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from sqlalchemy.engine import Connection

from router import database, file_modes
from router.broker.amqp.requests import Facts
from router.broker.session import Session
from router.broker.topology import DEAD, INGRESS_QUEUES, QUARANTINE, REJECTED, UNROUTED, base, queue_of
from router.errors import BrokerError, Denied, NotUpgraded, SettingsError, StateError, VersionError
from router.pipeline.state import Facts as Numbers
from router.pipeline.state import State
from router.settings.models import Settings
from router.settings.site_catalogue import catalogues

from ..config import local_folders
from ..errors import StoreError
from ..store import audit, letters
from ..store.database import Store
from ..subscriptions import validation
from . import doctor_cluster, doctor_spool
from .broker_probe import probe, refusals
from .check_results import PARTS, Finding, Verdict

_MANY = 10_000
_UNSERVED = "start clusterbus consume; where it runs, its log says why it does not serve this subscription"
_CORRECT_IT = "correct it in the settings: `clusterbus settings` shows where it is set"


Known = Mapping[str, Facts | None]
"""The broker's facts of each queue, None if it does not exist; without queues that our user may not read."""


def examine(
    settings: Settings,
    files: Sequence[Path] | None,
    connect: Callable[[], Session],
    parts: Collection[str] = PARTS,
    *,
    whole_audit: bool = False,
) -> Iterator[Finding]:
    """Check *parts* of the installation that *settings* describe; *files* replace the settings' subscriptions.

    Of the audit, the newest part is checked, or with *whole_audit* all of it, which may take minutes.
    """
    yield from doctor_spool.spool(settings.shim.spool) if "spool" in parts else ()
    yield from doctor_spool.relay(settings.shim.spool) if "relay" in parts else ()
    names: list[str] = []
    if "subscriptions" in parts:
        found_here, names = _files(settings, files)
        yield from found_here
    if {"broker", "publishing", "router", "subscriptions"} & set(parts):
        for found in _asked(connect, names, probed="publishing" in parts):
            # Report an unreachable broker for every part that needs it.
            if found.unreachable or found.part in {*parts, *names} or (found.part == "letters" and "broker" in parts):
                yield found
    wrong, known = dict(local_folders.mistakes(settings)), None
    if {"publishing", "router"} & set(parts) and State.setting not in wrong:
        known = read_state(settings.router.state)
    if "publishing" in parts:
        # The part `router` says why the numbers are not known.
        number, since = (known.refusals, known.refused_since) if isinstance(known, Numbers) else (0, None)
        yield from refusals(settings.broker, number, since)
    if "router" in parts:
        yield from state(settings.router.state, known) if known else _misplaced("router", State.setting, wrong)
    if "store" in parts:
        yield from _misplaced("store", Store.setting, wrong) or store(settings.consumers.store, whole=whole_audit)
    yield from doctor_cluster.examine(settings, parts)


def _misplaced(part: str, setting: str, wrong: Mapping[str, str]) -> Sequence[Finding]:
    """Return what is *wrong* with the *setting* of a database, which then needs no other check."""
    reason = wrong.get(setting)
    return [Finding(part, "error", f"{setting}: {reason}", _CORRECT_IT)] if reason else []


def _files(settings: Settings, files: Sequence[Path] | None) -> tuple[list[Finding], list[str]]:
    """Return what is wrong with the subscription files and the site's catalogue, and the names of subscriptions."""
    try:
        report = validation.check(files or [settings.consumers.subscriptions], catalogues(settings), settings)
    except SettingsError as error:
        return [Finding("subscriptions", "error", str(error), "fix the file: until then no program starts")], []
    names = [each.name for each in report.subscriptions.subscriptions] if report.subscriptions else []
    return list(files_found(report)), names


def files_found(report: validation.Report) -> Iterator[Finding]:
    """Return what the *report* on the subscription files says."""
    for each in report.mistakes:
        yield Finding("subscriptions", "error", str(each), "fix it: until then consumers do not load the files")
    for each in report.faults:
        yield Finding("subscriptions", "error", str(each), "fix it: until then this part of the subscription fails")
    for each in report.warnings:
        yield Finding("subscriptions", "warning", str(each), "see whether it is intended")


def _asked(connect: Callable[[], Session], names: Sequence[str], *, probed: bool) -> Iterator[Finding]:
    found: list[Finding] = []
    try:
        with connect() as session:
            known = ask(session, [queue.name for queue in base().queues] + [queue_of(name) for name in names])
            found += probe(session) if probed else ()
    except (BrokerError, SettingsError) as error:
        advice = "check that it runs, and check URL and password: `clusterbus settings` shows the effective ones"
        yield Finding("broker", "error", str(error), advice, unreachable=True)
    else:
        yield from broker(known)
        yield from found
        yield from subscriptions(known, names)


def ask(session: Session, queues: Sequence[str]) -> Known:
    """Return the broker's facts of *queues*, without those that our user may not read.  Raises BrokerError."""
    known: dict[str, Facts | None] = {}
    for queue in queues:
        with suppress(Denied):
            known[queue] = session.queue_facts(queue)
    return known


def broker(known: Known) -> Iterator[Finding]:
    """Check the topology, the routers, and the queues of dead letters."""
    queues = [queue.name for queue in base().queues]
    absent = [name for name in queues if name in known and known[name] is None]
    if absent:
        yield Finding(
            "broker", "error", f"{len(absent)} queues are missing: {', '.join(absent)}", "run clusterbus broker setup"
        )
    else:
        seen = "" if known.keys() >= set(queues) else ", as far as this user may read it"
        yield Finding("broker", "ok", f"the topology is complete{seen}")
    yield from _ingress({name: facts for name in INGRESS_QUEUES if (facts := known.get(name)) is not None})
    for name in (DEAD, REJECTED, UNROUTED):
        facts = known.get(name)
        if facts is not None and facts.messages and not facts.consumers:
            yield Finding(
                "letters",
                "warning",
                f"{facts.messages} letters wait in {name}",
                "start clusterbus consume: it moves them into the store",
            )


def _ingress(queues: Mapping[str, Facts]) -> Iterator[Finding]:
    if not queues:
        return
    waiting = sum(facts.messages for facts in queues.values())
    unread = [name for name, facts in queues.items() if not facts.consumers]
    if unread:
        # A router that lacks rights of this release reads only some of them.
        way_out = "run clusterbus broker setup and clusterbus broker users --apply, then restart the router"
        advice = "start clusterbus router" if len(unread) == len(queues) else way_out
        yield Finding("router", "error", f"no router reads {', '.join(unread)}; records waiting: {waiting}", advice)
    else:
        running = max(facts.consumers for facts in queues.values())
        verdict: Verdict = "warning" if waiting > _MANY else "ok"
        yield Finding("router", verdict, f"routers running: {running} (one active); records waiting: {waiting}")
    if QUARANTINE in queues and (aside := queues[QUARANTINE].messages):
        advice = "clusterbus tail 'clusterbus.*.router.nodeFlooding.#' --since 1d shows which: look at their callbacks"
        yield Finding("nodes", "warning", f"records of nodes that flood, waiting behind the others: {aside}", advice)


def subscriptions(known: Known, names: Sequence[str]) -> Iterator[Finding]:
    """Check whether each subscription of *names* has its queue and a consumer."""
    for name in names:
        facts = known.get(queue_of(name))
        if queue_of(name) not in known:
            advice = "run this as the consumers' user"
            yield Finding(name, "warning", "this broker user may not read its queue", advice)
        elif facts is None:
            yield Finding(
                name, "error", "has no queue", "start clusterbus consume with this file: it creates the queue"
            )
        elif not facts.consumers:
            yield Finding(name, "error", f"has no consumer; {facts.messages} deliveries wait", _UNSERVED)
        else:
            yield Finding(name, "ok", f"served; {facts.messages} deliveries wait")


def read_state(url: str) -> Numbers | Finding:
    """Return the router's state in numbers, or why they are not known."""
    if _is_missing(url, State.setting):
        advice = "the router creates it when it first runs on this machine"
        return Finding("router", "warning", f"{url} does not exist yet", advice)
    try:
        with State(url, upgrade=False) as opened:
            return opened.facts()
    except StateError as error:
        return _unusable("router", error)
    except SettingsError as error:
        return Finding("router", "error", str(error), _CORRECT_IT)


def state(url: str, facts: Numbers | Finding | None = None) -> Iterator[Finding]:
    """Check the router's state: its counts, missing records, and silent nodes; *facts* are what `read_state` returned.

    Without them, it is read here.
    """
    yield from _open_to_others("router", url, State.setting)
    facts = facts or read_state(url)
    if isinstance(facts, Finding):
        yield facts
        return
    yield Finding("router", "ok", f"{facts.records} records became {facts.events} events, {facts.copies} were copies")
    if facts.missing:
        advice = "clusterbus tail 'clusterbus.#' --since 1d shows which nodes: check their relays"
        yield Finding(
            "nodes", "error", f"{facts.missing} records are missing from the sequences of their nodes", advice
        )
    if facts.silent:
        yield Finding(
            "nodes",
            "warning",
            f"{facts.silent} of {facts.nodes} nodes are silent",
            "check these nodes and their relays",
        )


def store(url: str, *, whole: bool = False) -> Iterator[Finding]:
    """Check the audit's chain, its newest part or the *whole*, and whether letters wait for a decision."""
    if _is_missing(url, Store.setting):
        yield Finding(
            "store", "warning", f"{url} does not exist yet", "a consumer creates it when it first runs on this machine"
        )
        return
    yield from _open_to_others("store", url, Store.setting)
    try:
        with Store(url, upgrade=False) as opened, opened.reading() as transaction:
            yield _audit(transaction, whole=whole)
            kept, oldest = letters.count_kept(transaction)
    except StoreError as error:
        yield _unusable("store", error)
        return
    if kept and oldest:
        seen = f"{kept} letters wait for a decision, the oldest since {oldest:%Y-%m-%d %H:%M} UTC"
        yield Finding("letters", "warning", seen, "run clusterbus dead list --group")


def _audit(transaction: Connection, *, whole: bool) -> Finding:
    start, head = audit.start(transaction), audit.head(transaction)
    if whole:
        broken, first = audit.verify(transaction), start.sequence + 1
    else:
        broken, first = audit.verify_newest(transaction)
    if broken:
        advice = "it was changed from this row on: compare it with the history or a backup"
        return Finding("store", "error", f"the audit is broken at row {broken.sequence}: {broken.reason}", advice)
    count, checked = head.sequence - start.sequence, head.sequence - first + 1
    cut = f"; retention deleted the {start.sequence} before them" if start.sequence else ""
    if checked < count:
        seen = f"the newest {checked} of the {count} events of the audit are unchanged{cut}"
        return Finding("store", "ok", f"{seen}; --whole-audit checks all of them")
    return Finding("store", "ok", f"the {count} events of the audit are unchanged{cut}")


def _unusable(part: str, error: StateError | StoreError) -> Finding:
    if isinstance(version := error.__cause__, VersionError):
        verdict: Verdict = "warning" if isinstance(version, NotUpgraded) else "error"
        return Finding(part, verdict, version.problem, version.way_out)
    return Finding(part, "error", str(error), "check the space on its disk, and its owner and mode")


def _open_to_others(part: str, url: str, setting: str) -> Iterator[Finding]:
    with suppress(SettingsError):  # opening it says what is wrong
        if found := file_modes.open_to_others(database.files(database.parsed(url, setting))):
            names = " ".join(map(str, found))
            advice = f"chmod o-rwx {names}; the program that writes it does so when it starts as the owner"
            yield Finding(part, "warning", f"all users of this machine can access {names}", advice)


def _is_missing(url: str, setting: str) -> bool:
    try:
        return not database.exists(database.parsed(url, setting))
    except SettingsError:
        return False  # opening it says what is wrong
