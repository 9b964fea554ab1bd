"""The demo's alerts: each change as a line among the events, and the alerts as they are at the end.  Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from router.model.events import Event, Severity

from ...alerts.alert_row import AlertRow
from ...expressions.values import alert_values, human_texts

_LONGEST = 2
"""How many values of what an alert is about are shown: the others are ids."""

_CAUSES = {"fact": " (facts)", "quiet": " (quiet)"}


@dataclass(frozen=True, slots=True)
class AlertResult:
    """How an alert ended, or that it is still open, and who knows of it; *seconds* is how long it was open."""

    rule: str
    about: str
    severity: Severity
    state: str
    since: datetime
    seconds: float
    openings: int
    knows: str

    @property
    def is_open(self) -> bool:
        """Whether it is still open."""
        return self.state != "closed"


def title(event: Event) -> str:
    """Return in two words what the change *event* of an alert is."""
    is_suppressed = event.name == "alertOpened" and alert_values.suppressed_by(event)
    return f"alert {'suppressed' if is_suppressed else event.name.removeprefix('alert').lower()}"


def about(event: Event) -> str:
    """Return what the alert of the change *event* is about, shortly: its node, else the first values."""
    return str(event.data.get("nodes") or _joined(alert_values.about(event.data).items()))


def detail(event: Event, rules: Mapping[str, str]) -> str:
    """Return what the change *event* of an alert says; *rules* gives the rules of alerts by their ids."""
    data = event.data
    match event.name:
        case "alertOpened" if other := alert_values.suppressed_by(event):
            return f"by {rules.get(other, other)}"
        case "alertOpened":
            return event.severity
        case "alertRepeated":
            return f"{data.get('openings')} times"
        case "alertAcknowledged":
            return f"by {data.get('by')}: {data.get('comment')}"
        case "alertClosed":
            return f"after {_span(data)}{_CAUSES.get(str(data.get('cause')), '')}"
    return ""


def result(row: AlertRow, now: datetime, told: Sequence[str], rules: Mapping[str, str]) -> AlertResult:
    """Return how the alert *row* stands *now*; *told* are the subscriptions that notified people of it."""
    parent = row.suppressed_by and rules.get(row.suppressed_by, row.suppressed_by)
    known = [row.by, *told] if row.by else [*told]
    knows = ", ".join(known) or (f"nobody, suppressed by {parent}" if parent else "nobody")
    seconds = ((row.until or now) - row.since).total_seconds()
    what = row.nodes or _joined(row.about)
    return AlertResult(row.rule, what, row.severity, row.state, row.since, seconds, row.openings, knows)


def _joined(pairs: Iterable[tuple[str, object]]) -> str:
    return "/".join(str(value) for _, value in islice(pairs, _LONGEST))


def _span(data: Mapping[str, object]) -> str:
    since, until = (datetime.fromisoformat(str(data.get(each))) for each in ("since", "until"))
    return human_texts.span(until - since)
