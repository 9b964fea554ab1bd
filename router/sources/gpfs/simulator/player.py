"""Plays a scenario in a simulated cluster: each step at its moment, or as soon after it as those before are done.

Steps follow one another, as their effects do: what one changes, the next one meets.  So the highest rate is what the
registered commands and this machine allow; how far the play fell behind is told.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from .cluster import Cluster
from .commands import COMMANDS
from .errors import CommandRefused
from .processes import Run
from .scenarios import Step


@dataclass(frozen=True, slots=True)
class Played:
    """One *step* as it went: the commands that it started, what the mm command said, and how late it began."""

    step: Step
    runs: tuple[Run, ...] = ()
    said: str = ""
    refused: str = ""
    late: timedelta = timedelta()

    @property
    def well(self) -> bool:
        """Whether nothing was refused, and all that was started ended with 0."""
        return not self.refused and all(each.exit_code == 0 for each in self.runs)


def play(
    cluster: Cluster,
    steps: Iterable[Step],
    *,
    speed: float = 1.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Played]:
    """Let *steps* happen in *cluster*, *speed* times as fast as they say, and yield each when it is done.

    A step that the cluster refuses is told as such, and the next one follows.
    """
    begun = clock()
    for step in steps:
        due = begun + step.moment.total_seconds() / speed
        if (early := due - clock()) > 0:
            sleep(early)
        late = timedelta(seconds=max(0.0, clock() - due))
        said: list[str] = []
        try:
            if step.command:
                command, _ = COMMANDS[step.command[0]]
                said.append(command(cluster, step.command[1:], said.append))
                runs: tuple[Run, ...] = ()
            else:
                runs = tuple(cluster.raise_event(step.event, step.values, step.node))
        except CommandRefused as error:
            yield Played(step, refused=str(error), late=late)
        else:
            yield Played(step, runs, "".join(said), late=late)
