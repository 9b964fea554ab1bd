"""Everything that talking to GPFS raises on purpose.

GpfsError
├── CommandMissing   there is no such command here: this is no node of a cluster, or `gpfs.commands` is wrong
├── CommandFailed    a command ended with another code than 0, or not in time
├── NotUnderstood    a command said what we can't read: another release, or another program
└── NotReady         what is asked for can't be done as things are: the message says what has to be first
"""

import shlex
from collections.abc import Sequence

from ...errors import RouterError


class GpfsError(RouterError):
    """The root of the family."""


class CommandMissing(GpfsError):
    """There is no such command here."""


class CommandFailed(GpfsError):
    """A command ended with another code than 0, or not in time (*code* is then None); *said* is what it printed.

    *printed* is what it printed for programs all the same.
    """

    def __init__(self, words: Sequence[str], code: int | None, said: str, printed: str = "") -> None:
        """Name the command as it was run, how it ended, and its last words."""
        self.words, self.code, self.said, self.printed = tuple(words), code, said, printed
        how = "was not through in time" if code is None else f"ended with {code}"
        last = said.strip()[-1000:]
        super().__init__(f"{shlex.join(words)[:300]}: {how}{': ' if last else ''}{last}")


class NotUnderstood(GpfsError):
    """A command said what we can't read."""


class NotReady(GpfsError):
    """What is asked for can't be done as things are."""
