"""Plays a scenario in a simulated cluster: each step at its time, or as soon as the steps before it have finished.

Steps run one after another, because each step depends on the changes of those before.  So the registered commands and
this machine limit the rate.  Each step reports its delay.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from ..commands import COMMANDS
from ..errors import CommandRefused
from ..events.execution import Run
from ..simulated_cluster import Cluster
from .scenarios import Step


@dataclass(frozen=True, slots=True)
class Played:
    """The result of one *step*: the commands that it ran, the output of its mm command, and how *late* it began."""

    step: Step
    runs: tuple[Run, ...] = ()
    output: str = ""
    refused: str = ""
    late: timedelta = timedelta()

    @property
    def succeeded(self) -> bool:
        """Whether nothing was refused and all commands ended with 0."""
        return not self.refused and all(each.exit_code == 0 for each in self.runs)


def play(
    cluster: Cluster,
    steps: Iterable[Step],
    *,
    speed: float = 1.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Played]:
    """Play *steps* in *cluster*, *speed* times as fast as planned, and yield each when it has finished.

    If the cluster refuses a step, its result says so, and the next step follows.
    """
    begun = clock()
    for step in steps:
        due = begun + step.moment.total_seconds() / speed
        if (early := due - clock()) > 0:
            sleep(early)
        late = timedelta(seconds=max(0.0, clock() - due))
        output: list[str] = []
        try:
            if step.command:
                command, _ = COMMANDS[step.command[0]]
                output.append(command(cluster, step.command[1:], output.append))
                runs: tuple[Run, ...] = ()
            else:
                runs = tuple(cluster.raise_event(step.event, step.values, step.node))
        except CommandRefused as error:
            yield Played(step, refused=str(error), late=late)
        else:
            yield Played(step, runs, "".join(output), late=late)
