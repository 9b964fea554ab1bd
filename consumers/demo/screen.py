"""What the demo shows: the act, each event with who got it, the count.  Live on a terminal, elsewhere line by line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from router.command import SEVERITIES

from .books import Books

_ROWS = 18
_MARKS = {"done": ("✓", "green"), "retry": ("↻", "yellow"), "dead": ("✗", "red"), None: ("…", "dim")}


@dataclass(frozen=True, slots=True)
class Line:
    """One event: how many nodes reported it, and for each subscription that asks for it the outcomes so far."""

    id: str
    time: str
    event: str
    severity: str
    about: str
    node: str
    reports: int
    deliveries: Mapping[str, Sequence[str | None]] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether nothing is to come for it."""
        return all(each and each[-1] in ("done", "dead") for each in self.deliveries.values())

    def text(self) -> Text:
        """Return it in colour, one line."""
        nodes = f"{self.reports} nodes" if self.reports > 1 else self.node
        text = Text(f"{self.time[11:19]}  ", style="dim")
        text.append(f"{self.event:<21}", style=SEVERITIES[self.severity])
        text.append(f"{self.about:<16.16} {nodes:<9}")
        for subscription, outcomes in self.deliveries.items():
            text.append(f" {subscription} ")
            for outcome in outcomes or (None,):
                mark, style = _MARKS[outcome]
                text.append(mark, style=style)
        return text


class Screen:
    """The demo's output; use it as a context manager."""

    def __init__(self, console: Console) -> None:
        """Show on *console*."""
        self._console = console
        self._live = Live(console=console, refresh_per_second=8, transient=True) if console.is_terminal else None
        self._title, self._printed = "", set[str]()

    def __enter__(self) -> Self:
        """Begin."""
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End; what was live is taken away, the lines are printed to stay."""
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        """Tell what happens now."""
        self._title = text
        self._console.print(Text(f"── {text}", style="bold"))

    def show(self, lines: Sequence[Line], books: Books | None) -> None:
        """Show the state of things; *lines* are oldest first."""
        for line in lines:
            if line.ended and line.id not in self._printed:
                self._printed.add(line.id)
                self._console.print(line.text(), soft_wrap=True)
        if self._live:
            waiting = [line for line in lines if line.id not in self._printed][-_ROWS:]
            self._live.update(Panel(Group(*self._parts(waiting, books)), title=self._title, title_align="left"))

    @staticmethod
    def _parts(waiting: Sequence[Line], books: Books | None) -> list[RenderableType]:
        parts: list[RenderableType] = [line.text() for line in waiting]
        if books:
            parts.append(Text(counted(books), style="bold"))
        return parts

    def close_books(self, books: Books, seconds: float) -> None:
        """Print the last count."""
        table = Table(box=None, show_header=False, padding=(0, 2))
        table.add_column(justify="right")
        table.add_column()
        for number, words in (
            (books.captured, "callbacks captured, by the real capture, one process each"),
            (books.copies, "of them were copies of what another node had reported"),
            (books.events, "events"),
            (books.delivered, "deliveries done"),
            (books.retried, "attempts retried"),
            (books.dead, "dead letters, kept with their reasons"),
        ):
            table.add_row(str(number), words)
        style = "bold green" if books.settled else "bold red"
        table.add_row(Text(str(books.lost), style=style), Text("lost", style=style))
        self._console.print()
        self._console.print(table)
        self._console.print(f"in {seconds:.0f} s", style="dim")


def counted(books: Books) -> str:
    """Return the count in one line.

    >>> counted(Books(5, spooled=1, records=4, copies=2, events=2, audited=2, owed=2, delivered=1, retried=0, dead=0))
    'captured 5 · waiting on nodes 1 · copies 2 · events 2 · delivered 1 · retried 0 · dead 0'
    """
    return (
        f"captured {books.captured} · waiting on nodes {books.spooled} · copies {books.copies} · events {books.events}"
        f" · delivered {books.delivered} · retried {books.retried} · dead {books.dead}"
    )
