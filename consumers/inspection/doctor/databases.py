"""The checks of `clusterbus doctor` on the databases: the router's state and the consumers' store."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from sqlalchemy.engine import Connection

from router import database, file_modes
from router.errors import SettingsError, StateError
from router.pipeline.state import Facts as Numbers
from router.pipeline.state import State
from router.settings.models import ConsumersSettings
from router.terminal_text import counted

from ...errors import StoreError
from ...store import audit, breakers, letters
from ...store.alerts import outbox, receiver_health
from ...store.alerts.receiver_health import ReceiverHealth
from ...store.database import Store
from ...store.retention import deleted_records, old_rows
from .check_results import Finding, waiting
from .part_answers import failure

_NAMED = 20
"""Targets that are named at most."""

_WORST = 5
"""Users that are named of whom rejected records were deleted, at most."""

_READ = 1000
"""Receivers of alerts that are looked at, at most."""

_PUBLISHED_WITHIN = timedelta(minutes=1)
"""How long an event of our own may wait for its publication: who publishes it looks every few seconds."""


def read_state(url: str) -> Numbers | Finding:
    """Return the router's state in numbers, or why they are not known."""
    if _is_missing(url, State.setting):
        advice = "the router creates it when it first runs on this machine"
        return Finding("router", "warning", f"{url} does not exist yet", advice)
    try:
        with State(url, upgrade=False) as opened:
            return opened.facts()
    except (StateError, SettingsError) as error:
        return failure("router", error)


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
        advice = (
            "clusterbus nodes gaps lists them: check the relays of these nodes; if these records are lost for good,"
            " clusterbus nodes gaps NODES --accept --comment WHY"
        )
        count = f"at least {facts.missing}" if facts.missing_is_least else f"{facts.missing}"
        yield Finding("nodes", "error", f"{count} records are missing from the sequences of their nodes", advice)
    if facts.silent:
        yield Finding(
            "nodes",
            "warning",
            f"{facts.silent} of {facts.nodes} nodes are silent",
            "check these nodes and their relays",
        )
    for each in facts.dismissed:
        whose = each.user or "no validated user"
        when = f"from {_utc(each.since)} to {_utc(each.latest)}"
        seen = f"not kept: {counted(each.count, 'rejected record')} of {whose}, {when}"
        advice = "look at those that were: clusterbus dead list; then correct or stop what publishes them"
        yield Finding("nodes", "warning", seen, advice)
    if facts.outbox_since and datetime.now(UTC) - facts.outbox_since > _PUBLISHED_WITHIN:
        since = f"the oldest since {_utc(facts.outbox_since)}"
        seen = f"not published: {counted(facts.outbox, 'event')} of the router itself, {since}"
        yield Finding("router", "error", seen, "start clusterbus router; where it runs, its log says what hinders it")


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
            gone = breakers.gone(transaction, _NAMED)
            unpublished = outbox.oldest_unpublished(transaction)
            receivers = receiver_health.find(transaction, _READ)
            deleted = deleted_records.worst(transaction, _WORST)
    except StoreError as error:
        yield failure("store", error)
        return
    for each in gone:
        since = f" since {each.opened:%Y-%m-%d %H:%M} UTC" if each.opened else ""
        advice = f"end the subscription, or let it go on: clusterbus breakers close '{each.target}'"
        yield Finding("breakers", "error", f"{each.target} is gone, and deliveries wait{since}: {each.reason}", advice)
    if kept and oldest:
        seen = f"{waiting(kept, 'letter')} for a decision, the oldest since {oldest:%Y-%m-%d %H:%M} UTC"
        yield Finding("letters", "warning", seen, "run clusterbus dead list --group")
    for one in deleted:
        yield _deleted(one)
    if unpublished and datetime.now(UTC) - unpublished > _PUBLISHED_WITHIN:
        seen = f"changes of alerts are not published since {unpublished:%Y-%m-%d %H:%M} UTC"
        yield Finding("store", "error", seen, "start clusterbus consume; where it runs, its log says what hinders it")
    yield from alert_receivers(receivers, datetime.now(UTC))


def _deleted(each: deleted_records.Deleted) -> Finding:
    whose = "no validated user" if each.user == "-" else f"user {each.user}"
    when = f"from {_utc(each.since)} to {_utc(each.latest)}"
    most = f"only its latest {old_rows.MOST_OF_PUBLISHER:,} are kept"
    seen = f"{counted(each.count, 'rejected record')} of {whose} {'was' if each.count == 1 else 'were'} deleted {when}"
    advice = "look at those that are kept: clusterbus dead list; then correct or stop what publishes them"
    return Finding("letters", "warning", f"{seen}: {most}", advice)


def store_size(settings: ConsumersSettings) -> Iterator[Finding]:
    """Check whether the store, and the audit in it, are larger than *settings* want."""
    with suppress(StoreError, SettingsError), Store(settings.store, upgrade=False) as opened:
        with opened.reading() as transaction:
            audited, others = old_rows.sizes(transaction)
            kept, _ = letters.count_kept(transaction)
            has_retention = old_rows.octets(transaction) is not None
        stays = f"what is younger than a week, and what waits for a decision ({counted(kept, 'letter')}), stays"
        if others > settings.keep_size:
            seen = f"the store without the audit takes {_gigabytes(others)}, more than consumers.keep_size"
            ways = "run clusterbus dead list --group, or raise it"
            if not has_retention:
                ways += "; on PostgreSQL only keep_deliveries, keep_letters and keep_alerts limit the rest"
            yield Finding("store", "warning", f"{seen} ({_gigabytes(settings.keep_size)}); {stays}", ways)
        if audited > settings.keep_audit_size:
            seen = f"the audit takes {_gigabytes(audited)}, more than consumers.keep_audit_size"
            seen += f" ({_gigabytes(settings.keep_audit_size)}); what is younger than a week is not deleted"
            yield Finding("store", "warning", seen, "raise it, or set keep_audit to less")


def _gigabytes(octets: int) -> str:
    return f"{octets / 1e9:.1f} GB"


def alert_receivers(found: Sequence[ReceiverHealth], now: datetime) -> Iterator[Finding]:
    """Check whether the systems that alerts are kept in answer, by what consumers wrote of them until *now*."""
    failing = [each for each in found if each.has_failed_for_long(now)]
    reached = {each.subscription for each in found if each.purpose == "send" and each.failing_since is None}
    for each in failing[:_NAMED]:
        yield _failing(each, is_reached=each.subscription in reached)
    if len(failing) > _NAMED:
        yield Finding("alert-receivers", "error", f"{len(failing) - _NAMED} more receivers of alerts do not answer")
    silent = [each for each in found if each not in failing and each.is_out_of_date(now)]
    for each in silent[:_NAMED]:
        seen = f"nobody knows whether {each.address} answers: no consumer has tried since {_utc(each.tried)}"
        advice = (
            f"start clusterbus consume where {each.subscription} is served; if that subscription is gone,"
            f" clusterbus subscriptions remove {each.subscription}"
        )
        yield Finding("alert-receivers", "warning", f"{each.subscription}: {seen}", advice)
    answered = [each.succeeded for each in found if each.failing_since is None and each not in silent]
    if times := [each for each in answered if each]:
        seen = f"{counted(len(times), 'receiver')} of alerts answered, each at {_utc(min(times))} or later"
        yield Finding("alert-receivers", "ok", seen)


def _failing(each: ReceiverHealth, *, is_reached: bool) -> Finding:
    since = f"since {_utc(each.failing_since)} (last success: {_utc(each.succeeded)}): {each.error}"
    if each.purpose == "follow":
        seen = f"{each.subscription}: {each.address} does not say what people did to alerts {since}"
        advice = "correct the token or the address, or see whether it answers here; acts of people wait until then"
        return Finding("alert-receivers", "warning", seen, advice)
    seen = f"{each.subscription}: open alerts do not reach {each.address} {since}"
    advice = "see whether it runs and can be reached from the consumers; they send all open alerts once it answers"
    return Finding("alert-receivers", "warning" if is_reached else "error", seen, advice)


def _utc(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else "never"


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
