"""The command `clusterbus actions run`: a person runs an action, with its guards, and it is audited."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import typer

from router.cli.app import Json, current, who
from router.cli.output import block, fail, fields, note, say, show
from router.model import durations, node_words, topics
from router.settings.models import Settings
from router.settings.site_catalogue import catalogues

from ...config.event_samples import Kinds
from ...config.registrations import Registrations
from ...deliveries import DeadLetter, Delivery, Done, Outcome, Skipped, Waiting
from ...errors import ManualRunError, Rejected, SubscriptionsError
from ...manual_runs.requests import Place, delivery_for, subscription_for, values_of
from ...subscriptions.models import Subscription
from ...verbs.interface import Handler, Surroundings
from .catalogue_commands import Name, actions_app, named

_NOT_IN_TIME = 3


@actions_app.command()
def run(
    context: typer.Context,
    name: Name,
    *,
    with_: Annotated[
        list[str] | None, typer.Option("--with", help="A value, as NAME=VALUE; a list has commas. May be repeated.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    limit: Annotated[
        str | None, typer.Option(help="Stop waiting after this time, such as 10m; by default, when guards do.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="The cluster that it is about; by default that of the setting facts.cluster.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run an action by hand, with its guards: 0 done, 1 failed, refused or skipped, 3 not finished in time."""
    settings, action, now = current(context), named(context, name).action, datetime.now(UTC)
    try:
        values = values_of(action, with_ or ())
        until = None if limit is None else now + durations.parse(limit)
    except (ManualRunError, ValueError) as error:
        fail(str(error), 2)
    place = Place(
        topics.word(cluster or settings.facts.cluster), node_words.word_of(socket.gethostname()) or topics.ABSENT
    )
    delivery = delivery_for(action, values, who(), place, catalogues(settings), now)
    subscription = subscription_for(action, values)
    if dry_run:
        _rehearse(subscription, delivery, settings, as_json=as_json)
        return
    _show(_outcome(subscription, delivery, settings, until), delivery, as_json=as_json)


def _outcome(subscription: Subscription, delivery: Delivery, settings: Settings, until: datetime | None) -> Outcome:
    # `list`, `show` and a dry run need none of these.
    from ...delivery.active_subscription import serve  # noqa: PLC0415
    from ...delivery.outcome_events import OutcomeEvents  # noqa: PLC0415
    from ...expressions.facts_cache import FactsCache  # noqa: PLC0415
    from ...manual_runs.manual_run import ManualRun  # noqa: PLC0415
    from ...store.database import Store  # noqa: PLC0415

    facts = FactsCache(settings)
    with Store(settings.consumers.store) as store, facts.kept(), _stopping() as stopping:
        surroundings = Surroundings(subscription.name, stopping, settings)
        active = serve(subscription, surroundings, facts)
        try:
            clock = partial(datetime.now, UTC)
            manual = ManualRun(active, delivery, store, OutcomeEvents(settings, clock), clock)
            return manual.run(stopping, until, note)
        finally:
            active.close()


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Give a flag that Ctrl-C sets, and the end of the terminal or of the machine."""
    flag = threading.Event()
    ending = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {each: signal.signal(each, lambda *_: flag.set()) for each in ending}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _rehearse(subscription: Subscription, delivery: Delivery, settings: Settings, *, as_json: bool) -> None:
    """Print what would be done; nothing is asked of the store, and nothing is written."""
    from ...inspection.dry_run import rules  # noqa: PLC0415 - as above
    from ...subscriptions.fact_use import looked_up  # noqa: PLC0415 - idem

    delivery = replace(delivery, known=looked_up(settings, [subscription], delivery.event))
    plan: Mapping[str, Any] = {}
    refused = ""
    try:
        handler: Handler = subscription.verb.handler(Surroundings(subscription.name, settings=settings))
        plan = handler.plan(delivery)
        handler.close()
    except Rejected as error:
        refused = str(error)
    except SubscriptionsError as error:
        refused = "; ".join(each.message for each in error.mistakes)
    told = list(rules(subscription))
    kinds = Kinds(Registrations.of_site(catalogues(settings), settings))
    missing = [each.message for each in subscription.verb.remarks_here(kinds, settings)]
    for each in missing:
        note(f"missing here: {each}")
    if as_json:
        say({"effect": dict(plan), "rules": told, "refused": refused, "missing": missing}, as_json=True)
    else:
        fields((name, _text(value)) for name, value in plan.items() if value is not None)
        for each in told:
            show(each)
    if refused:
        fail(f"refused: {refused}")


def _show(outcome: Outcome, delivery: Delivery, *, as_json: bool) -> None:
    word, reason = _told(outcome)
    result: dict[str, Any] = dict(outcome.result)
    if as_json:
        facts = {"id": delivery.event.id, "subscription": delivery.subscription}
        say({**facts, "outcome": word, "reason": reason, "result": result}, as_json=True)
    else:
        show(f"{word}: {reason}" if reason else word)
        steps = [each for part in ("steps", "always") for each in result.pop(part, ())]
        for each in (*steps, result):
            _show_command(each)
    if not isinstance(outcome, Done):
        raise typer.Exit(_NOT_IN_TIME if isinstance(outcome, Waiting) else 1)


def _show_command(found: Mapping[str, Any]) -> None:
    """Print what a command did, or a step: its outputs after everything else."""
    if "name" in found:
        show(f"--- step {found['name']}: {found.get('state')}")
    outputs = ("output", "errors")
    fields((name, _text(each)) for name, each in found.items() if name not in (*outputs, "name", "state"))
    for each in (each for name in outputs for each in found.get(name, ())):
        block(f"--- {each['nodes']}\n{each['text']}")


def _told(outcome: Outcome) -> tuple[str, str]:
    match outcome:
        case Done(reason=reason):
            return "done", reason
        case Skipped(word=word, reason=reason):
            return word, reason
        case DeadLetter(reason=reason):
            return "failed", reason
        case _:
            return "unfinished", outcome.reason


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
