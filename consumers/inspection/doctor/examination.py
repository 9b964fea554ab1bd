"""The checks of `clusterbus doctor`: problems on this machine and in the flow of events, and what to do.

Read-only, except for a probe that nobody but doctor receives.
"""

import functools
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from router.broker.client import Rabbit
from router.broker.history import queue_ages
from router.broker.session import Session
from router.broker.topology import base, subscription
from router.broker.users.broker_state import BrokerState
from router.errors import BrokerError, SettingsError
from router.pipeline.state import Facts as Numbers
from router.pipeline.state import State
from router.settings.models import Settings
from router.settings.site_catalogue import catalogues

from ...config import local_folders
from ...store.database import Store
from ...subscriptions import validation
from ...subscriptions.models import Subscription
from . import broker_cluster, gpfs_cluster, hand_overs, queue_progress, queues, service_queues
from .broker_probe import logins, probe, refusals
from .check_results import Finding
from .databases import read_state, state, store, store_size
from .machine import node
from .machine.machine_roles import belonging, operator_is_elsewhere
from .machine.services import services
from .part_answers import answered, failure
from .queues import alerts, ask, broker, compare, subscriptions
from .time_limit import NoAnswer, TimeLimit

Found = TypeVar("Found")


def examine(
    settings: Settings,
    files: Sequence[Path] | None,
    connect: Callable[[], Session],
    parts: Collection[str] | None = None,
    *,
    whole_audit: bool = False,
) -> Iterator[Finding]:
    """Check *parts* of the installation that *settings* describe; *files* replace the settings' subscriptions.

    Without *parts*, those that belong to this machine.  Of the audit, the newest part is checked, or with *whole_audit*
    all of it, which may take minutes.
    """
    if parts is None:
        machine, parts = belonging(settings)
        yield machine
    served: list[Subscription] = []
    place, limit = settings.shim.spool, TimeLimit()
    # Both parts see one answer, and a disk that hangs is waited for once.
    look = functools.cache(lambda: node.look(place))

    def read_files() -> Iterator[Finding]:
        found, subscribed = _files(settings, files)
        served.extend(subscribed)
        yield from found

    checks: Sequence[tuple[str, Callable[[], Iterable[Finding]]]] = (
        ("services", services),
        ("spool", lambda: node.spool(place, look())),
        ("relay", lambda: node.relay(look())),
        ("subscriptions", read_files),
        (service_queues.PART, lambda: service_queues.read(settings)[0]),
    )
    for part, check in checks:
        yield from answered(part, check) if part in parts else ()
    yield from answered("broker", lambda: _broker(settings, connect, parts, served, limit))
    for part, check in (
        ("publishing" if "router" not in parts else "router", lambda: _state(settings, parts, limit)),
        ("store", lambda: _store(settings, parts, limit, whole_audit=whole_audit)),
        ("callbacks", lambda: gpfs_cluster.examine(settings, {"callbacks"} & set(parts))),
        ("nodes", lambda: gpfs_cluster.examine(settings, {"nodes"} & set(parts))),
    ):
        yield from answered(part, check)


def _broker(
    settings: Settings,
    connect: Callable[[], Session],
    parts: Collection[str],
    served: Sequence[Subscription],
    limit: TimeLimit,
) -> Iterator[Finding]:
    if {"broker", "publishing", "router", "subscriptions", service_queues.PART}.isdisjoint(parts):
        return
    if operator_is_elsewhere(settings):
        seen = "the operator's password is on another machine: run doctor there to check queues and publishing"
        yield Finding("broker", "ok", seen)
        with _quiet():
            found_here = [*logins(settings)]
        yield from found_here
        return
    looked = broker_cluster.look(settings.broker) if "broker" in parts else None
    known = looked if isinstance(looked, BrokerState) else None
    names = {each.name: each.patterns for each in served}
    with _quiet():
        asked = [*_asked(settings, connect, served, known, limit, probed="publishing" in parts)]
    for found in asked:
        # Report an unreachable broker for every part that needs it.
        if found.unreachable or found.part in {*parts, *names} or (found.part == "letters" and "broker" in parts):
            yield found
    if known:
        yield from broker_cluster.examine(known, names if "subscriptions" in parts else None)
    elif isinstance(looked, Finding):
        yield looked


def _state(settings: Settings, parts: Collection[str], limit: TimeLimit) -> Iterator[Finding]:
    if {"publishing", "router"}.isdisjoint(parts):
        return
    url, known = settings.router.state, _in_time("router", State.setting, lambda: _numbers(settings), limit)
    if "publishing" in parts:
        # The part `router` says why the numbers are not known.
        number, since = (known.refusals, known.refused_since) if isinstance(known, Numbers) else (0, None)
        yield from refusals(settings.broker, number, since)
    if "router" in parts and isinstance(known, Numbers):
        found = _in_time("router", State.setting, lambda: [*state(url, known), *hand_overs.routed(url)], limit)
        yield from [found] if isinstance(found, Finding) else found
    elif "router" in parts and isinstance(known, Finding):
        yield known


def _numbers(settings: Settings) -> Numbers | Finding:
    if wrong := local_folders.mistake(settings, State.setting):
        return failure("router", SettingsError(f"{State.setting}: {wrong}"))
    return read_state(settings.router.state)


def _store(settings: Settings, parts: Collection[str], limit: TimeLimit, *, whole_audit: bool) -> Iterator[Finding]:
    if "store" not in parts:
        return
    url = settings.consumers.store

    def read(*, whole: bool = False) -> list[Finding]:
        if wrong := local_folders.mistake(settings, Store.setting):
            return [failure("store", SettingsError(f"{Store.setting}: {wrong}"))]
        found = [*store(url, whole=whole), *store_size(settings.consumers)]
        return found + ([] if any(each.verdict == "error" for each in found) else [*hand_overs.begun_and_done(url)])

    found = _in_time("store", Store.setting, read, limit)
    if isinstance(found, list) and whole_audit:
        # This may take minutes; the database has just answered.
        found = read(whole=True)
    yield from [found] if isinstance(found, Finding) else found


def _last_taken(settings: Settings, limit: TimeLimit) -> datetime | None:
    """Return when the router took its newest record; None where its state does not say, or is not on this machine."""
    found = _in_time("router", State.setting, lambda: hand_overs.last_taken(settings.router.state), limit)
    return None if isinstance(found, Finding) else found


def _in_time(part: str, setting: str, work: Callable[[], Found], limit: TimeLimit) -> Found | Finding:
    """Return what *work* returns, or a finding where the database does not answer within *limit*."""
    try:
        return limit.within(f"the database of {setting}", work)
    except NoAnswer as error:
        return failure(part, error, "check the database's server, or the disk that it is on, and the network to it")


def _files(settings: Settings, files: Sequence[Path] | None) -> tuple[list[Finding], Sequence[Subscription]]:
    """Return what is wrong with the subscription files and the site's catalogue, and the subscriptions."""
    try:
        report = validation.check(files or [settings.consumers.subscriptions], catalogues(settings), settings)
    except SettingsError as error:
        return [failure("subscriptions", error, "fix the file: until then no program starts")], ()
    return list(files_found(report)), report.subscriptions.subscriptions if report.subscriptions else ()


def files_found(report: validation.Report) -> Iterator[Finding]:
    """Return what the *report* on the subscription files says."""
    for each in report.mistakes:
        yield Finding("subscriptions", "error", str(each), "fix it: until then consumers do not load the files")
    for each in report.faults:
        yield Finding("subscriptions", "error", str(each), "fix it: until then this part of the subscription fails")
    for each in report.warnings:
        yield Finding("subscriptions", "warning", str(each), "see whether it is intended")


def _asked(
    settings: Settings,
    connect: Callable[[], Session],
    served: Sequence[Subscription],
    state: BrokerState | None,
    limit: TimeLimit,
    *,
    probed: bool,
) -> Iterator[Finding]:
    found: list[Finding] = []
    services_of_others, names = service_queues.read(settings)[1], {each.name: each.patterns for each in served}
    history = settings.history
    wanted = base(history_age=history.age, history_bytes=history.size)
    for each in served:
        wanted += subscription(each.name, each.patterns, ordered=bool(each.order_by))
    try:
        with connect() as session:
            known = ask(session, [*(each.name for each in wanted.queues), *service_queues.queues(services_of_others)])
            still = queue_progress.standing(session, queues.ready(known))
            found += compare(session, wanted.queues, known)
            found += probe(session) if probed else ()
    except (BrokerError, SettingsError) as error:
        advice = "check that it runs, and check URL and password: `clusterbus settings` shows the effective ones"
        yield replace(failure("broker", error, advice), unreachable=True)
    else:
        yield from broker(known, still, lambda: _last_taken(settings, limit), state)
        yield from found
        yield from logins(settings)
        held = queues.held(known, names, state) | service_queues.held(known, services_of_others, state)
        # Where they are not known, the parts say the rest.
        ages, _ = queue_ages.read(lambda: _client(settings), held)
        yield from subscriptions(known, names, state, ages)
        yield from alerts(known, still) if settings.consumers.alerts.enabled else ()
        yield from service_queues.examine(known, services_of_others, state, ages)
        yield from service_queues.elsewhere(settings.broker, services_of_others)


@contextmanager
def _quiet() -> Iterator[None]:
    """Log nothing about a broker that is unreachable or denies something: a finding says it, once."""
    logger = logging.getLogger("router.broker")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _client(settings: Settings) -> Rabbit:
    return Rabbit(settings.broker.urls(), name="clusterbus-doctor", give_up=settings.broker.patience)
