"""The demo's output: the current step, each event with its deliveries, the count.  Live on a terminal, else by line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, timedelta
from typing import Self

from router.cli.output import SEVERITIES, Live, Part, Styled

from ...expressions.values import human_texts
from .alert_lines import AlertResult
from .result_counts import ResultCounts

_ROWS = 18
_HEADING = "  alert            about            severity  state    since     for        times  who knows"
_MARKS = {"done": ("✓", "green"), "retry": ("↻", "yellow"), "dead": ("✗", "red"), None: ("…", "dim")}


@dataclass(frozen=True, slots=True)
class Line:
    """One event: how many nodes reported it, and the outcomes so far in each subscription that must receive it."""

    id: str
    time: str
    event: str
    severity: str
    about: str
    node: str
    reports: int
    deliveries: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    rule: str = ""
    """The rule of the alert whose change the event tells, if it does."""
    detail: str = ""
    """What the change is, beside its name."""

    @property
    def ended(self) -> bool:
        """Whether all its deliveries have ended."""
        return all(each and each[-1] in ("done", "dead") for each in self.deliveries.values())

    def parts(self) -> list[Part]:
        """Return the line, in colour."""
        nodes = f"{self.reports} nodes" if self.reports > 1 else self.node
        where = f"{self.rule:<15} {self.detail:<18}" if self.rule else f"{nodes:<9}"
        parts: list[Part] = [
            Styled(f"{self.time[11:19]}  ", "dim"),
            Styled(f"{self.event:<21}", SEVERITIES[self.severity]),
        ]
        parts.append(f"{self.about:<16.16} {where}")
        for subscription, outcomes in self.deliveries.items():
            parts += [f" {subscription} ", *(Styled(*_MARKS[each]) for each in outcomes or (None,))]
        return parts


class Screen:
    """The demo's output; use it as a context manager."""

    def __init__(self, *, err: bool = False) -> None:
        """Print to stdout, or with *err* to stderr."""
        self._live, self._title, self._printed = Live(err=err), "", set[str]()

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the live part; the printed lines stay."""
        self._live.replace([])

    def say(self, text: str) -> None:
        """Show what happens now."""
        self._title = text
        self._live.show(Styled(f"── {text}", "bold"))

    def show(self, lines: Sequence[Line], counts: ResultCounts | None) -> None:
        """Show the current state; *lines* are oldest first."""
        for line in lines:
            if line.ended and line.id not in self._printed:
                self._printed.add(line.id)
                self._live.show(*line.parts())
        waiting = [line.parts() for line in lines if line.id not in self._printed][-_ROWS:]
        count = [[Styled(counted(counts), "bold")]] if counts else []
        self._live.replace([[Styled(f"── now: {self._title}", "dim")], *waiting, *count])

    def show_result(self, counts: ResultCounts, alerts: Sequence[AlertResult], seconds: float) -> None:
        """Print the alerts and the final count."""
        self._show_alerts(alerts)
        lines = (
            (counts.captured, "callbacks captured, by the real capture program, one process each"),
            (counts.copies, "of them were copies of another node's report"),
            (counts.events, "events"),
            (counts.changes, "changes of alerts, which are events too"),
            (counts.delivered, "deliveries done"),
            (counts.retried, "attempts retried"),
            (counts.dead, "dead letters, kept with their reasons"),
        )
        width = max(len(str(number)) for number in (*(each for each, _ in lines), counts.lost))
        self._live.show()
        for number, words in lines:
            self._live.show(f"  {number:>{width}}    {words}")
        self._live.show(Styled(f"  {counts.lost:>{width}}    lost", "bold green" if counts.settled else "bold red"))
        self._live.show(Styled(f"in {seconds:.0f} s", "dim"))

    def _show_alerts(self, alerts: Sequence[AlertResult]) -> None:
        self._live.show()
        self._live.show(Styled(_HEADING, "bold"))
        for each in sorted(alerts, key=lambda each: (each.is_open, each.since)):
            length = human_texts.span(timedelta(seconds=round(each.seconds)))
            self._live.show(
                f"  {each.rule:<16} {each.about:<16.16} ",
                Styled(f"{each.severity:<9}", SEVERITIES[each.severity]),
                Styled(f" {each.state:<8}", "yellow" if each.is_open else "green"),
                f" {each.since.astimezone(UTC):%H:%M:%S}  {length:<10} {each.openings:>5}  {each.knows}",
            )


def counted(counts: ResultCounts) -> str:
    """Return the count in one line.

    >>> counted(ResultCounts(5, 1, 4, 2, 2, 2, owed=2, delivered=1, retried=0, dead=0, changes=0, changes_audited=0))
    'captured 5 · waiting on nodes 1 · copies 2 · events 2 · delivered 1 · retried 0 · dead 0'
    """
    return (
        f"captured {counts.captured} · waiting on nodes {counts.spooled} · copies {counts.copies}"
        f" · events {counts.events} · delivered {counts.delivered} · retried {counts.retried} · dead {counts.dead}"
    )
