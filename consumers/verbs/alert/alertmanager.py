"""Alerts as Alertmanager takes them (API v2), and the silences that it has.  Pure.

Alertmanager recognises an alert by its labels, so they are made of the first change that was published, and stay the
same for its whole life: the label `severity` is that of the opening, the annotation `severity` the present one.  An
alert is open there until `endsAt`; so each one that is open is sent again long before, and ends by itself where nobody
sends it any more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from router.model.ids import is_id

from .alert_change import ACKNOWLEDGED, AlertChange
from .remote_states import RemoteState, parsed_list, text_at

ALERTS = "/api/v2/alerts"
SILENCED = f"{ALERTS}?active=false&inhibited=false&silenced=true&unprocessed=false"
SILENCES = "/api/v2/silences"

LABEL = r"[a-zA-Z_][a-zA-Z0-9_]*"
OWN_LABELS = ("alertname", "cluster", "node", "severity")
LIVES = 4
"""An alert is open in Alertmanager for so many times the interval at which it is sent."""

LARGEST_BATCH, _LARGEST_BODY = 200, 2**20
"""Alerts in one call, and octets, at most."""


def labels_of(first: AlertChange, more: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of the alert whose *first* change this was, with *more* of the site's own."""
    own = {
        "alertname": first.rule,
        "cluster": first.cluster,
        "node": first.node,
        "severity": first.severity,
        "owner": first.owner,
    }
    about = {label_name(name): value for name, value in first.about.items()}
    found = {**more, **own} | about
    # An empty label is the same as no label.
    return {name: value for name, value in found.items() if value}


def label_name(name: str) -> str:
    """Return the label for a value *name* that the alert is about.

    >>> label_name("fsName"), label_name("severity"), label_name("2nd-disk")
    ('fsName', 'about_severity', '_2nd_disk')
    """
    made = re.sub("[^a-zA-Z0-9_]", "_", name)
    made = f"_{made}" if made[:1].isdigit() else made
    return f"about_{made}" if made in OWN_LABELS and made != "node" else made


def annotations_of(change: AlertChange, link: str, more: Mapping[str, str]) -> dict[str, str]:
    """Return what people read about the alert; *more* are annotations of the site's own, *link* is a page about it."""
    own = {
        "summary": change.title,
        "alert": change.alert,
        "severity": change.severity,
        "since": change.since.isoformat(),
        "openings": str(change.openings),
        "opened_by": change.opened_by,
        "event_type": change.event_type,
        "nodes": change.nodes,
        "suppresses": str(change.suppressed) if change.suppressed else "",
        "acknowledged_by": change.by if change.state == ACKNOWLEDGED else "",
        "comment": change.comment,
        "link": link,
    }
    return {name: value for name, value in {**own, **more}.items() if value}


def postable(
    change: AlertChange, now: datetime, every: timedelta, link: str, found: tuple[dict[str, str], dict[str, str]]
) -> dict[str, Any]:
    """Return the alert as Alertmanager takes it *now*, if it is sent again after *every*; *found* has labels and notes.

    One that is closed ends when it was closed, but never after *now* and never before it began: Alertmanager would
    refuse that, and show as open what ends in its future.
    """
    since = min(change.since, now)
    ends = max(since, min(change.until or now, now)) if change.is_closed else now + LIVES * every
    alert: dict[str, Any] = {
        "labels": found[0],
        "annotations": found[1],
        "startsAt": _rfc3339(since),
        "endsAt": _rfc3339(ends),
    }
    return {**alert, "generatorURL": link} if link else alert


def batches(alerts: Iterable[Mapping[str, Any]]) -> Iterator[tuple[list[int], bytes]]:
    """Yield bodies with the *alerts*, few of them; with each, the places of its alerts in the sequence.

    >>> [(places, body) for places, body in batches([{"a": 1}, {"b": 2}])]
    [([0, 1], b'[{"a":1},{"b":2}]')]
    """
    places: list[int] = []
    texts: list[bytes] = []
    size = 0
    for at, each in enumerate(alerts):
        text = json.dumps(each, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        if places and (len(places) >= LARGEST_BATCH or size + len(text) > _LARGEST_BODY):
            yield places, b"[" + b",".join(texts) + b"]"
            places, texts, size = [], [], 0
        places.append(at)
        texts.append(text)
        size += len(text) + 1
    if places:
        yield places, b"[" + b",".join(texts) + b"]"


def silenced(alerts: str, silences: str, wanted: Sequence[str]) -> dict[str, RemoteState]:
    """Return which of the alerts *wanted* a silence mutes, by two answers of Alertmanager: those count as acknowledged.

    *alerts* has those that are muted, *silences* all silences.  Raises ValueError if either cannot be read.
    """
    by_id = {text_at(each, "id"): each for each in parsed_list(silences)}
    found: dict[str, RemoteState] = {each: RemoteState(each, "open") for each in wanted}
    for each in parsed_list(alerts):
        alert = text_at(each, "annotations", "alert")
        muting = each.get("status", {}).get("silencedBy") if isinstance(each.get("status"), dict) else None
        if alert not in found or not is_id(alert) or not isinstance(muting, list) or not muting:
            continue
        silence = by_id.get(str(muting[0]), {})
        author, comment = text_at(silence, "createdBy"), text_at(silence, "comment")
        found[alert] = RemoteState(alert, "acknowledged", author, comment)
    return found


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
