"""The mm commands of a simulated cluster, answered in this process: programs would be slow for who asks many."""

from collections.abc import Sequence

from ..commands import Run
from ..errors import CommandFailed, CommandMissing
from .cluster import Cluster
from .commands import COMMANDS
from .errors import CommandRefused


def answering(cluster: Cluster) -> Run:
    """Return what runs the mm commands on *cluster*; a command that is refused ends with 1, as a program would."""

    def run(words: Sequence[str]) -> str:
        if words[0] not in COMMANDS:
            raise CommandMissing(f"the simulator has no {words[0]}")
        command, usage = COMMANDS[words[0]]
        said: list[str] = []
        try:
            return command(cluster, words[1:], lambda text: said.append(str(text)))
        except CommandRefused as error:
            raise CommandFailed(words, 1, f"{words[0]}: {error}\nUsage:\n{usage}") from error

    return run
