"""Runs the mm commands of a simulated cluster in this process, which is faster than programs."""

from collections.abc import Sequence

from router.cluster.gpfs.commands import Run
from router.cluster.gpfs.errors import CommandFailed, CommandMissing
from router.simulator.commands import COMMANDS
from router.simulator.errors import CommandRefused
from router.simulator.simulated_cluster import Cluster


def answering(cluster: Cluster) -> Run:
    """Return a function that runs mm commands on *cluster*; a refused command ends with 1, as a program would."""

    def run(words: Sequence[str]) -> str:
        if words[0] not in COMMANDS:
            raise CommandMissing(f"the simulator has no command {words[0]}")
        command, usage = COMMANDS[words[0]]
        try:
            return command(cluster, words[1:], lambda _: None)
        except CommandRefused as error:
            raise CommandFailed(words, 1, f"{words[0]}: {error}\nUsage:\n{usage}") from error

    return run
