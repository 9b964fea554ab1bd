"""What a benchmark found, beside its peer, and whether that is what was promised."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One measurement: *ours* beside the *peer*'s of the same run, in *unit*, and the *target* of the *ratio*.

    A target reads ``<= 1.3`` or ``>= 0.8`` (or with the signs of print), may name its unit, and is of *ours* where
    there is no peer.  Any other text promises nothing.
    """

    name: str
    ours: float
    peer: float | None
    ratio: float | None
    target: str
    unit: str

    @property
    def met(self) -> bool | None:
        """Say whether the target is met; None where there is none.

        >>> Row("capture", 13, 10, 1.3, "<= 1.3", "ms").met, Row("latency", 21, None, None, "≤ 20 ms", "ms").met
        (True, False)
        """
        words = self.target.replace("≤", "<=").replace("≥", ">=").split()
        measured = self.ours if self.ratio is None else self.ratio
        match words:
            case ["<=", limit, *_]:
                return measured <= float(limit)
            case [">=", limit, *_]:
                return measured >= float(limit)
        return None


def print_table(rows: Sequence[Row], title: str = "") -> None:
    """Print *rows*, each with a mark for its target."""
    table = Table("what", "ours", "peer", "unit", "ratio", "target", "", title=title or None)
    for column in table.columns[1:3]:
        column.justify = "right"
    for row in rows:
        mark = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}[row.met]
        numbers = ("-" if value is None else f"{value:,.4g}" for value in (row.ours, row.peer))
        ratio = "-" if row.ratio is None else f"{row.ratio:.3g}"
        table.add_row(row.name, *numbers, row.unit, ratio, row.target, mark)
    # Into a file or a log the names are written out: there is no window to fit into.
    Console(width=None if sys.stdout.isatty() else 120).print(table)
