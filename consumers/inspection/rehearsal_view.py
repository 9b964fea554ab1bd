"""Prints rehearsals for people: one subscription, what it would do, and why; one alert, and who would get it."""

from __future__ import annotations

import json

from router.cli.output import SEVERITIES, Styled, show
from router.model import durations

from ..alerts.life.lifecycle import UNCONFIRMED
from ..expressions.sanitize import shortened
from .alert_preview import AlertPreview
from .dry_run import Rehearsal, does

_SIGNS = {"matched": "✓", "pattern": "·", "own": "·", "filter": "✗", "unclear": "?", "off": "○"}
_STYLES = {"matched": "green", "pattern": "dim", "own": "dim", "filter": "yellow", "unclear": "red", "off": "dim"}
_SHOWN = 2000


def show_one(found: Rehearsal) -> None:
    """Print what one subscription would do."""
    subscription, verdict = found.subscription, found.verdict
    style = _STYLES[verdict.decision]
    word = does(subscription.kind) if verdict.matched else "not delivered"
    shadow = " (shadow mode: recorded, not done)" if verdict.matched and subscription.mode == "shadow" else ""
    show(Styled(f"{_SIGNS[verdict.decision]} {subscription.name}", f"bold {style}"), f"  {word}{shadow}")
    show(f"    because   {verdict.because}")
    if found.refused:
        show(Styled(f"    rejected  becomes a dead letter at once: {found.refused}", "red"))
    if found.unknown:
        show(Styled(f"    effect    unknown on this machine: {found.unknown}", "yellow"))
    for name, value in found.effect.items():
        if value is not None:
            show(shortened(f"    {name:10}{_value(value)}", _SHOWN))
    if found.attempts:
        times = ["at once", *(f"+{durations.text(each)}" for each in found.attempts[1:])]
        show(f"    attempts  {', '.join(times)}")
    for rule in found.rules:
        show(Styled(f"    {rule}", "cyan"))


def show_alert(found: AlertPreview) -> None:
    """Print one alert that an event would open or close."""
    seen = found.sighting
    style = SEVERITIES[seen.severity] if seen.opens else "green"
    word = f"opens an alert, {seen.severity}" if seen.opens else "closes the alert, if it is open"
    show(Styled(f"{'▲' if seen.opens else '▽'} {seen.rule}", f"bold {style}"), f"  {word}")
    if found.claims:
        limit = durations.text(UNCONFIRMED)
        show(f"    condition what another node reported closes when a second one reports the end, or after {limit}")
    about = found.change.data["about"] or [f"cluster={seen.cluster}"]
    show(shortened(f"    about     {', '.join(map(str, about if isinstance(about, list) else [about]))}", _SHOWN))
    if seen.opens:
        show(shortened(f"    summary   {seen.summary}", _SHOWN))
        by = f"by the setting consumers.owners, row {found.owner.number}: {found.owner.what}" if found.owner else ""
        show(f"    owner     {seen.owner or 'nobody'}{f', {by}' if by else ''}")
    receivers = ", ".join(found.receivers) or "no subscription"
    show(f"    sent to   {receivers}")
    if found.suppressors:
        where = f"for {seen.node} or its cluster" if seen.node else f"for cluster {seen.cluster}"
        others = " or ".join(
            f"{rule} (with the same {', '.join(same)})" if same else rule for rule, same in found.suppressors.items()
        )
        show(Styled(f"    muted     while an alert of {others} is open {where}", "cyan"))


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
