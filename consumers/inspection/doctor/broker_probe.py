"""Proves that the broker takes messages and delivers them, by a message of our own that nobody else receives.

A queue of its own is bound for the moment to `clusterbus.retry` and `clusterbus.return`, by a key and a header that no
other queue is bound by; it expires by itself if this program is killed.  `clusterbus.ingress` and `clusterbus.events`
are not probed: whatever is published there reaches the router, history and subscriptions.  The alarms of the broker and
the confirms of its quorum queues are the same for all exchanges.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from router.broker.addresses import parse
from router.broker.interface import Message, Settlement
from router.broker.probe_queue import probe_queue
from router.broker.session import Session
from router.broker.size_limit import SETTING, wrong_limit
from router.broker.topology import EVENTS, OWN_EVENTS, RETRY, RETURN, Binding
from router.broker.users.admin_clients import observer
from router.broker.users.refusing_queues import RefusingQueue, left_behind, refusing
from router.errors import BrokerError, Refused, SettingsError, Unreachable
from router.model.ids import new_id
from router.settings.models import Settings
from router.settings.sections.logins import BrokerSettings, ProgramLogin
from router.terminal_text import counted

from ...config.program_logins import unreadable
from .check_results import Finding

_LIMIT = timedelta(seconds=10)
"""A broker on a busy machine takes seconds; one that takes more than these is in trouble."""
_HEADER = "doctor"
_MOST = 20
"""How many queues are named."""

PROGRAMS = {"router": "router", "consumers": "consume"}
"""The sections with a login of their own, and the command that uses it."""


def probe(session: Session) -> Iterator[Finding]:
    """Publish and read back a probe through each exchange for which our user may do both."""
    try:
        yield _finding(session)
        if wrong := wrong_limit(session):
            yield Finding("publishing", "warning", wrong, f"write {SETTING!r} into the broker's rabbitmq.conf")
    except Unreachable as error:
        advice = "records wait on the nodes until then; `rabbitmq-diagnostics alarms` at the broker names its alarms"
        yield Finding("publishing", "error", str(error), advice)
    except BrokerError as error:
        yield Finding("publishing", "error", f"a probe failed: {error}", "see the broker's log")


def logins(settings: Settings) -> Iterator[Finding]:
    """Check for each program that logs in as a user of its own whether it can, as far as this machine knows."""
    for section, command in PROGRAMS.items():
        login = getattr(settings, section).broker
        if login == ProgramLogin():
            continue
        name = f"{section}.broker"
        if closed := unreadable(settings, section):
            for setting, reason in closed:
                yield Finding("broker", "error", f"{setting}: {reason}", "until then the program does not start")
            continue
        try:
            with Session(settings.urls(section), name="clusterbus-doctor", limit=settings.broker.patience):
                yield Finding("broker", "ok", f"{name}: {login.user or login.certfile} can log in")
        except SettingsError as error:
            # The program may run on another machine, which has the file.
            yield Finding("broker", "warning", str(error), f"it is needed where clusterbus {command} runs")
        except Unreachable as error:
            advice = "check that the broker runs, and the network to it: `clusterbus settings` shows its URL"
            yield Finding("broker", "error", f"{name}: {error}", advice, unreachable=True)
        except BrokerError as error:
            advice = "run clusterbus broker users --apply, and restart the program where the password is new"
            yield Finding("broker", "error", f"{name}: {error}", advice)


def refusals(settings: BrokerSettings, refused: int, since: datetime | None) -> Iterator[Finding]:
    """Name the queues that refuse messages, or are bound as by earlier releases, as far as this machine can look.

    The router has seen queues of others refuse *refused* events *since* then; 0 if they refuse none.
    """
    vhost = parse(settings.url[0]).vhost
    try:
        bindings, found = _look(settings, vhost)
        why = ""
    except (BrokerError, SettingsError) as error:
        bindings, found, why = [], [], str(error)
    yield from _left_behind(bindings, vhost)
    yield from (_refusing_finding(each, vhost) for each in found[:_MOST])
    if len(found) > _MOST:
        seen = f"{len(found) - _MOST} more queues have a limit and refuse messages once they are full"
        yield Finding("publishing", "warning", seen, "look at the queues above first")
    if refused and since and not any(each.is_full and not each.is_ours for each in found):
        seen = f"queues that are not ours have refused {counted(refused, 'event')} since {since:%Y-%m-%d %H:%M} UTC"
        advice = (
            "no such queue is full now: its owner reads too slowly, or it answers nothing, as without a majority of its"
            " replicas; look for queues bound to clusterbus.events with a length limit and x-overflow reject-publish,"
            " and for those whose nodes are down"
        )
        if why:
            seen += f"; their names are not known: {why}"
            advice = (
                "run clusterbus doctor --part publishing on a host of the broker as root, or set broker.management:"
                " it names them"
            )
        yield Finding("publishing", "error", seen, advice)


def _look(settings: BrokerSettings, vhost: str) -> tuple[list[Binding], list[RefusingQueue]]:
    broker = observer(settings.control, settings.management, settings.management_password_file)
    if broker is None:
        raise Refused(f"this machine has no {settings.control[0]}")
    bindings = broker.bindings(vhost)
    if not any(each.exchange == EVENTS for each in bindings):
        raise Refused(f"the broker that can be looked into has no {EVENTS} in the virtual host {vhost!r}")
    return bindings, refusing(broker.queues(vhost), bindings, broker.definitions(), vhost)


def _left_behind(bindings: list[Binding], vhost: str) -> Iterator[Finding]:
    queues = left_behind(bindings)
    lone = [name for name, has_moved in queues.items() if not has_moved]
    both = [name for name, has_moved in queues.items() if has_moved]
    advice = (
        "run clusterbus broker users --apply and clusterbus broker setup, then restart the consumers, and the routers"
        " after them; a subscription that no consumer serves: clusterbus subscriptions remove NAME"
    )
    if lone:
        seen = (
            f"our queues in {vhost!r} are bound to {EVENTS}, not to {OWN_EVENTS}, and count as those of others: they"
            f" lose events that they refuse: {_named(lone)}"
        )
        yield Finding("publishing", "error", seen, advice)
    if both:
        seen = (
            f"our queues in {vhost!r} are still bound to {EVENTS} beside {OWN_EVENTS}: they get each event twice while"
            f" a queue of others refuses events: {_named(both)}"
        )
        yield Finding("publishing", "warning", seen, advice)


def _named(names: list[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(repr(each) for each in names[:_MOST]) + more


def _refusing_finding(queue: RefusingQueue, vhost: str) -> Finding:
    how = f"by policy {queue.cause!r}" if queue.cause else "by its arguments"
    limit = f"{queue.limit} {queue.unit}, reject-publish, {how}"
    whose = f"our queue {queue.name!r}" if queue.is_ours else f"queue {queue.name!r}, which is not ours,"
    where = f"in {vhost!r} gets messages of {queue.exchange}"
    if queue.is_full:
        seen = f"{whose} {where} and refuses them: it is full ({limit})"
    else:
        seen = f"{whose} {where} and will refuse them once it is full ({limit})"
    if queue.is_ours:
        advice = "remove this limit: while the queue refuses, nothing is lost, but all events wait"
    elif queue.exchange == EVENTS:
        advice = (
            "ask its owner to read it, to use x-overflow drop-head, or to delete it; our own queues get every event,"
            " this one misses what it refuses"
        )
    else:
        advice = f"unbind it: nobody but clusterbus may bind a queue to {queue.exchange}; everything waits for it"
    return Finding("publishing", "error" if queue.is_full else "warning", seen, advice)


def _finding(session: Session) -> Finding:
    # Whoever publishes learns of an alarm, even if the message has nowhere to go, or may not go there.
    session.publish([_message("", "")], limit=_LIMIT)
    with probe_queue(session, _bindings) as (name, bound):
        ways = [each for each in (RETRY, RETURN) if each in bound]
        if not ways:
            seen = "the broker blocks nothing; not proven: this user may not declare a queue for a probe"
            return Finding("publishing", "ok", seen)
        settled = dict(zip(ways, session.publish([_message(each, name) for each in ways], limit=_LIMIT), strict=True))
        sent = [each for each in ways if settled[each] is Settlement.CONFIRMED]
        arrived = {each.exchange for each in session.receive(name, len(sent), limit=_LIMIT)} if sent else set()
    if lost := [each for each in sent if each not in arrived]:
        seen = f"a probe was published through {' and '.join(lost)}, and did not arrive within {_LIMIT.seconds} s"
        return Finding(
            "publishing", "error", seen, "see the broker's log, and `rabbitmq-queues` about its quorum queues"
        )
    if not sent:
        return Finding("publishing", "ok", "the broker blocks nothing; not proven: this user may not publish a probe")
    unproven = [each for each in (RETRY, RETURN) if each not in sent]
    seen = f"a probe was published and read back through {' and '.join(sent)}"
    if unproven:
        seen += f"; not proven: {' and '.join(unproven)}, where this user may not"
    return Finding("publishing", "ok", seen)


def _bindings(name: str) -> tuple[Binding, ...]:
    return Binding(RETRY, name, name), Binding(RETURN, name, "", {"x-match": "all", _HEADER: name})


def _message(exchange: str, name: str) -> Message:
    return Message(exchange, name, b"{}", new_id(), "probe", "application/json", {_HEADER: name})
