"""The commands that validate and describe: `check`, `catalogue`; `doctor` for what runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from router.cli.app import Json, current, loaded, open_session
from router.cli.catalogue import event_names, show_types, sources
from router.cli.output import block, fail, say, verdicts
from router.settings import site_catalogue
from router.terminal_text import counted

from ..inspection.doctor.check_results import PARTS
from .options import Files

if TYPE_CHECKING:
    from router.settings.yaml_documents import Place

    from ..config.registrations import Registrations
    from ..subscriptions.models import RuleEntry


def check(context: typer.Context, files: Files = None, as_json: Json = False) -> None:
    """Validate settings, subscriptions and the catalogue file; one run reports all mistakes."""
    from router.services import service_files  # noqa: PLC0415 - only `check` reads these

    from ..inspection.test_runner import try_all  # noqa: PLC0415 - `catalogue` needs no templates
    from ..subscriptions import validation  # noqa: PLC0415 - as above

    wanted = current(context)
    catalogues, known = site_catalogue.read(wanted.router.catalogue)
    report = validation.check(
        files or [wanted.consumers.subscriptions],
        catalogues,
        wanted,
        try_tests=try_all,
        try_rule_tests=_failures,
    )
    for warning in (*loaded(context).ignored, *known):
        say({"kind": "warning", "message": warning}, as_json=as_json, text=f"warning: {warning}")
    for kind, found in (("error", (*report.mistakes, *report.faults)), ("warning", report.warnings)):
        for each in found:
            say({"kind": kind, **asdict(each)}, as_json=as_json, text=f"{kind}: {each}")
    wanted_services = service_files.read(wanted.services.folder, catalogues)
    for kind, lines in (("error", wanted_services.mistakes), ("warning", wanted_services.warnings)):
        for line in lines:
            say({"kind": kind, "message": line}, as_json=as_json, text=f"{kind}: {line}")
    if report.subscriptions is None or report.faults or wanted_services.mistakes:
        raise typer.Exit(1)
    count, rules = len(report.subscriptions.subscriptions), len(report.subscriptions.rules)
    text = f"ok: {count} subscriptions" + (f", {counted(rules, 'rule')} of alerts" if rules else "")
    say({"kind": "ok", "subscriptions": count, "rules": rules}, as_json=as_json, text=text)


def _failures(entry: RuleEntry, registrations: Registrations) -> Iterator[tuple[Place, str]]:
    """Yield where the tests of a rule of alerts fail, and how."""
    if entry.tests:
        from ..inspection import rule_tests  # noqa: PLC0415 - few files have such tests

        yield from rule_tests.failures(entry, registrations)


def catalogue(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="An event type; by default all.", autocompletion=event_names)
    ] = None,
    source: Annotated[str | None, typer.Option(help="Only of this source.", autocompletion=sources)] = None,
    *,
    page: Annotated[bool, typer.Option("--page", help="Print a page in Markdown of everything.")] = False,
    as_json: Json = False,
) -> None:
    """Show event types and their variables."""
    if not page:
        show_types(site_catalogue.catalogues(current(context)), name, source, as_json=as_json)
        return
    if name or source or as_json:
        fail("--page prints everything: omit the event type, --source and --json", 2)
    from ..config import catalogue_page  # noqa: PLC0415 - a list needs no page
    from ..config.registrations import Registrations  # noqa: PLC0415 - only the page has samples

    settings = current(context)
    block(catalogue_page.page(Registrations.of_site(site_catalogue.catalogues(settings), settings)))


def doctor(
    context: typer.Context,
    files: Files = None,
    part: Annotated[
        list[str] | None,
        typer.Option(help=f"Check only this part: {', '.join(sorted(PARTS))}; may be repeated."),
    ] = None,
    *,
    whole_audit: Annotated[
        bool, typer.Option("--whole-audit", help="Check the chain of the whole audit, not only of its newest events.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check what belongs to this machine, as a node, hub or management host: report problems, and how to fix them."""
    if strange := set(part or ()) - PARTS:
        fail(f"--part {min(strange)}: use one of {', '.join(sorted(PARTS))}", 2)
    from ..inspection.doctor.examination import examine  # noqa: PLC0415 - `check` needs no databases

    session = partial(open_session, context, "clusterbus-doctor")
    found = list(examine(current(context), files, session, part or None, whole_audit=whole_audit))
    for each in found if as_json else ():
        say(asdict(each), as_json=True)
    if not as_json:
        verdicts((each.verdict, each.part, each.seen, each.advice) for each in found)
    if any(each.unreachable for each in found):
        raise typer.Exit(3)
    if any(each.verdict == "error" for each in found):
        raise typer.Exit(1)
