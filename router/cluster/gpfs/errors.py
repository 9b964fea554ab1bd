"""The errors that using GPFS raises on purpose.

GpfsError
├── CommandMissing   the command does not exist here: this is not a cluster node, or `gpfs.commands` is wrong
├── CommandFailed    a command ended with a code other than 0, or did not finish in time
├── NotUnderstood    a command printed output that cannot be read: another release, or another program
└── NotReady         the request cannot be carried out yet: the message says what must happen first
"""

import shlex
from collections.abc import Sequence

from ...errors import RouterError


class GpfsError(RouterError):
    """The root of the family."""


class CommandMissing(GpfsError):
    """The command does not exist on this machine."""


class CommandFailed(GpfsError):
    """A command ended with a *code* other than 0, or did not finish in time (*code* is None).

    *message* is what it printed for people, *printed* what it printed for programs in spite of the failure.
    """

    def __init__(self, words: Sequence[str], code: int | None, message: str, printed: str = "") -> None:
        """Name the command as it was run, how it ended, and its last output."""
        self.words, self.code, self.message, self.printed = tuple(words), code, message, printed
        how = "did not finish in time" if code is None else f"ended with {code}"
        last = message.strip()[-1000:]
        super().__init__(f"{shlex.join(words)[:300]}: {how}{': ' if last else ''}{last}")

    @property
    def reason(self) -> str:
        """The message of the command, or how it ended."""
        return self.message.strip() or str(self)


class NotUnderstood(GpfsError):
    """A command printed output that cannot be read."""


class NotReady(GpfsError):
    """The request cannot be carried out yet."""
