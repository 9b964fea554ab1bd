"""The command `clusterbus status`: one screen that says what is wrong now, since when, and who was notified."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from router.cli.app import Json, current, open_session
from router.cli.output import SEVERITIES, Styled, fail, rows, say, show, verdicts
from router.model.events import Severity
from router.terminal_text import counted

if TYPE_CHECKING:
    from ...inspection.status.overview import Overview

_SHOWN_WHEN_WELL = frozenset({"machine", "services", "service-queues", "spool", "router", "nodes", "hand-overs"})
"""The parts of which a line is shown although all is well: what runs where, and what waits."""

_STYLES = {"ok": "green", "warning": "yellow", "error": "red", "unknown": "bold red"}


def status(
    context: typer.Context,
    *,
    severity: Annotated[
        Severity, typer.Option(help="Exit with code 1 while an alert of this severity or a worse one is open.")
    ] = "error",
    nagios: Annotated[
        bool, typer.Option("--nagios", help="Print one line with performance data, as Nagios and Icinga expect it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what is wrong now, what waits and since when, and who was notified; `doctor` says what to do about it."""
    if nagios and as_json:
        fail("--nagios and --json are two forms of one answer: use one of them", 2)
    if nagios:
        _as_plugin(context, severity)
    from ...inspection.status.overview import read  # noqa: PLC0415 - `--help` needs no databases

    overview = read(current(context), partial(open_session, context, "clusterbus-status"))
    if as_json:
        say(overview.as_dict(severity), as_json=True)
    else:
        _show(overview, severity)
    verdict = overview.verdict(severity)
    if overview.unknown:
        raise typer.Exit(3)
    if verdict == "error":
        raise typer.Exit(1)


def _as_plugin(context: typer.Context, severity: Severity) -> None:
    from ...inspection.status import nagios  # noqa: PLC0415 - as above
    from ...inspection.status.overview import read  # noqa: PLC0415 - as above

    try:
        text, code = nagios.line(read(current(context), partial(open_session, context, "clusterbus-status")), severity)
    except Exception as error:  # noqa: BLE001 - a plugin that ends otherwise would say something else than UNKNOWN
        text, code = nagios.failure(f"{type(error).__name__}: {error}")
    show(text)
    raise typer.Exit(code)


def _show(overview: Overview, severity: Severity) -> None:
    _show_alerts(overview)
    errors, warnings = overview.of("error"), overview.of("warning")
    lines = [(each.verdict, each.part, each.seen, "") for each in (*errors, *warnings)]
    lines = [("error", "unknown", each, "") for each in overview.unknown] + lines
    lines += [("warning", "paused", each, "") for each in overview.paused]
    lines += [("ok", "deliveries", each, "") for each in _waiting(overview)]
    well = [each for each in overview.findings if each.verdict == "ok" and each.part in _SHOWN_WHEN_WELL]
    verdicts([*lines, *((each.verdict, each.part, each.seen, "") for each in well)])
    verdict = overview.verdict(severity)
    counts = f"{_alerts(overview)}, {counted(len(errors), 'error')}, {counted(len(warnings), 'warning')}"
    # The doctor says nothing of alerts.
    more = "clusterbus doctor says more" if errors or warnings or overview.unknown else "clusterbus alerts says more"
    said = "all is well" if verdict == "ok" else f"{counts}: {more}"
    show(Styled(verdict, _STYLES[verdict]), f"  {said}")


def _show_alerts(overview: Overview) -> None:
    from ...expressions.values import human_texts  # noqa: PLC0415 - as `status`
    from ...inspection.status.alert_listing import names_of  # noqa: PLC0415 - as `status`

    rows(
        overview.alerts,
        {
            "severity": lambda each: Styled(each.severity, SEVERITIES[each.severity]),
            "age": lambda each: human_texts.span(overview.now - each.since),
            "state": lambda each: f"{each.state} by {each.by}" if each.state == "acknowledged" else each.state,
            "id": lambda each: each.id,
            "notified": lambda each: names_of(overview.notified.get(each.id, {})) or "nobody",
            "alert": lambda each: (
                f"{each.summary or each.rule} ({each.cluster}){' (suppressed)' if each.suppressed_by else ''}"
            ),
        },
        cut=True,
    )
    if (more := sum(overview.counts.values()) - len(overview.alerts)) > 0:
        show(f"and {counted(more, 'alert')} more: clusterbus alerts list")


def _alerts(overview: Overview) -> str:
    if not overview.asked_alerts:
        return "alerts are not asked about on this machine, which has no consumers"
    if not overview.knows_alerts:
        return "it is not known which alerts are open"
    return f"{counted(sum(overview.counts.values()), 'alert')} open"


def _waiting(overview: Overview) -> Iterator[str]:
    from ...expressions.values import human_texts  # noqa: PLC0415 - as `status`

    for each in overview.waiting:
        running = f", {each.running} running" if each.running else ""
        age = human_texts.span(overview.now - each.oldest)
        yield f"{each.subscription}: {each.waiting} waiting{running}, the oldest for {age}"
